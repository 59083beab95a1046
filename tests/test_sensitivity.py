"""One group of layers at a time: which they are, how they are ranked, and what is said where nothing was timed."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest import EXAMPLE, needs_tensorrt, without_gpu

from trt_sweep.analysis import sensitivity
from trt_sweep.analysis.sensitivity import Damage, Timed
from trt_sweep.app import sensitivity as app_sensitivity
from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.results.console import Console

pytest.importorskip("modelopt")


def net() -> torch.nn.Module:
    body = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.LayerNorm(64), torch.nn.Linear(64, 64))
    return torch.nn.Sequential(body, torch.nn.ReLU(), torch.nn.Linear(64, 32))


def test_groups_by_depth_or_by_patterns():
    assert sensitivity.groups(net(), 1, []) == {"0": ["0.0", "0.2"], "2": ["2"]}
    assert sensitivity.groups(net(), 2, []) == {"0.0": ["0.0"], "0.2": ["0.2"], "2": ["2"]}
    assert sensitivity.groups(net(), 1, ["0.0", "*.2"]) == {"0.0": ["0.0"], "*.2": ["0.2"]}
    with pytest.raises(SweepError, match="this makes 1 group of the model's layers"):
        sensitivity.groups(net(), 1, ["0.*"])


def test_a_group_alone_leaves_norms_as_they_are():
    point = SweepConfig(backend="eager", precision="int8", quantization=QuantizationConfig("modelopt_int8_default"))
    assert sensitivity.alone(point, net(), ["2"]).quantization.skip == ["0.0", "0.1", "0.2", "1"]


def test_the_worst_comes_first_by_gain_where_that_is_known():
    first = [Damage("none (fp32)", 0, 0.0), Damage("all", 3, 0.5)]
    a, b, c = Damage("a", 1, 0.1), Damage("b", 1, 0.3), Damage("c", 1, 0.2)
    assert sensitivity.ranked([*first, a, b, c]) == [*first, b, c, a]
    gains = ((a, 0.1), (b, 1.0), (c, None))
    a, b, c = (dataclasses.replace(item, timed=Timed(gain_ms=gain)) for item, gain in gains)
    assert sensitivity.ranked([*first, a, b, c]) == [*first, c, a, b]


def test_engines_that_are_not_finite_are_shown(capfd):
    broken = Damage("a", 1, 0.1, timed=Timed(error=math.nan))
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig(shape=[4])])
    how = QuantizationConfig("modelopt_int8_default")
    point = SweepConfig(model=model, backend="eager", precision="int8", quantization=how)
    measured = [Damage("none (fp32)", 0, 0.0), Damage("all", 3, 0.5), broken]
    app_sensitivity._show(app_sensitivity.Found(measured, point, ["said"]), Console())
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["a", "1", "1.0e-01", "nan"] in lines and ["all", "3", "5.0e-01", "–"] in lines


POINT = ["--config-dir", str(EXAMPLE), "model=digits_transformer", "quantization.method=modelopt_int8_weight_only"]


@without_gpu
def test_the_command(capfd):
    overrides = ["quantization.skip=[head]", "batch_size=8", "+accuracy.evaluate._target_=digits.top1", "backend=eager"]
    assert app_sensitivity.main([*POINT, *overrides, "--depth=2"]) == 0
    out = capfd.readouterr().out
    lines = [line.split() for line in out.splitlines() if line and line[0] != "·"]
    found = {line[0]: line[1:] for line in lines if len(line) == 4 and line[0] != "quantized"}
    assert set(found) == {"all", "embed", "blocks.0", "blocks.1"}  # the head is skipped, and no group
    assert [found[name][0] for name in ("all", "embed", "blocks.0")] == ["9", "1", "4"]
    assert float(found["all"][1]) > float(found["embed"][1]) > 0
    assert "was not timed" in out and "random calibration" not in out  # its method looks at no data


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model=resnet18", "backend=eager"], "quantization.method is not set"),
        ([*POINT, "--groups=nothing"], "this makes 0 group"),
        ([*POINT, "quantization.skip=[x]"], "quantization.skip=x matches no module"),
        ([*POINT, "quantization.method=no"], "quantization.method=no is not known"),
        (["model=resnet18", "quantization.method=tensorrt_int8_calibrator"], "torch_tensorrt.ts.ptq"),
    ],
)
@needs_tensorrt
def test_mistakes_are_one_line(capfd, arguments, said):
    assert app_sensitivity.main(arguments) == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]  # the libraries log to pytest's stream, which is not ours
    assert last.startswith("error: ") and said in last


@needs_tensorrt
@without_gpu
def test_nothing_is_gained_where_nothing_was_timed(tmp_path, capfd):
    model = ModelConfig(
        name="m",
        factory={"_target_": "torch.nn.Linear", "in_features": 128, "out_features": 64},
        inputs=[InputConfig(shape=[128])],
    )
    how = QuantizationConfig("modelopt_int8_weight_only")
    point = SweepConfig(model=model, backend="dynamo", precision="int8", quantization=how)
    base = dataclasses.replace(point, precision="fp16", quantization=QuantizationConfig())
    assert sensitivity.engines(base, {"all of it": point}, tmp_path / "sweep") == {"all of it": Timed()}
    assert len(list((tmp_path / "sweep").glob("points/*/record.json"))) == 2


@needs_tensorrt
@pytest.mark.gpu
def test_what_the_engines_of_each_group_do(capfd):
    overrides = ["batch_size=8", "min_block_size=1", "measure.visits=6", "--groups=blocks.0.*,head"]
    assert app_sensitivity.main([*POINT, *overrides]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    found = {line[0]: line for line in lines if line and line[0] in ("all", "blocks.0.*", "head")}
    assert len(found) == 3 and all(0 < float(line[3]) < 0.1 for line in found.values())
