"""What only a GPU can show: `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch

from trt_sweep import gpu, timing
from trt_sweep.config import MeasureConfig

pytestmark = pytest.mark.gpu


def test_main_command(sweep):
    done = sweep("optimization_level=0,3,5", "precision=fp16", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows
    assert rows["status"].tolist() == ["ok"] * 5
    eager, trt = rows[rows["backend"] == "eager"], rows[rows["backend"] == "dynamo"]
    assert (
        eager["precision"].tolist() == ["fp16", "fp32"]
        and eager["cudnn_benchmark"].all()
        and eager["channels_last"].all()
    )
    assert (trt["rel_l2_error"] < 2e-3).all() and (trt["engines"] == 1).all() and (trt["top1_agreement"] == 1).all()
    assert set(rows["clock"]) == {"cuda_events"} and rows["gpu_uuid"].nunique() == 1 and rows["driver"].notna().all()
    assert trt["speedup"].notna().all() and trt["enqueue_ms"].notna().all()
    if gpu.flavor() == "rtx":
        assert trt["engine_id"].nunique() == 1 and trt["ignored_axes"].tolist() == [["optimization_level"]] * 3
        assert "3 points share one engine" in done.out and "without effect" in done.out


def test_precisions_and_runtimes(sweep):
    done = sweep("precision=fp32,fp16", "runtime=cpp,python", "measure.max_s=1", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["backend"] == "dynamo"]
    assert len(rows) == 4 and set(rows["status"]) <= {"ok", "unsupported"}, done.out
    ran = rows[rows["status"] == "ok"]
    assert ran.groupby("precision")["engine_id"].nunique().eq(1).all()  # the runtime does not change the engine
    assert ran["engine_id"].nunique() == 2


def test_integer_ids_keywords_and_dicts_through_an_engine(sweep):
    done = sweep("model=embedder", "precision=fp16", "batch_size=8", "measure.max_s=1")
    assert done.code == 0, done.out + done.err
    assert done.rows["status"].tolist() == ["ok"] * 3


def test_planned_and_built_engines_agree(sweep):
    done = sweep("model=squeezenet1_1", "min_block_size=5,45", "precision=fp16", "measure.max_s=2", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["backend"] == "dynamo"]
    assert rows["engines"].tolist() == [3, 0] and rows["engine_id"].notna().tolist() == [True, False]


def test_events_time_the_gpu():
    """Two dependent products take twice as long as one; work this large hides the host."""
    a = torch.randn(4096, 4096, device="cuda")
    device, settings = gpu.resolve("cuda"), MeasureConfig(max_s=3)
    one = timing.measure(lambda: a @ a, device, settings).timing(1)
    two = timing.measure(lambda: a @ (a @ a), device, settings).timing(1)
    assert two.latency_ms / one.latency_ms == pytest.approx(2, rel=0.1)
    assert one.clock == "cuda_events" and one.enqueue_ms < one.latency_ms
