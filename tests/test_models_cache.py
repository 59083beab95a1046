"""What points have in common is made once, and points that differ in what matters share nothing."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import build_group, needs_tensorrt, without_gpu

from trt_sweep import backends
from trt_sweep.backends.base import Compiled
from trt_sweep.config.groups import PRECISIONS, AccuracyConfig, MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points.plan import effective, point_of
from trt_sweep.points.point import Point, by_build
from trt_sweep.points.run import PointRun
from trt_sweep.results import record, store
from trt_sweep.results.columns import Build, Partition
from trt_sweep.results.measured import Profile
from trt_sweep.workers.worker import Worker

FACTORY = {"_target_": "torchvision.models.get_model", "name": "squeezenet1_1"}


def config(**values) -> SweepConfig:
    model = ModelConfig(name="squeezenet1_1", factory=FACTORY, inputs=[InputConfig(shape=[3, 64, 64])])
    return SweepConfig(**{"model": model, "backend": "dynamo", "device": "cpu"} | values)


def test_once():
    shared, made = ProcessCache(), []
    assert [shared.get_or_make("a", lambda: made.append(1) or 7) for _ in range(2)] == [7, 7] and made == [1]
    with pytest.raises(ZeroDivisionError):
        shared.get_or_make("b", lambda: 1 / 0)
    assert shared.get_or_make("b", lambda: 2) == 2
    shared.clear()
    assert shared.get("a") is None


@needs_tensorrt
@without_gpu
def test_points_of_a_model_are_exported_once(tmp_path):
    """And what they are told is what each by itself would be told."""
    heard: list[str] = []
    worker = Worker(tmp_path, SweepOptions(), heard.append, lambda record: None)
    found, alone = [], []
    for size in (5, 45):
        (point,) = [point_of(each, SweepOptions()) for each in effective(config(min_block_size=size))]
        worker.open([point])
        found.append(worker.start(point.id).record)
    assert worker.close() is None
    for size in (5, 45):
        (point,) = [point_of(each, SweepOptions()) for each in effective(config(min_block_size=size))]
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
    assert dataclasses.replace(base, min_block_size=7).engine_key(None, []) != base.engine_key(None, [])
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


class Same:
    """A backend whose points all lead to one partition, and that counts what it builds and runs."""

    AXES, TENSORRT, DYNAMIC, STORED = frozenset({"optimization_level"}), True, False, False

    def __init__(self, partition_id: str | None = "p") -> None:
        self.built, self.calls, self.partition_id = 0, 0, partition_id

    def compile(self, model, settings) -> Compiled:
        part = Partition(partition_id=self.partition_id)
        planned = Compiled(None, Build(export_s=0.5), part, ignored_axes=["optimization_level"])
        reused = settings.reuse(planned)
        if reused is not None:
            return reused
        self.built += 1

        def bind(inputs):
            def call():
                self.calls += 1
                return model.module(*inputs.args)

            return call

        build = Build(export_s=0.5, build_s=2.0, engine_id="e")
        part = dataclasses.replace(part, engines=3)  # which some plans do not tell
        return dataclasses.replace(planned, bind=bind, build=build, partition=part)


def lines(tmp_path, monkeypatch, *changes: dict, backend: Same | None = None, **options) -> tuple[Same, list[PointRun]]:
    """Return a backend, and what runs each of these points; those of one build stand together."""
    backend = backend or Same()
    monkeypatch.setattr(backends, "get", lambda name: backend)
    shared, found = ProcessCache(), []
    brief = MeasureConfig(visits=6, max_s=0.1, settle_s=0.0, warmup_s=0.0)
    points = [
        Point(config(**{"optimization_level": level, "measure": brief} | change))
        for level, change in enumerate(changes)
    ]
    for build in by_build(points):
        group = build_group(build, lambda point: tmp_path / point.id, cache=shared, options=SweepOptions(**options))
        found += group.runs
    return backend, found


def test_points_of_one_engine_are_timed_once(tmp_path, monkeypatch):
    backend, (first, second) = lines(tmp_path, monkeypatch, {}, {})
    one = first.start()
    calls = backend.calls
    two = second.start()
    assert backend.built == 1 and backend.calls == calls and (one.status, two.status) == ("ok", "ok")
    assert two.timed_with == two.engine_reused_from == one.point_id and one.timed_with is None
    *_, one = (first.again() for _ in range(6))
    calls = backend.calls
    two = second.again()
    assert backend.calls == calls and two.rounds == 6 and two.final
    for name in ("latency_ms", "latency_ms_ci_low", "samples", "rel_l2_error", "engine_id"):
        assert getattr(two, name) == getattr(one, name), name
    assert (one.build_s, two.build_s, two.first_call_ms) == (2.0, None, None) and one.first_call_ms > 0
    assert (tmp_path / two.point_id / record.SAMPLES).exists()


@pytest.mark.parametrize("partition_id", ["p", None])
def test_points_of_one_engine_under_other_loads_are_built_once_and_timed_each(tmp_path, monkeypatch, partition_id):
    backend = Same(partition_id)
    _, found = lines(tmp_path, monkeypatch, {"streams": 1}, {"streams": 2}, {"min_block_size": 7}, backend=backend)
    one, two = found[0].start(), found[1].start()
    assert backend.built == 1 and (one.status, two.status) == ("ok", "ok") and one.timed_with is two.timed_with is None
    assert (two.engine_reused_from, two.build_s, two.first_call_ms) == (one.point_id, None, None)
    assert one.first_call_ms > 0 and one.engine_id == two.engine_id
    other = found[2].start()  # acts through the partition, where there is one
    assert backend.built == (2 if partition_id is None else 1)
    assert [row.engines for row in (one, two, other)] == ([3, 3, 3] if partition_id is None else [3, None, None])


def test_points_of_one_engine_under_other_loads_are_looked_into_once(tmp_path, monkeypatch):
    keys: list[str | None] = []
    looked = Profile(layers=2)
    monkeypatch.setattr(
        "trt_sweep.points.profile.of_point", lambda model, compiled, how, key: keys.append(key) or looked
    )
    loads = {"streams": 1}, {"streams": 2}, {"streams": 1, "precision": "bf16"}
    _, found = lines(tmp_path, monkeypatch, *loads, profile=True)
    for line in found:
        line.start()
        assert line.profile().layers == 2
    assert keys[0] == keys[1] != keys[2] and keys[0] is not None


def test_sizes_of_a_range_whose_engine_was_called_before_have_no_first_call(tmp_path, monkeypatch):
    sizes = [
        {"batch_size": [1, 2, 4], "time_at": [size], "streams": streams, "optimization_level": 0}
        for streams in (1, 2)
        for size in (1, 4)
    ]
    backend, found = lines(tmp_path, monkeypatch, *sizes)
    rows = [line.start() for line in found]
    assert backend.built == 1 and [row.status for row in rows] == ["ok"] * 4
    assert [row.first_call_ms is None for row in rows] == [False, False, True, True]


@pytest.mark.parametrize("change", [{"reuse": False}, {"accuracy": AccuracyConfig(dict.fromkeys(PRECISIONS, 1.0))}])
def test_points_are_timed_each_where_that_is_asked_for_or_they_are_judged_otherwise(tmp_path, monkeypatch, change):
    points, options = ([{}, {}], change) if "reuse" in change else ([{}, change], {})
    backend, (first, second) = lines(tmp_path, monkeypatch, *points, **options)
    first.start()
    calls = backend.calls
    assert second.start().timed_with is None and backend.calls > calls
    assert backend.built == (2 if "reuse" in change else 1)


def test_a_point_fails_with_the_one_that_is_timed_for_it(tmp_path, monkeypatch):
    _, (first, second) = lines(tmp_path, monkeypatch, {}, {})
    first.start()
    second.start()

    def broken() -> None:
        raise RuntimeError("boom")

    first.timers[0].call = broken
    assert first.again().status == "run_failed"
    found = second.again()
    assert found.status == "run_failed" and "timed for this one too" in found.reason and "boom" in found.reason


def test_a_row_that_was_timed_is_final_whether_or_not_it_is_looked_into(tmp_path, monkeypatch):
    """And a later look changes nothing else of it, not even where its build fails."""
    backend, (line,) = lines(tmp_path, monkeypatch, {}, profile=True)
    line.start()
    *_, before = (line.again() for _ in range(6))
    assert before.final and before.profile_engine_id is None
    asked: list[str | None] = []

    def of_point(model, compiled, settings, key):
        asked.append(compiled.build.engine_id)
        return Profile(profile_engine_id="inside", layers=2, layers_ms=3.0)

    monkeypatch.setattr("trt_sweep.points.profile.of_point", of_point)
    (later,) = build_group([line.point], tmp_path / line.point.id, options=SweepOptions(profile=True)).runs
    found = later.look(before)
    assert asked == ["e"] and backend.built == 2
    assert found == dataclasses.replace(before, profile_engine_id="inside", layers=2, layers_ms=3.0)
    assert store.read(tmp_path / found.point_id / record.RECORD) == found

    def fails(model, settings):
        settings.keep(Compiled(None))  # a plan is there, and would be written down
        raise RuntimeError("no engine")

    backend.compile = fails
    (third,) = build_group([line.point], tmp_path / line.point.id, options=SweepOptions(profile=True)).runs
    assert third.look(before) == dataclasses.replace(before, profile_reason="RuntimeError: no engine")
