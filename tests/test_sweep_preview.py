"""`plan=true`: what a sweep would do, through a real multirun."""

from __future__ import annotations

import json
import re

from conftest import needs_tensorrt, without_gpu
from running import resumed

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import devices
from trt_sweep.points.phases import HARNESS, START
from trt_sweep.points.point import Point
from trt_sweep.workers.worker import Worker


@needs_tensorrt
@without_gpu
def test_a_plan_shows_points_and_builds_and_runs_nothing(sweep):
    done = sweep("model=googlenet", "min_block_size=1,4,5,300", "plan=true", example=False)
    assert done.code == 0, done.err
    shown = [line.split() for line in done.out.splitlines() if "googlenet" in line]
    assert [line[0] for line in shown] == ["1", "1", "2", "3"]  # 1 and 4 lead to one partition
    assert [re.search(r"(\d+) \[", " ".join(line))[1] for line in shown] == ["11", "11", "10", "0"]
    assert re.search(r"^4 points, 3 builds$", done.out, re.M), done.out
    assert not (done.folder / "points").exists() and not (done.folder / "results.csv").exists()
    assert "complete" not in done.err


def test_a_plan_can_be_looked_at_before_going_on(sweep):
    first = sweep("backend=eager", "model=scale,raises", "device=cpu", "measure.max_s=0.2")
    assert first.code == 1
    shown = resumed(first.folder, "retry=[run_failed]", "plan=true")
    assert shown.returncode == 0, shown.stderr
    assert "raises eager fp32" in shown.stdout and "scale" not in shown.stdout and "1 point, 1 build" in shown.stdout
    assert len(first.rows) == 2
    again = resumed(first.folder, "retry=[run_failed]")
    assert "raises" in again.stderr and again.returncode == 1  # what it was called with is still known


def point(**values) -> Point:
    model = ModelConfig(name="scale", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig(shape=[8])])
    return Point(SweepConfig(**{"model": model, "backend": "dynamo", "device": "cuda:0"} | values))


def test_what_other_batch_sizes_hold_is_kept_while_there_is_room(tmp_path, monkeypatch):
    worker, found = Worker(tmp_path, SweepOptions(), lambda phase: None, lambda record: None), []
    for room in (True, False):
        monkeypatch.setattr(devices, "has_room", lambda device, room=room: room)
        for size in (1, 2, 2):
            with worker.aside(point(device="cpu", batch_size=size).config) as (model, settings):
                settings.once("program", lambda: None)
            found.append((model.module, len(worker._cache._made)))
    assert found[0][0] is found[1][0] is found[2][0] and [number for _, number in found[:3]] == [3, 5, 5]
    assert [number for _, number in found[3:]] == [3, 3, 3]


def test_where_the_time_went_adds_up(sweep):
    done = sweep("backend=eager", "model=scale", "device=cpu", "measure.max_s=0.2")
    assert done.code == 0, done.err
    spent = json.loads((done.folder / "seconds.json").read_text())
    assert {START, HARNESS, "reference", "accuracy", "warmup", "timing", "record"} <= set(spent)
    assert all(seconds >= 0 for seconds in spent.values())
    assert re.search(r"^took \d+:\d\d; seconds in .*start \d", done.err, re.M), done.err
    assert spent["timing"] > 0.05 and spent[START] > 0.5


@needs_tensorrt
@without_gpu
def test_a_point_that_cannot_be_planned_says_why(sweep):
    done = sweep("model=data_dependent,scale", "plan=true")
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("·")]
    assert line.startswith("· data_dependent") and "data-dependent" in line and "2 points, 1 build" in done.out
