"""What is special in each suspect, and what is printed of it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

from trt_sweep import fp8_suspects
from trt_sweep.fp8_suspects import E4M3_MAX, SUSPECTS, Suspect

pytest.importorskip("modelopt")
pytestmark = needs_tensorrt
LINEAR = next(suspect for suspect in SUSPECTS if suspect.name == "linear")


def made(suspect: Suspect):
    with torch.no_grad():
        model = fp8_suspects.quantized(suspect, fp8_suspects.point(suspect), torch.device("cpu"))
        return model, {name: float(value) for name, value in model.module.named_buffers() if name.endswith("_amax")}


def test_names_are_told_apart():
    assert len({suspect.name for suspect in SUSPECTS}) == len(SUSPECTS)


@pytest.mark.parametrize("suspect", SUSPECTS, ids=lambda suspect: suspect.name)
def test_what_pytorch_makes_of_it_is_finite(suspect):
    model, ranges = made(suspect)
    with torch.no_grad():
        assert torch.isfinite(model.module.float()(model.inputs.args[0].float())).all()
    assert ranges[
        "0.input_quantizer._amax" if "0.input_quantizer._amax" in ranges else "one.input_quantizer._amax"
    ] == (pytest.approx(suspect.range))


def test_scales_and_ranges_are_as_asked():
    model, ranges = made(dataclasses.replace(LINEAR, weight_scale=1e-6, range=2.0, beyond=1.5))
    assert ranges["0.weight_quantizer._amax"] / E4M3_MAX == pytest.approx(1e-6)
    assert ranges["0.input_quantizer._amax"] == pytest.approx(2.0)
    assert float(model.inputs.args[0].abs().max()) == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("off", "left"), [("*input_quantizer", "weight"), ("*weight_quantizer", "input")])
def test_quantizers_that_are_off(off, left):
    model, _ = made(dataclasses.replace(LINEAR, off=off))
    layer = model.module[0]
    assert [layer.weight_quantizer.is_enabled, layer.input_quantizer.is_enabled] == [left == "weight", left == "input"]


@without_gpu
def test_without_a_gpu_engines_are_built(capfd):
    assert fp8_suspects.main(["--only=linear, zero*"]) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if "built" in line]
    assert [line[:40].strip() for line in lines] == ["linear, zero weights", "linear, zero inputs"]
    assert all(" 0.0e+00  built  (" in line for line in lines)


def test_a_pattern_without_a_match(capfd):
    assert fp8_suspects.main(["--only=nothing"]) == 1
    assert capfd.readouterr().err.startswith(
        "error: --only=nothing matches no suspect: give a pattern for some of linear;"
    )


def test_what_is_printed():
    verdict = fp8_suspects.Verdict(LINEAR, [1e-3, 2e-5], math.nan, seconds=1.0)
    assert fp8_suspects.line(verdict).split() == ["linear", "2.0e-05", "NaN", "(1.0", "s)"]
    refused = dataclasses.replace(verdict, error=None, reason="it refuses")
    assert "it refuses" in fp8_suspects.line(refused)


@pytest.mark.gpu
def test_an_engine_of_one_linear_layer_computes_what_pytorch_does(tmp_path: Path):
    (verdict,) = fp8_suspects.examined("linear", tmp_path)
    assert verdict.reason is None and verdict.error is not None and verdict.error < 0.02
