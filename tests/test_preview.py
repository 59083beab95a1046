"""`plan=true`: what a sweep would do, through a real multirun, and the estimate."""

from __future__ import annotations

import json
import re

import pytest
from conftest import needs_tensorrt, without_gpu
from test_faults import resumed

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import devices
from trt_sweep.points.phases import HARNESS, START
from trt_sweep.points.point import Plan, Point, Preview
from trt_sweep.results import columns, record, store
from trt_sweep.results.columns import Environment
from trt_sweep.results.record import Record
from trt_sweep.sweep import preview
from trt_sweep.sweep.phase_times import PhaseTimes
from trt_sweep.workers.worker import Worker


@needs_tensorrt
@without_gpu
def test_a_plan_shows_points_and_builds_and_runs_nothing(sweep):
    done = sweep("model=googlenet", "min_block_size=1,4,5,300", "plan=true", example=False)
    assert done.code == 0, done.err
    shown = [line.split() for line in done.out.splitlines() if "googlenet" in line]
    assert [line[0] for line in shown] == ["1", "1", "2", "3"]  # 1 and 4 lead to one partition
    assert [line[-1] for line in shown] == ["–", "shared", "–", "–"]
    assert [re.search(r"(\d+) \[", " ".join(line))[1] for line in shown] == ["11", "11", "10", "0"]
    assert re.search(r"^4 points, 3 builds: about \d+:\d\d$", done.out, re.M), done.out
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


def test_the_estimate_counts_windows_and_builds():
    spent = PhaseTimes()
    spent.seconds = {START: 10.0, "export": 2.0}
    one = point(measure=MeasureConfig(rounds=3, warmup_s=0.5, min_s=0.1, max_s=2.0))
    # 12 s of start and plan, a build of 5 s, and windows: 1.5 s of warm-up, 1.2 to 8 s of timing.
    assert preview.estimate(1, [one], [5.0], spent) == "1 point, 1 build: about 0:20 to 0:26"
    both = preview.estimate(3, [one, point(dryrun=True)], [5.0, None], spent)
    assert both == "3 points, 2 builds: about 0:20 to 0:26, and 1 build of which nothing is known yet"
    assert "build_workers" in preview.estimate(1, [point(build_workers=2)], [5.0], spent)


def test_what_other_batch_sizes_hold_is_kept_while_there_is_room(tmp_path, monkeypatch):
    worker, found = Worker(tmp_path, lambda phase: None), []
    for room in (True, False):
        monkeypatch.setattr(devices, "has_room", lambda device, room=room: room)
        for size in (1, 2, 2):
            with worker.aside(point(device="cpu", batch_size=size).config) as (model, settings):
                settings.once("program", lambda: None)
            found.append((model.module, len(worker._shared._made)))
    assert found[0][0] is found[1][0] is found[2][0] and [number for _, number in found[:3]] == [3, 5, 5]
    assert [number for _, number in found[3:]] == [3, 3, 3]


class WorkerHost:
    """Answers as a worker does."""

    def __init__(self, partition_id: str) -> None:
        self.partition_id = partition_id

    def call(self, method: str, *_: object) -> Preview:
        assert method == "preview"
        return Preview("key", columns.Partition(partition_id=self.partition_id))


@pytest.mark.parametrize(
    ("changes", "partition_id", "takes"),
    [
        ({}, "same", "4.0"),  # of the same partition
        ({}, "other", "6.0"),  # the mean of the model's
        ({"gpu_name": "another"}, "same", "?"),
        ({"precision": "fp16"}, "same", "?"),
        ({"tensorrt": "11.0"}, "same", "?"),
    ],
)
def test_what_a_build_takes_is_known_from_earlier_sweeps(tmp_path, capsys, changes, partition_id, takes):
    here = Environment(gpu_name="gpu", tensorrt="10.0", tensorrt_flavor="rtx", torch="2.11")
    base = {"sweep_id": "before", "created_utc": "", "jobs": [], "status": "ok", "model": "scale"}
    base |= {"backend": "dynamo", "precision": "fp32", **vars(here)}
    for name, partition, seconds in (("a", "same", 4.0), ("b", "third", 8.0)):
        row = Record(**(base | changes | {"point_id": name, "partition_id": partition, "build_s": seconds}))
        store.write(tmp_path / "2026-01-01" / "before" / "points" / name, row)
    (tmp_path / "2026-01-01" / "before" / "points" / "c").mkdir()
    (tmp_path / "2026-01-01" / "before" / "points" / "c" / record.RECORD).write_text("{")
    plan = Plan([[point()]], {"cuda:0": here})
    folder = tmp_path / "2026-01-02" / "now"
    preview.show(
        WorkerHost(partition_id), plan, plan.builds, label=lambda _: "scale", spent=PhaseTimes(), folder=folder
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "scale" in line]
    assert line.split()[-1] == takes


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
    assert line.startswith("· data_dependent") and "data-dependent" in line and "2 points, 1 build:" in done.out
