"""One point from end to end in this process; the rest of job.py is tested through the command line."""

from __future__ import annotations

import dataclasses
import gc
import threading
import time
import weakref
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import build_group, needs_tensorrt, without_gpu

from trt_sweep import backends
from trt_sweep.backends import base
from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import Refused, SweepError
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model
from trt_sweep.points import run
from trt_sweep.points.plan import effective
from trt_sweep.points.point import Point
from trt_sweep.results import store
from trt_sweep.results.layers import profiles
from trt_sweep.results.record import RECORD, SAMPLES
from trt_sweep.sweep import amend

LINEAR = {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 3}


def config(**values) -> SweepConfig:
    factory = {"_target_": "torchvision.models.get_model", "name": "squeezenet1_1"}
    model = ModelConfig(name="squeezenet1_1", factory=factory, inputs=[InputConfig(shape=[3, 64, 64])])
    return SweepConfig(model=model, backend="dynamo", device="cpu", **values)


@needs_tensorrt
@without_gpu
def test_a_build_that_fails_keeps_what_was_planned(tmp_path):
    """Without a driver the real builder fails; the row still holds the export and the partition before it."""
    heard: list[str] = []
    with build_group([Point(config(min_block_size=5), [3])], tmp_path, heard.append) as group:
        record = group.runs[0].start()
    assert (record.status, record.phase, record.jobs) == ("build_failed", "build", [3])
    assert record.reason and "\n" not in record.reason
    assert [phase for phase in heard if phase != "record"] == [
        *("model", "reference", "export", "partition"),
        *("partition", "build"),  # after what was planned was written down
    ]
    assert record.engines == 3 and record.export_s is not None and record.build_s is None and record.engine_id is None
    assert store.read(tmp_path / RECORD) == record


@needs_tensorrt
@without_gpu
def test_effective_fills_in_defaults_and_plans():
    (found,) = effective(config())
    assert (found.min_block_size, found.dryrun, found.device) == (5, True, "cpu")
    assert effective(config(min_block_size=5))[0].point_id == found.point_id


def test_an_interrupt_passes_once_the_record_is_written(tmp_path):
    def interrupt(phase: str) -> None:
        if phase == "reference":
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        build_group([Point(config())], tmp_path, interrupt) as group,
    ):
        group.runs[0].start()
    assert store.read(tmp_path / RECORD).status == "interrupted"


