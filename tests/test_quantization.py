"""Every method with its real library: what it quantizes, and what partitioner and builder say of it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch
from conftest import build_group, needs_tensorrt, without_gpu

from trt_sweep import backends
from trt_sweep.backends import base
from trt_sweep.backends.torchtrt import installed
from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.measure import accuracy
from trt_sweep.models import factory, quantization
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import DTYPE
from trt_sweep.points import plan

missing = [name for name in ("modelopt", "torchao") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"no {' and '.join(missing)}: pip install -e '.[quantization]'")
CPU = torch.device("cpu")
HERE = __name__
ABLE = [name for name in quantization.method_names() if not name.startswith("tensorrt_")]


class Net(torch.nn.Module):
    """Two convolutions and a linear layer, which torchao alone stops at."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 32, 3, padding=1), torch.nn.ReLU()
        )
        self.head = torch.nn.Linear(32, 16)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Perceptron(torch.nn.Sequential):
    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(128, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128))


def config(method: str | None, precision="auto", net="Net", backend="eager", skip=(), **values) -> SweepConfig:
    inputs = [InputConfig(shape=[3, 8, 8] if net == "Net" else [128])]
    model = ModelConfig(name="m", factory={"_target_": f"{HERE}.{net}"}, inputs=inputs)
    how = QuantizationConfig(method, samples=64, skip=list(skip))
    values = {"device": "cpu", "batch_size": 4, "min_block_size": 1, **values}
    return SweepConfig(model=model, backend=backend, precision=precision, quantization=how, **values)


def applied(point: SweepConfig):
    point = quantization.resolve(point)
    model = factory.build(point, CPU)
    before = copy.deepcopy(model.module.state_dict())
    made, facts = quantization.quantize(model, point, CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.module.state_dict().items())
    return model, made, facts, point


@pytest.mark.parametrize("method", ABLE)
def test_a_method_changes_the_model_a_little(method):
    model, made, facts, _ = applied(config(method, net="Perceptron"))
    with torch.no_grad():
        found = accuracy.check(made(), accuracy.Reference(model()), 0.3)[
            0
        ]  # random activations have no outliers to smooth
    assert found.accurate and found.rel_l2_error > 1e-4
    assert facts.quantized_layers == 2 and facts.quantization_s > 0
    assert made.to(torch.float32).module is made.module  # it has its types


@pytest.mark.parametrize(("method", "layers"), [("modelopt_int8_default", 3), ("torchao_int8_weight_only", 1)])
def test_layers_of_a_convolutional_net(method, layers):
    assert applied(config(method))[2].quantized_layers == layers


@pytest.mark.parametrize("method", ["modelopt_int8_default", "pt2e_int8_static"])
def test_modules_that_are_skipped(method):
    assert applied(config(method, skip=["body.0", "head"]))[2].quantized_layers == 1
    assert applied(config(method, skip=["body"]))[2].quantized_layers == 1  # and all that is in it


def test_patterns_that_leave_nothing():
    with pytest.raises(SweepError, match=r"quantization\.skip=haed matches no module: there are .*head"):
        applied(config("modelopt_int8_default", skip=["haed"]))
    with pytest.raises(quantization.NothingQuantized, match="quantizes no layer"):
        applied(config("torchao_int8_weight_only", skip=["*"]))


def test_the_ranges_behind_scales_stay_in_fp32():
    point = dataclasses.replace(config("modelopt_int8_default"), dryrun=True)  # as a GPU would have it
    _, made, _, _ = applied(point)
    assert made.module.head.weight.dtype == torch.float16
    ranges = {buffer.dtype for name, buffer in made.module.named_buffers() if name.endswith("_amax")}
    assert ranges == {torch.float32}


def test_int8_is_exported_as_an_operator_and_no_extension_is_compiled():
    from modelopt.torch.quantization import extensions

    _, made, _, _ = applied(config("modelopt_int8_default"))
    with made.lowering():
        program = torch.export.export(made.module, made.inputs.args)
        inside = program.module()(*made.inputs.args)
    found = [str(node.target) for node in program.graph.nodes if "quantize_op" in str(node.target)]
    assert len(found) == 6 and torch.equal(inside, made())
    assert extensions.get_cuda_ext.extension is extensions.get_cuda_ext_fp8.extension is None


def settings(point: SweepConfig, folder: Path, stack: contextlib.ExitStack) -> base.BuildContext:
    return base.BuildContext(point, CPU, folder, lambda _: None, lambda _: None, stack)


