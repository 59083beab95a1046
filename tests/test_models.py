"""Modules and inputs from a configuration: the same ones for the same seed, and clear words where that fails."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.measure import accuracy, outputs
from trt_sweep.models import factory as models_factory
from trt_sweep.models.factory import resolve
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.model import Inputs, Model, float32_mode, shapes_over_range
from trt_sweep.models.sources.redraw import MIN_OUTPUT_CHANGE
from trt_sweep.models.sources.torchvision import GET_MODEL

CPU = torch.device("cpu")
LINEAR = {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 3}
HERE = __name__


class Embedder(torch.nn.Module):
    """Token ids and a mask, one of them by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(11, 5)

    def forward(self, ids, shift, *, mask):
        return (self.table(ids) + shift) * mask.unsqueeze(-1)


class ZeroHead(torch.nn.Module):
    """A head that starts at zero, as torchvision's vision transformers have it."""

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.weights = weights
        self.head = torch.nn.Linear(4, 3)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(x)


def double() -> torch.nn.Module:
    return torch.nn.Linear(4, 3).double()


def raises() -> torch.nn.Module:
    raise RuntimeError("the factory\nis closed")


def config(factory=None, inputs=None, batch_size=2, name="m", **model) -> SweepConfig:
    inputs = inputs or [InputConfig(shape=[4])]
    model = ModelConfig(name=name, factory=factory or dict(LINEAR), inputs=inputs, **model)
    return SweepConfig(model=model, backend="eager", batch_size=batch_size)


def build(*args, **kwargs) -> Model:
    return models_factory.build(config(*args, **kwargs), CPU)


def test_the_same_seed_gives_the_same_model():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = build(seed=3)
    two = build(seed=3)
    assert torch.equal(state, torch.get_rng_state())  # the caller's random numbers are left alone
    assert torch.equal(one.module.weight, two.module.weight)
    assert torch.equal(one.inputs.args[0], two.inputs.args[0])
    other = build(seed=4)
    assert not torch.equal(one.module.weight, other.module.weight)
    assert not torch.equal(one.inputs.args[0], other.inputs.args[0])


def test_the_module_is_ready_for_inference():
    model = build({"_target_": "torch.nn.Dropout"})
    assert not model.module.training
    assert torch.equal(model(), model.inputs.args[0])
    weight = build({"_target_": f"{HERE}.double"}).module.weight
    assert weight.dtype == torch.float32
    assert weight.requires_grad  # as it came: what EmbeddingBag lowers to depends on it


def test_a_lazy_module_gets_its_sizes_from_the_inputs():
    model = build({"_target_": "torch.nn.LazyLinear", "out_features": 3})
    assert model.module.weight.shape == (3, 4) and model().shape == (2, 3)


def test_several_inputs():
    inputs = [
        InputConfig(shape=[7], dtype="int64", low=0, high=11),
        InputConfig(shape=[5], batched=False),
        InputConfig(shape=[7], dtype="bool", name="mask"),
    ]
    model = build({"_target_": f"{HERE}.Embedder"}, inputs, batch_size=64)
    ids, shift = model.inputs.args
    assert (ids.shape, ids.dtype, ids.min(), ids.max()) == ((64, 7), torch.int64, 0, 10)
    assert (shift.shape, shift.dtype) == ((5,), torch.float32)
    mask = model.inputs.kwargs["mask"]
    assert (mask.shape, mask.dtype, mask.any(), mask.all()) == ((64, 7), torch.bool, True, False)
    assert model().shape == (64, 7, 5)
    assert torch.equal(model(), build({"_target_": f"{HERE}.Embedder"}, inputs, batch_size=64)())
    half = model.to(torch.float16)
    assert (half.inputs.args[0].dtype, half.inputs.args[1].dtype) == (torch.int64, torch.float16)
    assert half.inputs.kwargs["mask"].dtype == torch.bool
    assert (half().dtype, model().dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "int16", "int8", "uint8"])
def test_range_of_an_input(dtype):
    model = build(inputs=[InputConfig(shape=[500], dtype=dtype, low=2, high=6)])
    (values,) = model.inputs.args
    assert values.dtype == getattr(torch, dtype)
    assert 2 <= values.min() < 3
    assert 5 <= values.max() <= 6
    assert values.is_floating_point() or set(values.flatten().tolist()) == {2, 3, 4, 5}


def test_inputs_are_standard_normal():
    (values,) = build(inputs=[InputConfig(shape=[100_000])], batch_size=1).inputs.args
    assert float(values.mean()) == pytest.approx(0, abs=0.02)
    assert float(values.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**63 - 5])
