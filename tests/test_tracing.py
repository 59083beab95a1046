"""torch's three ways to a graph, on modules small enough to know what must come out."""

from __future__ import annotations

import contextlib

import pytest
import torch

from trt_sweep.backends.paths import _inductor
from trt_sweep.config.checks import Range
from trt_sweep.config.groups import InductorConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.models import torch_compile, tracing
from trt_sweep.models.model import Inputs, Model

RANGE = {0: Range(1, 4, 8, "batch")}


class Shifted(torch.nn.Module):
    def forward(self, x: torch.Tensor, *, shift: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": x + shift, "difference": x - shift}


class Broken(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.sin()
        torch._dynamo.graph_break()
        return x.cos()


@pytest.fixture
def shifted() -> Model:
    inputs = Inputs((torch.randn(4, 3),), {"shift": torch.randn(4, 3)})
    return Model(Shifted().eval(), inputs, {0: RANGE, "shift": RANGE})


def linear(dynamic=None) -> Model:
    module = torch.nn.Linear(3, 2).eval().requires_grad_(False)
    return Model(module, Inputs((torch.randn(4, 3),), {}), dynamic or {})


def test_export_of_fixed_sizes():
    program = tracing.export(linear())
    assert program.range_constraints == {}


def test_export_of_a_range(shifted):
    program = tracing.export(shifted)
    (found,) = program.range_constraints.values()
    assert (found.lower, found.upper) == (1, 8)
    for size in (1, 8):
        x, shift = torch.randn(size, 3), torch.randn(size, 3)
        assert torch.equal(program.module()(x, shift=shift)["sum"], x + shift)


def test_a_range_that_a_module_does_not_allow_is_refused():
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 6)

    with pytest.raises(Exception, match="batch"):
        tracing.export(Model(Fixed(), Inputs((torch.randn(4, 3),), {}), {0: RANGE}))


def test_by_position_gives_the_same(shifted):
    moved = tracing.by_position(shifted)
    assert moved.inputs.kwargs == {} and moved.dynamic == {0: RANGE, 1: RANGE}
    assert torch.equal(moved()["difference"], shifted()["difference"])


def test_a_trace_knows_keywords_by_position(shifted):
    module = tracing.torchscript(tracing.by_position(shifted), "trace")
    x, shift = torch.randn(7, 3), torch.randn(7, 3)
    assert torch.equal(module(x, shift)["sum"], x + shift)


def test_a_script_keeps_branches():
    class Branch(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if bool(x.sum() > 0) else x - 1

    model = Model(Branch(), Inputs((torch.ones(2),), {}))
    assert tracing.torchscript(model, "script")(-torch.ones(2)).tolist() == [-2, -2]
    assert tracing.torchscript(model, "trace")(-torch.ones(2)).tolist() == [0, 0]  # the branch it saw


def test_graphs_and_breaks_are_counted():
    with contextlib.ExitStack() as stack:
        one = torch_compile.compile_model(linear(), stack, backend="eager")
        assert (one.graphs, one.breaks) == (1, [])
    with contextlib.ExitStack() as stack:
        two = torch_compile.compile_model(Model(Broken(), Inputs((torch.randn(3),), {})), stack, backend="eager")
        assert (two.graphs, len(two.breaks)) == (2, 1)


def test_another_graph_is_refused_until_the_stack_ends():
    with contextlib.ExitStack() as stack, torch.no_grad():
        made = torch_compile.compile_model(linear({0: RANGE}), stack, backend="eager")
        with torch_compile.without_recompiling():
            assert torch_compile.check_first_call(lambda: made.call(torch.randn(7, 3)))().shape == (7, 2)
            with pytest.raises(Unsupported, match="at this size"):
                torch_compile.check_first_call(lambda: made.call(torch.randn(1, 3)))()
    assert torch.compile(torch.nn.Identity(), backend="eager")(torch.randn(1)).shape == (1,)


def test_modules_of_one_class_are_compiled_apart_and_stay_so():
    """More of them than torch.compile would compile of one code, each with its own graph, none asked for another."""
    x = torch.randn(4, 3)
    with contextlib.ExitStack() as stack, torch.no_grad():
        models = [linear({}) for _ in range(12)]
        made = [torch_compile.compile_model(model, stack, backend="eager") for model in models]
        assert [(each.graphs, each.breaks) for each in made] == [(1, [])] * 12
        with torch_compile.without_recompiling():
            for model, each in zip(models, made, strict=True):
                assert torch.equal(each.call(x), model.module(x))


def test_first_checked_lets_other_errors_through():
    def fails() -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        torch_compile.check_first_call(fails)()


@pytest.mark.parametrize(
    ("mode", "graphs", "device", "effective"),
    [
        ("default", None, "cuda:0", ("default", False)),
        ("default", True, "cuda:0", ("reduce-overhead", True)),
        ("reduce-overhead", None, "cuda:0", ("reduce-overhead", True)),
        ("reduce-overhead", False, "cuda:0", ("default", False)),
        ("reduce-overhead", None, "cpu", ("default", False)),
        ("max-autotune", None, "cuda:0", ("max-autotune", True)),
        ("max-autotune", False, "cuda:0", ("max-autotune-no-cudagraphs", False)),
        ("max-autotune", None, "cpu", ("max-autotune-no-cudagraphs", False)),
        ("max-autotune-no-cudagraphs", True, "cuda:0", ("max-autotune", True)),
    ],
)
def test_mode_and_cuda_graphs_say_the_same(mode, graphs, device, effective):
    model = ModelConfig(name="m", factory={}, inputs=[InputConfig(shape=[3])])
    config = SweepConfig(
        model=model, backend="inductor", inductor=InductorConfig(mode), cuda_graphs=graphs, device=device
    )
    found = _inductor.effective_inductor(config)
    assert (found.inductor.mode, found.cuda_graphs) == effective


def test_a_missing_compiler_is_named():
    missing = torch._inductor.config.patch({"cpp.cxx": ("/no/such/compiler",)})
    with missing, pytest.raises(SweepError, match=r"backend=inductor needs a C\+\+ compiler.*g\+\+.*CXX"):
        _inductor.require_cpp_compiler("backend=inductor")
