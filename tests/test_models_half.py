"""Modules that come in FP16 or BF16, wholly or in part, keep their types where the precision is theirs."""

from __future__ import annotations

import pytest
import torch
from conftest import build_group
from test_points_run import FAST
from torch import nn

import trt_sweep
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.models import factory
from trt_sweep.points.plan import effective
from trt_sweep.points.point import Point

CPU = torch.device("cpu")
KINDS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Mixed(nn.Module):
    """Most layers in half, the last one in FP32 with the cast that it needs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.LayerNorm(16))
        self.body.to(KINDS[kind])
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).to(self.head.weight.dtype))


class Scaled(nn.Module):
    """In half, with an FP32 input that it must get as such."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8).half()

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        if scale.dtype != torch.float32:
            raise TypeError(f"scale is {scale.dtype}")
        return self.body(x) * scale.to(x.dtype)


class Casting(nn.Module):
    """Casts its input to half by itself, so that no copy in FP32 can be called."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 4).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.half())


def half(kind: str) -> nn.Module:
    return nn.Linear(8, 4).to(KINDS[kind])


def config(target: str, kind: str, precision: str = "fp32", dtype: str = "float") -> SweepConfig:
    made = {"_target_": f"{__name__}.{target}", "kind": kind}
    model = ModelConfig(name=target, factory=made, inputs=[InputConfig(shape=[8], dtype=dtype)])
    return SweepConfig(model=model, backend="eager", precision=precision, batch_size=2, measure=FAST, device="cpu")


def types(module: nn.Module) -> set[torch.dtype]:
    return {tensor.dtype for tensor in module.parameters()}


@pytest.mark.parametrize(("kind", "other"), [("fp16", "bf16"), ("bf16", "fp16")])
def test_a_mixed_module_is_taken_as_it_is_in_its_own_precision_and_cast_in_others(kind, other):
    model = factory.build(config("Mixed", kind), CPU)
    assert types(model.module) == {torch.float32}
    own = model.to(KINDS[kind])
    assert types(own.module) == {KINDS[kind], torch.float32} and own.inputs.args[0].dtype == KINDS[kind]
    assert own().dtype == torch.float32
    for wanted in (torch.float32, KINDS[other]):
        cast = model.to(wanted)
        assert types(cast.module) == {wanted} and cast().dtype == wanted
    assert torch.equal(own.module.body[0].weight.float(), model.module.body[0].weight)


def test_a_module_in_fp32_is_held_once():
    assert factory.build(config("half", "fp32"), CPU).as_given is None


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("target", ["half", "Mixed"])
def test_the_reference_is_the_fp32_copy(target, dtype, tmp_path):
    (point,) = effective(config(target, "fp16", "fp16", dtype))
    with build_group([Point(point, [0])], tmp_path) as group:
        record = group.runs[0].start()
    assert record.status == "ok", record.reason
    model = factory.build(point, CPU)
    own = model.to(torch.float16)
    with torch.no_grad():
        expected = model.module(own.inputs.args[0].float())
        error = (own().float() - expected).norm() / expected.norm()
    assert record.rel_l2_error == pytest.approx(float(error), rel=1e-3) and record.rel_l2_error > 0


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_a_half_module_with_half_inputs_runs_in_every_precision(kind, tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(KINDS[kind])
    settings = {"backend": "eager", "measure.max_s": 0.02, "measure.visits": 6, "device": "cpu"}
    x = torch.randn(3, 8).to(KINDS[kind])
    rows = trt_sweep.run(module, x, {"precision": ["fp32", "fp16", "bf16"]}, settings, folder=tmp_path)
    assert set(rows["status"]) == {"ok"}, rows["reason"].tolist()
    assert types(module) == {KINDS[kind]}  # the user's own is left alone
    fp32 = rows[rows["precision"] == "fp32"]
    assert (fp32["rel_l2_error"] == 0).all() and (rows["rel_l2_error"] < 0.05).all()


def test_inputs_are_given_in_the_type_they_come_in(tmp_path):
    settings = {"backend": "eager", "measure.max_s": 0.02, "measure.visits": 6, "device": "cpu", "precision": "fp16"}
    rows = trt_sweep.run(Scaled(), (torch.randn(3, 8).half(), torch.rand(3, 8)), None, settings, folder=tmp_path)
    assert set(rows["status"]) == {"ok"}, rows["reason"].tolist()


def test_a_module_that_runs_in_half_only_is_its_own_reference(tmp_path):
    settings = {"backend": "eager", "measure.max_s": 0.02, "measure.visits": 6, "device": "cpu", "precision": "fp16"}
    rows = trt_sweep.run(Casting(), torch.randn(3, 8), None, settings, folder=tmp_path)
    row = rows[rows["precision"] == "fp16"].iloc[0]
    assert (row["status"], row["rel_l2_error"]) == ("ok", 0), row["reason"]
    assert "the reference is the model as it comes" in row["model_notes"][0]
    assert set(rows[rows["precision"] == "fp32"]["status"]) <= {"run_failed"}


def test_a_module_in_double_takes_its_inputs_along(tmp_path):
    settings = {"backend": "eager", "measure.max_s": 0.02, "measure.visits": 6, "device": "cpu"}
    rows = trt_sweep.run(nn.Linear(8, 4).double(), torch.randn(3, 8).double(), None, settings, folder=tmp_path)
    assert set(rows["status"]) == {"ok"}, rows["reason"].tolist()