def test_inputs_have_nothing_to_do_with_weights(seed):
    factory = {"_target_": "torch.nn.Linear", "in_features": 4096, "out_features": 4}
    spec = config(factory, [InputConfig(shape=[4096])], batch_size=1, seed=seed)
    weight = models_factory.build(spec, CPU).module.weight
    drawn = [example_inputs(spec, CPU, other).args[0] for other in range(4)]
    related = torch.corrcoef(torch.cat([weight, *drawn])).fill_diagonal_(0)
    assert float(related.abs().max()) < 0.1  # six standard deviations; from one seed, weights and inputs have 0.3


@pytest.mark.parametrize(
    ("module", "chosen"),
    [
        (torch.nn.Linear(2, 2), False),
        (torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Conv1d(2, 2, 1)), True),
        (torch.nn.Sequential(*(torch.nn.Conv2d(2, 2, size) for size in (1, 3, 3))), True),
        (torch.nn.ConvTranspose2d(1, 1, 1), True),
        (torch.nn.LayerNorm([3, 4, 5]), False),
        (torch.nn.LazyConv2d(1, 1), True),
        (torch.nn.LazyLinear(1), False),
        (torch.jit.script(torch.nn.Linear(2, 2)), True),  # it may be frozen, with its weights inside
    ],
)
def test_only_convolutions_leave_cudnn_a_choice(module, chosen):
    assert Model(module, Inputs((), {})).may_convolve is chosen


def test_channels_last():
    factory = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 3}
    model = build(factory, [InputConfig(shape=[3, 8, 8])])
    copy = model.to(torch.bfloat16, channels_last=True)
    for tensor in (copy.module.weight, copy.inputs.args[0], copy()):
        assert tensor.dtype == torch.bfloat16
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert model.module.weight.dtype == torch.float32
    assert model.inputs.args[0].is_contiguous()
    assert torch.equal(model.to(torch.float32, channels_last=True).inputs.args[0], model.inputs.args[0])


def test_channels_last_leaves_other_inputs_alone():
    copy = build().to(torch.float32, channels_last=True)
    assert copy.inputs.args[0].shape == (2, 4)
    assert copy.inputs.args[0].is_contiguous()


def test_state_dict(tmp_path):
    file = tmp_path / "w.pt"
    state = torch.nn.Linear(4, 3).state_dict()
    torch.save(state, file)
    configured = config(weights=str(file))
    assert resolve(configured.model) == configured.model
    loaded = models_factory.build(configured, CPU).module.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


