"""What points have in common is made once, and points that differ in what matters share nothing."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import needs_tensorrt, without_gpu

from trt_sweep.config import InputConfig, MeasureConfig, ModelConfig, SweepConfig
from trt_sweep.plan import effective, point_of
from trt_sweep.sharing import Shared
from trt_sweep.worker import Worker

FACTORY = {"_target_": "torchvision.models.get_model", "name": "squeezenet1_1"}


def config(**values) -> SweepConfig:
    model = ModelConfig(name="squeezenet1_1", factory=FACTORY, inputs=[InputConfig(shape=[3, 64, 64])])
    return SweepConfig(**{"model": model, "backend": "dynamo", "device": "cpu"} | values)


def test_once():
    shared, made = Shared(), []
    assert [shared.once("a", lambda: made.append(1) or 7) for _ in range(2)] == [7, 7] and made == [1]
    with pytest.raises(ZeroDivisionError):
        shared.once("b", lambda: 1 / 0)
    assert shared.once("b", lambda: 2) == 2
    shared.clear()
    assert shared.get("a") is None


@needs_tensorrt
@without_gpu
def test_points_of_a_model_are_exported_once(tmp_path):
    """And what they are told is what each by itself would be told."""
    heard: list[str] = []
    worker = Worker(tmp_path, heard.append)
    found, alone = [], []
    for size in (5, 45):
        (point,) = map(point_of, effective(config(min_block_size=size)))
        worker.open([point])
        found.append(worker.start(point.id).record)
    assert worker.close() is None
    for size in (5, 45):
        (point,) = map(point_of, effective(config(min_block_size=size)))
        worker.open([point])
        alone.append(worker.start(point.id).record)
        worker.close()
    assert found[0].export_s == found[1].export_s and alone[0].export_s != alone[1].export_s
    names = ("status", "engines", "engine_ops", "partition_id", "advised_min_block_size", "ops_total")
    for name in names:
        assert [getattr(item, name) for item in found] == [getattr(item, name) for item in alone]


def test_an_engine_follows_from_the_partition_and_what_has_an_effect():
    base = config(min_block_size=5, optimization_level=0)
    key = base.engine_key("p", [])
    assert dataclasses.replace(base, min_block_size=7).engine_key("p", []) == key
    assert base.engine_key("q", []) != key
    other = dataclasses.replace(base, optimization_level=3)
    assert other.engine_key("p", []) != key
    assert other.engine_key("p", ["optimization_level"]) == base.engine_key("p", ["optimization_level"])
    differing = [
        {"precision": "fp16"},
        {"runtime": "python"},
        {"cuda_graphs": True},
        {"batch_size": 2},
        {"compile": {"workspace_size": 1}},
        {"model": dataclasses.replace(base.model, seed=1)},
        {"backend": "torch_compile"},
        {"measure": MeasureConfig(cold_cache=True)},
    ]
    for change in differing:
        assert dataclasses.replace(base, **change).engine_key("p", []) != key, change
