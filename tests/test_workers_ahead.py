"""Processes that build ahead: real ones, with engines that TensorRT-RTX builds without a GPU."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import needs_tensorrt, without_gpu
from running import gone, processes

from trt_sweep.backends.engine_store import PAUSED, PRIVATE, Store
from trt_sweep.config.groups import LimitsConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig
from trt_sweep.machine import versions
from trt_sweep.points.point import Point
from trt_sweep.workers.ahead import BuildAheadPool
from trt_sweep.workers.worker import Worker

pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]  # they count and stop processes
needs_builder = pytest.mark.skipif(
    versions.flavor() != "rtx" or importlib.util.find_spec("onnxscript") is None,
    reason="TensorRT-RTX's builder is needed",
)


def point(backend: str = "onnx", **values) -> Point:
    model = ModelConfig(
        name="squeezenet1_1",
        factory={"_target_": "torchvision.models.get_model", "name": "squeezenet1_1"},
        inputs=[InputConfig(shape=[3, 64, 64])],
    )
    return Point(PointConfig(**{"model": model, "backend": backend, "device": "cpu"} | values), stored=True)


def worker_of(folder: Path, **options) -> Worker:
    return Worker(folder, SweepOptions(**options), lambda phase: None, lambda record: None)


@pytest.fixture
def ahead(tmp_path: Path) -> Iterator[BuildAheadPool]:
    found = BuildAheadPool(tmp_path, SweepOptions(build_workers=1, limits=LIMITS), {}, said.append)
    yield found
    found.end()
    assert gone(tmp_path)


said: list[str] = []
LIMITS = LimitsConfig()  # as a sweep has them; a test may set others


def engines(folder: Path) -> list[Path]:
    return list((folder / PRIVATE).rglob("*.zip"))


def until_started(ahead: BuildAheadPool, within_s: float = 300) -> psutil.Process:
    end = time.monotonic() + within_s
    while not ahead.pids and time.monotonic() < end:
        time.sleep(0.05)
    return psutil.Process(ahead.pids[0])


def until_stopped(process: psutil.Process, stopped: bool = True, within_s: float = 60) -> bool:
    end = time.monotonic() + within_s
    while (process.status() == psutil.STATUS_STOPPED) != stopped and time.monotonic() < end:
        time.sleep(0.02)
    return (process.status() == psutil.STATUS_STOPPED) == stopped


def begun(ahead: BuildAheadPool, point: Point, within_s: float = 300) -> None:
    end = time.monotonic() + within_s
    future = ahead._builds[point.config.build_id]
    while not (future.running() or future.done()) and time.monotonic() < end:
        time.sleep(0.02)


@needs_builder
def test_engines_are_there_before_they_are_asked_for(tmp_path, ahead):
    """The timing process then reads what it would have built, to the byte, and puts it away when it is done."""
    ahead.offer([[point()], [point(batch_size=2)]])
    for each in (point(), point(batch_size=2)):
        begun(ahead, each)
        ahead.wait(each)
    assert len(engines(tmp_path)) == 2 and not said
    worker = worker_of(tmp_path, build_workers=1)
    worker.open([point()])
    record = worker.start(point().id).record  # there is no driver to run it with
    alone = worker_of(tmp_path / "alone")
    alone.open([point()])
    other = alone.start(point().id).record
    assert (record.engines_stored, other.engines_stored) == (1, None)
    assert record.engine_id == other.engine_id and record.engine_bytes == other.engine_bytes
    assert record.build_s is not None and record.build_s > 0.1
    worker.close()
    assert len(engines(tmp_path)) == 1  # the other is still to come


@needs_builder
def test_a_second_sweep_builds_nothing(tmp_path):
    """With a cache_dir, whatever its folder is called."""
    records = []
    for name in ("first", "second"):
        worker = worker_of(tmp_path / name, cache_dir=str(tmp_path / "cache"))
        worker.open([point()])
        records.append(worker.start(point().id).record)
        worker.close()
    assert [record.engines_stored for record in records] == [0, 1]
    assert records[0].engine_id == records[1].engine_id and records[0].build_s == records[1].build_s
    worker = worker_of(tmp_path / "third", cache_dir=str(tmp_path / "cache"), reuse=False)
    worker.open([point()])
    assert worker.start(point().id).record.engines_stored == 0


@needs_builder
def test_an_engine_that_is_run_in_two_ways_is_built_once(tmp_path):
    """Others are not kept: nothing else of this sweep could need them."""
    two = [point(), point(runtime_cache="warm"), point(batch_size=2)]
    worker = worker_of(tmp_path)
    worker.prepare([[each] for each in two])
    records = []
    for each in two:
        worker.open([each])
        records.append(worker.start(each.id).record)
        worker.close()  # as where each point has a group of its own
    assert [record.engines_stored for record in records] == [0, 1, None]
    assert records[0].engine_id == records[1].engine_id and records[0].build_s == records[1].build_s
    assert len(engines(tmp_path)) == 1


@needs_tensorrt
def test_they_stand_still_while_a_point_is_timed(tmp_path, ahead):
    ahead.offer([[point()]])
    process = until_started(ahead)
    ahead.on_phase("export")
    assert process.status() != psutil.STATUS_STOPPED
    ahead.on_phase("warmup")
    stopped = time.monotonic()
    ahead.on_phase("timing")
    assert until_stopped(process)
    before = process.cpu_times()
    time.sleep(0.3)
    assert process.cpu_times() == before and process.status() == psutil.STATUS_STOPPED
    ahead.on_phase("")
    (paused_s,) = struct.unpack("d", (tmp_path / PRIVATE / PAUSED).read_bytes())
    assert 0.3 <= paused_s <= time.monotonic() - stopped
    assert until_stopped(process, False)
    ahead.on_phase("timing")  # and may end so


def test_a_process_that_starts_while_a_point_is_timed_stands_still_too(ahead):
    ahead.on_phase("timing")
    ahead.offer([[point("eager")]])
    assert until_stopped(until_started(ahead))
    ahead.on_phase("")
    ahead.wait(point("eager"))


def test_what_nobody_has_begun_with_is_not_waited_for(ahead):
    ahead.offer([[point("eager")], [point("eager", batch_size=2)], [dataclasses.replace(point(), stored=False)]])
    process = until_started(ahead)
    process.suspend()  # whoever waited for it now would wait for the limits, which are an hour
    ahead.wait(point("eager", batch_size=2))  # the one process has the first in hand
    ahead.wait(point())  # was never taken
    process.resume()
    ahead.wait(point("eager"))
    assert ahead._builds[point("eager").config.build_id].done()


def test_one_that_is_killed_is_replaced(ahead):
    said.clear()
    ahead.offer([[point("eager")]])
    until_started(ahead).kill()
    ahead.wait(point("eager"))
    assert len(said) == 1 and "SIGKILL" in said[0]
    ahead.offer([[point("eager", batch_size=2)]])
    begun(ahead, point("eager", batch_size=2))
    ahead.wait(point("eager", batch_size=2))
    assert len(said) == 1 and len(ahead.pids) == 1


def test_one_that_hangs_is_not_waited_for_beyond_the_limits(tmp_path, ahead, monkeypatch):
    said.clear()
    monkeypatch.setattr(LIMITS, "export_s", 0.3)
    monkeypatch.setattr(LIMITS, "build_s", 0.2)
    ahead.offer([[point("eager")]])
    process = until_started(ahead)
    process.suspend()
    start = time.monotonic()
    ahead.wait(point("eager"))  # it would never come to an end
    assert time.monotonic() - start >= 0.5
    assert gone_process(process)


def gone_process(process: psutil.Process) -> bool:
    try:
        process.wait(60)
    except psutil.TimeoutExpired:
        return False
    return True


def test_a_sweep_that_builds_ahead_leaves_nothing_behind(sweep):
    done = sweep("backend=eager", "model=scale", "batch_size=1,2", "build_workers=2", "measure.max_s=0.3")
    assert done.code == 0, done.out + done.err
    assert done.rows["status"].tolist() == ["ok"] * 2 and not (done.folder / PRIVATE).exists()
    assert not processes(done.folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_dir_that_cannot_be_written_is_read_all_the_same(tmp_path):
    Store(tmp_path).build(lambda: {}, lambda: (b"engine", {}))
    tmp_path.chmod(0o555)
    assert Store(tmp_path).build(lambda: {}, lambda: (b"", {})).stored
