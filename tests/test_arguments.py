"""Arguments that are no plain tensors: lists, dicts, flags, numbers and None, from a configuration and from Python."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

import trt_sweep
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import factory, tracing
from trt_sweep.models.arguments import taken_apart
from trt_sweep.models.inputs import concatenate, example_inputs, from_call, sample_count, split_batches, structure

CPU = torch.device("cpu")
QUICK = {"measure.max_s": 0.2, "measure.warmup_s": 0.05, "measure.visits": 6, "device": "cpu"}


class Mixed(torch.nn.Module):
    """Take a list, a flag, an optional tensor, a number, and a dict by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = torch.nn.Linear(8, 8)

    def forward(self, xs: list[torch.Tensor], mask: Any = None, twice: bool = False, *, cache: Any, scale: float = 1.0):
        y = self.lin(xs[0]) + xs[1] * cache["k"] * scale
        y = y if mask is None else y * mask
        return {"out": y * 2 if twice else y}


VECTOR = {"shape": [8]}
SPECS = [
    InputConfig(items=[VECTOR, VECTOR]),
    InputConfig(value=None),
    InputConfig(value=True),
    InputConfig(name="cache", items={"k": VECTOR}),
    InputConfig(name="scale", value=0.5),
]


def config(backend="eager", **values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": f"{__name__}.Mixed"}, inputs=SPECS)
    return SweepConfig(**{"model": model, "backend": backend, "device": "cpu", "batch_size": 3, **values})


def called(module: torch.nn.Module, a: torch.Tensor, b: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    found = module([a, b], None, True, cache={"k": k}, scale=0.5)
    return found["out"]


def test_a_model_is_called_as_its_configuration_says():
    model = factory.build(config(), CPU)
    assert [tuple(tensor.shape) for tensor in model.inputs.args] == [(3, 8)] * 3 and not model.inputs.kwargs
    assert torch.equal(model()["out"], called(model.module.module, *model.inputs.args))


@pytest.mark.parametrize("batch_size", [3, [1, 3, 8]])
def test_torch_export_takes_it(batch_size):
    model = factory.build(config(batch_size=batch_size), CPU)
    exported = tracing.export(model).module()
    tensors = [torch.randn(3 if batch_size == 3 else 5, 8) for _ in range(3)]
    assert torch.allclose(exported(*tensors)["out"], called(model.module.module, *tensors))


def test_batches_are_split_and_joined():
    two = [example_inputs(config(), CPU, other) for other in (0, 1)]
    joined = concatenate(two, config())
    assert sample_count(joined, config()) == 6
    parts = [part for part, _ in split_batches(joined, config())]
    assert all(
        torch.equal(a, b)
        for part, own in zip(parts, two, strict=True)
        for a, b in zip(part.args, own.args, strict=True)
    )


def test_a_call_of_the_users_is_put_in_the_same_order():
    given = from_call(
        [[torch.ones(5, 8), torch.zeros(5, 8)], None, True], {"scale": 0.5, "cache": {"k": torch.ones(5, 8)}}, config()
    )
    assert [float(tensor.mean()) for tensor in given.args] == [1, 0, 1]
    with pytest.raises(SweepError, match=r"tensors for input 0: it takes 0\.0, 0\.1, cache\.k"):
        from_call([torch.ones(5, 8)], {}, config())
    ones = torch.ones(5, 8)
    with pytest.raises(SweepError, match=r"called with scale=2: it was built for scale=0\.5"):
        from_call([[ones, ones], None, True], {"scale": 2, "cache": {"k": ones}}, config())


def test_plain_tensors_stay_as_they_are():
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig(shape=[8])])
    plain = SweepConfig(model=model, backend="eager")
    assert structure(plain) is None and isinstance(factory.build(plain, CPU).module, torch.nn.Identity)


def test_what_is_no_argument_is_refused():
    with pytest.raises(SweepError, match="inputs hold a object: give tensors, numbers"):
        taken_apart([object()], {})


@pytest.mark.parametrize("backend", ["eager", "jit", "inductor"])
def test_it_runs_on_every_backend(tmp_path, backend):
    torch.manual_seed(0)
    a, b, k = torch.randn(3, 3, 8)
    kwargs = {"cache": {"k": k}, "scale": 0.5}
    rows = trt_sweep.run(Mixed(), ([a, b], None, True), None, QUICK | {"backend": backend}, tmp_path, kwargs=kwargs)
    own = rows[rows["backend"] == backend].iloc[0]
    assert own["status"] == "ok" and own["rel_l2_error"] < 1e-5 and own["input_shapes"] == "3x8 3x8 3x8"


@needs_tensorrt
@without_gpu
def test_it_is_planned(tmp_path):
    ones, settings = torch.ones(3, 8), QUICK | {"min_block_size": 1}
    found = trt_sweep.run(Mixed(), ([ones, ones * 2],), None, settings, tmp_path, kwargs={"cache": {"k": ones}})
    assert found["status"].tolist() == ["dryrun"] and found["fallback_ops"].tolist() == [0]
