"""What the schema refuses, and what names a point."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from trt_sweep.app import type_errors
from trt_sweep.app.explain import explain
from trt_sweep.config import compose
from trt_sweep.config.groups import PRECISIONS, AccuracyConfig, MeasureConfig, QuantizationConfig
from trt_sweep.config.hydra import from_hydra
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError


def sweep(**values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return SweepConfig(**{"model": model, "backend": "eager", **values})


TOLERANCES = AccuracyConfig().rel_l2


@pytest.mark.parametrize(
    ("build", "values", "field", "shown", "allowed"),
    [
        (InputConfig, {"shape": [3, 0]}, "model.inputs.shape", "[3, 0]", "at least 1"),
        (InputConfig, {"dtype": "half"}, "model.inputs.dtype", "half", "float16, bfloat16"),
        (InputConfig, {"low": 0.0}, "model.inputs.low/high", "(0.0, None)", "both or neither"),
        (InputConfig, {"high": 1.0}, "model.inputs.low/high", "(None, 1.0)", "both or neither"),
        (InputConfig, {"dtype": "int64"}, "model.inputs.low/high", "null", "dtype int64"),
        (InputConfig, {"dtype": "uint8"}, "model.inputs.low/high", "null", "dtype uint8"),
        (InputConfig, {"low": 1.0, "high": 1.0}, "model.inputs.low/high", "(1.0, 1.0)", "low < high"),
        (InputConfig, {"low": math.nan, "high": 1.0}, "model.inputs.low/high", "(nan, 1.0)", "finite bounds"),
        (MeasureConfig, {"visits": 0}, "measure.visits", "0", "at least 6"),
        (MeasureConfig, {"visits": 1}, "measure.visits", "1", "at least 6"),
        (MeasureConfig, {"max_s": 0.0}, "measure.max_s", "0.0", "above 0"),
        (MeasureConfig, {"max_s": math.inf}, "measure.max_s", "inf", "above 0"),
        (MeasureConfig, {"warmup_s": -1.0}, "measure.warmup_s", "-1.0", "at least 0"),
        (MeasureConfig, {"warmup_s": math.inf}, "measure.warmup_s", "inf", "at least 0"),
        (MeasureConfig, {"warmup_max_s": -1.0}, "measure.warmup_max_s", "-1.0", "at least 0"),
        (MeasureConfig, {"settle_s": math.nan}, "measure.settle_s", "nan", "at least 0"),
        (MeasureConfig, {"rebuilds": 0}, "measure.rebuilds", "0", "at least 1"),
        (
            AccuracyConfig,
            {"rel_l2": {"fp32": 0.1}},
            "accuracy.rel_l2",
            "{'fp32': 0.1}",
            "fp32, tf32, fp16, bf16",
        ),
        (AccuracyConfig, {"rel_l2": TOLERANCES | {"bf16": 0.0}}, "accuracy.rel_l2.bf16", "0.0", "above 0"),
        (
            AccuracyConfig,
            {"rel_l2": TOLERANCES | {"fp16": math.nan}},
            "accuracy.rel_l2.fp16",
            "nan",
            "above 0",
        ),
        (
            sweep,
            {"precision": "int2"},
            "precision",
            "int2",
            ", ".join((*PRECISIONS, "auto")),
        ),
        (AccuracyConfig, {"output_rel_l2": {"a": {"b": 0}}}, "accuracy.output_rel_l2.a.b", "0", "above 0"),
        (AccuracyConfig, {"output_rel_l2": {"a": True}}, "accuracy.output_rel_l2.a", "true", "above 0"),
        (AccuracyConfig, {"evaluate": {"n": 1}}, "accuracy.evaluate", "{'n': 1}", "accuracy.evaluate._target_="),
        (QuantizationConfig, {"calibration": {"n": 1}}, "quantization.calibration", "{'n': 1}", "_target_="),
        (QuantizationConfig, {"samples": 0}, "quantization.samples", "0", "at least 1"),
        (ModelConfig, {"name": "m", "factory": {}, "inputs": [], "seed": 2**63}, "model.seed", str(2**63), "64 bits"),
        (sweep, {"batch_size": 0}, "batch_size", "0", "at least 1"),
        (sweep, {"min_block_size": 0}, "min_block_size", "0", "at least 1, or null"),
        (sweep, {"optimization_level": 6}, "optimization_level", "6", "from 0 to 5, or null"),
        (sweep, {"optimization_level": -1}, "optimization_level", "-1", "from 0 to 5, or null"),
        (sweep, {"runtime": "rust"}, "runtime", "rust", "cpp, python, or null"),
        (sweep, {"device": "cuda:x"}, "device", "cuda:x", "auto, cpu, cuda or cuda:N"),
        (sweep, {"device": "cuda:"}, "device", "cuda:", "auto, cpu, cuda or cuda:N"),
        (sweep, {"device": "0"}, "device", "0", "auto, cpu, cuda or cuda:N"),
    ],
)
def test_refused(build, values, field, shown, allowed):
    with pytest.raises(SweepError) as caught:
        build(**values)
    named, _, rest = str(caught.value).partition(" is not allowed: use ")
    assert named == f"{field}={shown}"
    assert allowed in rest


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("profile=maybe", "profile=maybe is not allowed: use true or false"),
        ("baselines=null", "baselines=null is not allowed: use true or false"),
        ("min_block_size=1.5", "min_block_size=1.5 is not allowed: use an integer, or null"),
        ("precision=[1]", "precision=[1] is not allowed: use a string"),
        ("measure.visits=x", "measure.visits=x is not allowed: use an integer"),
        ("isolation.max_jobs=null", "isolation.max_jobs=null is not allowed: use an integer"),
        ("accuracy.rel_l2.fp16=x", "accuracy.rel_l2.fp16=x is not allowed: use a number"),
        ("accuracy.rel_l2=x", "accuracy.rel_l2=x is not allowed: use accuracy.rel_l2.NAME=VALUE"),
        ("retry=crashed", "retry=crashed is not allowed: use a list of strings in brackets, [a,b]"),
        ("time_at=3", "time_at=3 is not allowed: use a list of items in brackets, [a,b], or null"),
        ("accuracy.outputs=x", "accuracy.outputs=x is not allowed: use a list of strings in brackets, [a,b]"),
        ("inductor=3", "inductor=3 is not allowed: use its settings: inductor.mode"),
        ("model.inputs.0.low=x", "model.inputs[0].low=x is not allowed: use a number, or null"),
        ("model.inputs=[{batched:x}]", "model.inputs.batched=x is not allowed: use true or false"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_what_is_allowed(override, line):
    with pytest.raises(HydraException) as caught:
        compose.composed(["model=resnet18", override])
    assert explain(caught.value) == line


@pytest.mark.parametrize("name", ["model.factory.dropout", "compile"])
def test_a_key_of_the_users_own_needs_a_plus(name):
    with pytest.raises(HydraException) as caught:
        compose.composed(["model=resnet18", f"{name}={{a:1}}"])
    assert explain(caught.value).startswith(f"{name} is not a setting of trt_sweep; write +{name}=… for ")
    compose.composed(["model=resnet18", f"+{name}={{a:1}}"])


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_a_key_of_a_group_that_has_no_other_needs_none(plus):
    found = compose.composed(
        [
            f"{plus}accuracy.evaluate._target_=mine.top1",
            f"{plus}accuracy.output_rel_l2.logits=0.1",
            f"{plus}compile.x=1",
        ]
    )
    assert found.accuracy.evaluate == {"_target_": "mine.top1"} and found.accuracy.output_rel_l2 == {"logits": 0.1}
    assert found.compile == {"x": 1}


@pytest.mark.parametrize("value", ["a b,c=d", "it's", 'say "a" b=c', "[1"])
def test_a_text_that_cannot_be_read_is_quoted_in_the_answer(value):
    override = f"model.weights={value}"
    with pytest.raises(HydraException) as caught:
        compose.composed(["model=resnet18", override])
    line = explain(caught.value)
    assert line.startswith(f"{override} cannot be read: ") and "\n" not in line
    (suggested,) = shlex.split(line.partition("for Hydra, ")[2].partition("; a list")[0])
    assert compose.composed(["model=resnet18", suggested]).model.weights == value


def test_an_error_of_another_kind_has_no_type_to_name():
    assert type_errors.line(ValueError("x"), "") is None


@pytest.mark.parametrize(
    "values",
    [
        {"optimization_level": 0},
        {"optimization_level": 5},
        {"min_block_size": 1},
        {"runtime": "python"},
        *({"device": device} for device in ("auto", "cpu", "cuda", "cuda:0", "cuda:11")),
        *({"precision": precision} for precision in TOLERANCES),
    ],
)
def test_allowed(values):
    config = sweep(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_point_id_of_equal_configurations():
    one, two = sweep(), sweep()
    assert one is not two
    assert one.point_id == two.point_id == dataclasses.replace(one).point_id
    assert len(one.point_id) == 16
    assert int(one.point_id, 16) >= 0


@pytest.mark.parametrize(
    "values",
    [
        {"backend": "inductor"},
        {"precision": "fp16"},
        {"batch_size": 2},
        {"min_block_size": 5},
        {"optimization_level": 0},
        {"runtime": "cpp"},
        {"device": "cpu"},
        {"dryrun": True},
        {"measure": MeasureConfig(max_s=0.7)},
        {"accuracy": AccuracyConfig(rel_l2=TOLERANCES | {"fp32": 1e-4})},
        {"model": dataclasses.replace(sweep().model, seed=1)},
        {"model": dataclasses.replace(sweep().model, weights="w.pt")},
        {"model": dataclasses.replace(sweep().model, inputs=[InputConfig(shape=[4])])},
    ],
)
def test_point_id_of_different_configurations(values):
    assert sweep(**values).point_id != sweep().point_id


def test_from_hydra():
    composed = OmegaConf.structured(SweepConfig)
    composed.backend = "eager"
    with pytest.raises(SweepError, match=r"model\.name is not set: choose a model"):
        from_hydra(composed)
    given = {"name": "m", "factory": {"_target_": "torch.nn.ReLU"}, "inputs": [{"shape": [3]}]}
    assert from_hydra(OmegaConf.merge(composed, {"model": given})) == sweep()
    with pytest.raises(SweepError, match=r"^batch_size=0 is not allowed"):
        from_hydra(OmegaConf.merge(composed, {"model": given, "batch_size": 0}))


def test_the_nightly_sweep_names_axes_and_models_that_exist():
    conf = Path(__file__).parents[1] / "conf"
    params = OmegaConf.load(conf / "sweep" / "nightly.yaml").hydra.sweeper.params
    assert set(params) <= {item.name for item in dataclasses.fields(SweepConfig)}
    assert all((conf / "model" / f"{name}.yaml").exists() for name in params.model.split(","))