REFUSED = {
    ("Net", "modelopt_int8_default"): "refuses it: .*buildSerializedNetwork",
    ("Net", "modelopt_int8_smoothquant"): "refuses it: .*buildSerializedNetwork",
    ("Perceptron", "modelopt_int4_weight_only"): "refuses it: quantize converter currently only accept INT8 or FP8",
    ("Perceptron", "modelopt_int4_awq"): "refuses it: quantize converter currently only accept INT8 or FP8",
}
TAKEN = {
    ("Net", "modelopt_int8_weight_only"): True,
    ("Net", "modelopt_fp8_default"): True,
    ("Perceptron", "modelopt_int8_default"): True,
    ("Perceptron", "torchao_int8_weight_only"): True,
    ("Perceptron", "torchao_fp8_weight_only"): True,
    ("Perceptron", "torchao_int8_dynamic"): False,  # its quantize operators have no converter
    ("Net", "pt2e_int8_static"): False,
}


@needs_tensorrt
@without_gpu
@pytest.mark.parametrize(("net", "method"), [*REFUSED, *TAKEN])
def test_what_the_library_says_without_a_gpu(net, method, tmp_path):
    if not installed.torch_tensorrt().rtx:
        pytest.skip("the standard builder needs a GPU")
    (point,) = plan.effective(config(method, net=net, backend="dynamo", dryrun=True))
    _, made, _, _ = applied(point)
    with contextlib.ExitStack() as stack, torch.no_grad():
        if (net, method) in REFUSED:
            if "int8" in method and installed.torch_tensorrt().version != (2, 14):
                pytest.skip("known for TensorRT-RTX 1.6")
            with pytest.raises(Unsupported, match=REFUSED[net, method]):
                backends.get("dynamo").plan(made, settings(point, tmp_path, stack))
            return
        planned = backends.get("dynamo").plan(made, settings(point, tmp_path, stack))
    assert (planned.partition.fallback_ops == 0) == TAKEN[net, method]
    assert planned.partition.engines >= 1 and planned.build.engine_bytes > 1000


@needs_tensorrt
@without_gpu
def test_what_a_converter_refuses_is_not_tried_at_every_batch_size(tmp_path):
    shared, phases, found = ProcessCache(), [], []
    for size in (1, 4):
        made = config("modelopt_int4_weight_only", net="Perceptron", backend="dynamo", batch_size=size)
        (point,) = plan.effective(made)
        with build_group(
            [plan.point_of(point, SweepOptions())], lambda made: tmp_path / made.id, phases.append, cache=shared
        ) as job:
            found.append(job.runs[0].start())
    first, second = found
    assert (first.status, first.phase, second.status, second.phase) == ("unsupported", "build") * 2
    assert second.reason == f"{first.reason} (at another batch size; not tried again at this one)"
    assert phases.count("export") == 1


def test_legacy_calibrator_is_unsupported_with_the_true_reason():
    if importlib.util.find_spec("torch_tensorrt") is None:
        pytest.skip("no Torch-TensorRT installed")
    with pytest.raises(Unsupported, match=r"has no torch_tensorrt\.ts\.ptq.*modelopt_int8_default"):
        applied(config("tensorrt_int8_calibrator"))


def test_auto_is_the_methods_precision():
    found = {name: quantization.resolve(config(name)).precision for name in quantization.method_names()}
    assert set(found.values()) == {"int8", "fp8", "int4"}
    assert all(f"_{precision}" in name for name, precision in found.items())
    assert quantization.resolve(config(None)).precision == "fp16"


def test_what_is_not_used_is_unset():
    plain = quantization.resolve(config("modelopt_int8_default", "fp16", skip=["head"]))
    assert plain.quantization == QuantizationConfig()
    weights = config("modelopt_int8_weight_only")
    own = dataclasses.replace(weights.quantization, calibration={"_target_": "x.y"})
    assert quantization.resolve(dataclasses.replace(weights, quantization=own)).quantization.calibration == {}