class Slow(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return x * 2


FAST = MeasureConfig(visits=6, max_s=0.06, settle_s=0.0, warmup_s=0.0)


def eager(**measure) -> SweepConfig:
    model = ModelConfig(name="linear", factory=LINEAR, inputs=[InputConfig(shape=[4])])
    return SweepConfig(
        model=model, backend="eager", device="cpu", cuda_graphs=False, measure=dataclasses.replace(FAST, **measure)
    )


def test_each_round_appends_its_samples_and_replaces_the_record(tmp_path):
    with build_group([Point(eager())], tmp_path) as group:
        (line,) = group.runs
        first = line.start()
        assert (first.status, first.rounds, first.final, line.rounds) == ("ok", 1, False, 6)
        assert [line.again() for _ in range(5)] == [None] * 5
        assert store.read(tmp_path / RECORD) == first
        last = line.again()
        assert last.final and last.rounds == len(last.latency_ms_visits) == 6
    assert store.read(tmp_path / RECORD) == last and last.created_utc == first.created_utc
    samples = np.load(tmp_path / SAMPLES)
    assert len(samples["latency_ms"]) == last.samples + first.samples
    assert sorted(set(samples["latency_ms_round"])) == [*range(7)] and set(samples["latency_ms_build"]) == {0}
    assert first.latency_ms_between_rounds is None and last.latency_ms_between_rounds > 0


def test_profile_without_engines_has_a_word_for_it_and_an_added_baseline_none(tmp_path):
    found = {}
    for name, jobs in (("asked", [0]), ("baseline", [])):
        point = Point(eager(), jobs)
        with build_group([point], tmp_path / name, options=SweepOptions(profile=True)) as group:
            found[name] = group.runs[0].start()
    assert found["asked"].profile_reason == "profile=true: backend=eager has no engines"
    assert found["baseline"].profile_reason is None
    assert not amend.unseen(found["asked"])
    with pytest.raises(SweepError, match=r"holds no profile: profile=true: backend=eager has no engines"):
        profiles.load(tmp_path / "asked")


def test_what_is_refused_for_a_range_is_tried_at_a_size_of_its_own(tmp_path, monkeypatch):
    compile = backends.get("eager").compile

    def refuses(model: Model, settings: base.BuildContext) -> base.Compiled:
        if settings.config.ranges:
            raise Refused("no dynamic shapes")
        return compile(model, settings)

    monkeypatch.setattr(backends.get("eager"), "compile", refuses)
    ranged = dataclasses.replace(eager(), batch_size=[1, 4, 8], time_at=[4])
    shared, found = ProcessCache(), []
    for point in map(Point, (ranged, eager())):
        with build_group([point], lambda made: tmp_path / made.id, cache=shared) as group:
            found.append(group.runs[0].start().status)
    assert found == ["unsupported", "ok"]


def test_builds_are_told_apart(tmp_path):
    with build_group([Point(eager(rebuilds=3))], tmp_path) as group:
        (line,) = group.runs
        line.start()
        *_, record = (line.again() for _ in range(6))
    assert (record.builds, record.rounds) == (3, 6)
    assert record.latency_ms_between_builds > 0 and record.latency_ms_between_rounds > 0
    samples = np.load(tmp_path / SAMPLES)
    assert {*zip(samples["latency_ms_build"], samples["latency_ms_round"], strict=True)} == {
        (build, number) for build in range(3) for number in range(7)
    }


def test_a_call_longer_than_its_time_is_visited_once(tmp_path):
    slow = dataclasses.replace(eager(max_s=0.01).model, factory={"_target_": "test_points_run.Slow"})
    with build_group([Point(dataclasses.replace(eager(max_s=0.01), model=slow))], lambda _: tmp_path) as group:
        record = group.runs[0].start()
        assert (record.status, record.samples, record.final, group.runs[0].rounds) == ("ok", 1, True, 0)
        assert record.latency_ms >= 50 and record.latency_ms_ci_low is None and record.latency_ms_visits is None


def test_a_later_visit_that_fails_is_a_failed_row_with_the_times_so_far(tmp_path):
    with build_group([Point(eager())], tmp_path) as group:
        (line,) = group.runs
        line.start()
        assert [line.again() for _ in range(2)] == [None, None]

        def broken() -> None:
            raise RuntimeError("boom")

        line.timers[0].call = broken
        record = line.again()
        assert (record.status, record.phase, record.reason) == ("run_failed", "timing", "RuntimeError: boom")
        assert record.rounds == 2 and record.latency_ms > 0 and line.rounds == 0


def test_an_interrupt_in_a_later_round_keeps_the_finished_row(tmp_path):
    heard: list[str] = []

    def phase(name: str) -> None:
        heard.append(name)
        if heard.count("timing") == 2:
            raise KeyboardInterrupt

    with build_group([Point(eager())], tmp_path, phase) as group:
        first = group.runs[0].start()
        with pytest.raises(KeyboardInterrupt):
            group.runs[0].again()
    assert store.read(tmp_path / RECORD) == first and first.status == "ok"


class Threads(torch.nn.Module):
    """Note in which threads it is called."""

    seen: ClassVar[list[int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(threading.get_ident())
        return x * 2


@without_gpu
@pytest.mark.parametrize("chosen", [False, True])
def test_what_cudnn_chose_is_called_in_the_thread_of_the_choice(tmp_path, monkeypatch, chosen):
    """Without a GPU it never chooses, so a backend has to say that it did."""
    eager = backends.get("eager")
    compiled = eager.compile

    def choosing(model: Model, settings: base.BuildContext) -> base.Compiled:
        found = compiled(model, settings)
        return dataclasses.replace(found, build=dataclasses.replace(found.build, cudnn_benchmark=chosen))

    monkeypatch.setattr(eager, "compile", choosing)
    factory = {"_target_": f"{__name__}.Threads"}
    model = ModelConfig(name="threads", factory=factory, inputs=[InputConfig(shape=[4])])
    point = Point(SweepConfig(model=model, backend="eager", device="cpu", measure=FAST), [0])
    with build_group([point], tmp_path, lambda _: None) as group:
        record = group.runs[0].start()
        Threads.seen.clear()
        group.runs[0].again()
    assert record.status == "ok" and record.gpu_ms_choices is None
    assert set(Threads.seen) != {threading.get_ident()} if chosen else set(Threads.seen) == {threading.get_ident()}
    assert len(set(Threads.seen)) == 1


@without_gpu
def test_a_build_that_fails_keeps_nothing_of_what_its_backend_had_in_hand(tmp_path, monkeypatch):
    """Nothing that only a collection would free: the next build would find the memory taken."""
    kept: list[weakref.ref[torch.nn.Module]] = []

    def fails(model: Model, settings: base.BuildContext) -> base.Compiled:
        half = torch.nn.Linear(4, 4)
        kept.append(weakref.ref(half))
        raise RuntimeError("no engine")

    monkeypatch.setattr(backends.get("eager"), "compile", fails)
    monkeypatch.setattr(run.log, "disabled", True)  # pytest keeps what is logged, traceback and all
    gc.disable()
    try:
        with build_group([Point(eager())], tmp_path) as group:
            assert group.runs[0].start().status == "build_failed"
            assert kept[0]() is None
    finally:
        gc.enable()