class Code:
    """Unpickling it would run code."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weight": torch.zeros(3, 4)}, "Missing key"),
        ({"weight": torch.zeros(9, 9), "bias": torch.zeros(3)}, "size mismatch"),
        (torch.nn.Linear(4, 3), "it holds a torch.nn.modules.linear.Linear"),
        (Code(), "reading that would run code"),
    ],
    ids=["missing key", "other shape", "module", "code"],
)
def test_file_that_is_no_state_dict_of_the_model(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "w.pt")
    with pytest.raises(SweepError, match=rf"model\.weights=w\.pt is not a state dict of this model .*{said}") as caught:
        build(weights="w.pt")
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_files_that_torch_did_not_write(tmp_path):
    for name, content in (
        ("text", b"hello"),
        ("plain.pkl", pickle.dumps({"weight": Code()}, protocol=2)),
        ("empty", b""),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(SweepError, match="is not a state dict of this model"):
            build(weights=str(file))


@pytest.mark.parametrize("values", [{"strict": False}, {"weights_key": "ema"}])
def test_what_is_for_files_needs_one(values):
    with pytest.raises(SweepError, match=r"is for weights from a file: add model\.weights=FILE, or leave it out"):
        resolve(config(**values).model)


def test_missing_weights():
    with pytest.raises(SweepError, match=r"model\.weights=nowhere\.pt is not a file: give the path of a state dict"):
        resolve(config(weights="nowhere.pt").model)


def torchvision(name, **model) -> ModelConfig:
    return config({"_target_": GET_MODEL, "name": name}, name=name, **model).model


def test_names_of_torchvision():
    for known in (torchvision("resnet18"), torchvision("resnet18", weights="DEFAULT")):
        assert resolve(known) == known
    with pytest.raises(SweepError, match=r"model\.name=resnet19 is not a model.*did you mean .*resnet18"):
        resolve(torchvision("resnet19"))
    with pytest.raises(SweepError, match=r"model\.name=qqqq .*list_models"):
        resolve(torchvision("qqqq"))
    with pytest.raises(SweepError, match=r"weights=IMAGENET is neither.*IMAGENET1K_V1, DEFAULT"):
        resolve(torchvision("resnet18", weights="IMAGENET"))


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ({"_target_": f"{HERE}.raises"}, "cannot be built: RuntimeError: the factory is closed"),
        ({"_target_": "torch.nn.Linear"}, "cannot be built: TypeError: .*in_features"),
        ({"_target_": "torch.nn.NoSuchLayer"}, "cannot be built: .*NoSuchLayer"),
        ({"_target_": "no_such_package.Model"}, "cannot be built: .*no_such_package"),
        (
            {"_target_": "torch.arange", "end": 2},
            "=torch.arange gives a Tensor: it must give a torch.nn.Module",
        ),
        ({"_target_": "torch.nn.ReLU", "_partial_": True}, "=torch.nn.ReLU gives a .*: it must give"),
    ],
)
def test_factory_that_does_not_work(factory, said):
    with pytest.raises(SweepError, match=rf"^model\.factory.*{said}") as caught:
        build(factory)
    assert "\n" not in str(caught.value)


def test_zeros_of_ones_own_model_are_left_alone(tmp_path):
    factory = {"_target_": f"{HERE}.ZeroHead"}
    assert not build(factory)().any()  # they may be pruned
    named = build(factory, weights="V1")  # no file: the factory's own affair
    assert named.module.weights == "V1"
    torch.save(ZeroHead().state_dict(), tmp_path / "zero.pt")
    assert not build(factory, weights=str(tmp_path / "zero.pt"))().any()


def test_zero_heads_of_torchvision_are_drawn_anew_with_random_weights_only(tmp_path):
    from torchvision.models import get_model

    def head(**model) -> torch.Tensor:
        spec = config({"_target_": GET_MODEL, "name": "vit_b_16"}, [InputConfig(shape=[3, 224, 224])], 1, **model)
        return models_factory.build(spec, CPU).module.heads.head.weight

    one, two = head(), head()
    assert one.any() and torch.equal(one, two)
    torch.save(get_model("vit_b_16").state_dict(), tmp_path / "zero.pt")
    assert not head(weights=str(tmp_path / "zero.pt")).any()


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("fp16", False), ("bf16", False)])
@pytest.mark.parametrize("before", [False, True])
def test_float32_mode(monkeypatch, precision, allowed, before):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    saved = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = before
        with pytest.raises(KeyError), float32_mode(precision, cudnn_benchmark=not before):
            assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (allowed, allowed, not before)
            raise KeyError
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (before, before, before)
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = saved


def test_the_batch_size_is_the_first_dimension():
    model = config(inputs=[InputConfig(shape=[4]), InputConfig(shape=[])], batch_size=5)
    args = models_factory.build(model, CPU).inputs.args
    assert [tuple(tensor.shape) for tensor in args] == [(5, 4), (5,)]
    (alone,) = models_factory.build(
        dataclasses.replace(model, model=config(inputs=[InputConfig(batched=False)]).model), CPU
    ).inputs.args
    assert alone.shape == ()


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2", "resnet18"])
def test_the_output_of_random_weights_depends_on_the_input_and_fits_fp16(name):
    factory = {"_target_": GET_MODEL, "name": name}
    spec = config(factory, [InputConfig(shape=[3, 96, 96])], batch_size=1, name=name)
    model, other = models_factory.build(spec, CPU), example_inputs(spec, CPU, other=True)
    with torch.no_grad():
        reference = model()
        assert outputs.distance(reference, model.module(*other.args))["output"] > MIN_OUTPUT_CHANGE
        assert accuracy.check(model.to(torch.float16)(), accuracy.Reference(reference), 2e-2)[0].accurate


def test_weights_of_ones_own_model_are_left_alone():
    spec = config({"_target_": f"{HERE}.Deaf"}, [InputConfig(shape=[3, 8, 8])])
    assert (models_factory.build(spec, CPU).module.conv.weight == 1e-9).all()


class Deaf(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        torch.nn.init.constant_(self.conv.weight, 1e-9)

    def forward(self, x):
        return self.conv(x)


def test_shapes_over_a_range():
    assert shapes_over_range((1, 3, 7), {0: (1, 8, 32)}) == [(1, 3, 7), (8, 3, 7), (32, 3, 7)]
    assert shapes_over_range((2, 2), {}) == [(2, 2)] * 3