def test_methods_that_do_not_fit(monkeypatch):
    with pytest.raises(SweepError, match=r"fp8 needs quantization\.method: use one of modelopt_fp8_default, "):
        quantization.resolve(config(None, "fp8"))
    with pytest.raises(SweepError, match=r"goes with precision=int8, not fp8: precision=auto"):
        quantization.resolve(config("modelopt_int8_default", "fp8"))
    with pytest.raises(SweepError, match=r"is not known: did you mean .*modelopt_int8_default"):
        quantization.resolve(config("modelopt_int8_defualt"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SweepError, match=r"needs modelopt and requests .*pip install 'trt-sweep\[quantization\]'"):
        quantization.resolve(config("modelopt_int8_default"))


def test_a_backend_that_is_given_none():
    (point,) = plan.effective(config("modelopt_int8_default", backend="jit"))
    assert point.quantization.method is None  # so that all methods are one row
    with pytest.raises(Unsupported, match="precision=int8: backend=jit is given no quantized models"):
        quantization.quantize(factory.build(point, CPU), point, CPU)


def test_what_stands_beside_quantized_parts():
    point = config("modelopt_int8_default", "int8")
    assert point.base_precision == "fp32"  # a CPU computes
    assert dataclasses.replace(point, device="cuda:0").base_precision == "fp16"
    assert dataclasses.replace(point, dryrun=True).base_precision == "fp16"
    assert config(None, "bf16").base_precision == "bf16"
    (baseline,) = plan._baselines(plan.effective(point)[0])
    assert (baseline.precision, baseline.quantization) == ("fp32", QuantizationConfig())


def test_a_quantized_model_is_made_once():
    point, shared = quantization.resolve(config("modelopt_int8_default")), ProcessCache()
    model = factory.build(point, CPU)
    one, two = (quantization.quantize_cached(model, point, CPU, shared)[0] for _ in range(2))
    assert one.module is two.module and one.module is not model.module
    larger = dataclasses.replace(point, batch_size=70)  # more than there are samples
    assert quantization.quantize_cached(factory.build(larger, CPU), larger, CPU, shared)[0].module is one.module
    plain = dataclasses.replace(point, precision="fp32")
    assert quantization.quantize_cached(model, plain, CPU, shared)[0] is model
    assert DTYPE[point.base_precision] == torch.float32


@pytest.mark.parametrize("method", sorted(set(ABLE) - {"pt2e_int8_static", "modelopt_int4_awq"}))
def test_a_method_does_the_same_at_every_batch_size(method):
    point, shared = quantization.resolve(config(method, net="Perceptron", batch_size=1)), ProcessCache()
    larger = dataclasses.replace(point, batch_size=48)  # not a divisor of the samples
    model = factory.build(larger, CPU, shared)
    assert factory.build(point, CPU, shared).module is model.module
    with torch.no_grad():
        alone = quantization.quantize(model, larger, CPU)[0]()
        quantization.quantize_cached(factory.build(point, CPU, shared), point, CPU, shared)
        taken_over, _ = quantization.quantize_cached(model, larger, CPU, shared)
        torch.testing.assert_close(taken_over(), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["pt2e_int8_static", "modelopt_int4_awq"])
def test_methods_that_quantize_for_one_batch_size(method):
    point, shared = quantization.resolve(config(method, net="Perceptron")), ProcessCache()
    made = []
    for size in (4, 8):
        own = dataclasses.replace(point, batch_size=size)
        made.append(quantization.quantize_cached(factory.build(own, CPU), own, CPU, shared)[0])
    assert [len(model()) for model in made] == [4, 8] and made[0].module is not made[1].module


@needs_tensorrt
@pytest.mark.gpu
@pytest.mark.parametrize("method", ["modelopt_int8_weight_only", "torchao_int8_weight_only"])
def test_an_engine_computes_what_the_fake_quantized_model_does(sweep, method):
    digits = ("model=digits_transformer", "batch_size=8", "+quantization.calibration._target_=digits.calibration")
    evaluate = "+accuracy.evaluate._target_=digits.top1"
    done = sweep(*digits, "precision=auto", f"quantization.method={method}", "min_block_size=1", evaluate)
    assert done.code == 0, done.err
    row = done.rows[done.rows["backend"] == "dynamo"].iloc[0]
    assert row["status"] == "ok" and row["base_precision"] == "fp16" and 0 <= row["evaluation"] <= 1
    assert row["rel_l2_error"] == pytest.approx(row["fake_quant_rel_l2_error"], rel=0.5)


@needs_tensorrt
@pytest.mark.gpu
def test_whatever_becomes_of_activations_in_int8_and_fp8_is_said(sweep):
    methods = "quantization.method=modelopt_int8_default,modelopt_fp8_default"
    done = sweep("model=digits_cnn", "precision=auto", methods, "min_block_size=1", "measure.visits=6")
    rows = done.rows[done.rows["backend"] == "dynamo"]
    assert set(rows["status"]) <= {"ok", "unsupported", "inaccurate"} and rows["fake_quant_finite"].all()
    assert rows.loc[rows["status"] == "unsupported", "reason"].str.contains("refuses it").all()
