"""Rows that the sweep itself writes: whom one method of gpu_ms serves, and who is still to be looked into."""

from __future__ import annotations

import pytest

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.points.point import Point, Report
from trt_sweep.results.columns import Environment
from trt_sweep.results.measured import Timing
from trt_sweep.results.record import Record
from trt_sweep.sweep import amend
from trt_sweep.workers.protocol import WorkerLost


def row(**values) -> Record:
    base = {"point_id": "p", "sweep_id": "s", "jobs": [0], "status": "ok", "device": "cuda:0", "engines": 1}
    return Record(**(base | values))


def point(**values) -> Point:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return Point(PointConfig(**{"model": model, "backend": "dynamo"} | values))


@pytest.mark.parametrize(
    ("values", "unseen"),
    [
        ({}, True),
        ({"engines": 0}, True),
        ({"engines": None}, False),  # a backend that has none
        ({"status": "inaccurate"}, False),
        ({"device": "cpu"}, False),
        ({"profile_engine_id": "e"}, False),
        ({"profile_reason": "it crashed"}, False),  # once is enough
        ({"traced_span_ms": 0.5}, False),  # no engine to look into
    ],
)
def test_who_is_still_to_be_looked_into(values, unseen):
    assert amend.unseen(row(**values)) is unseen and not amend.unseen(None)


@pytest.mark.parametrize(
    ("values", "status", "device", "tensorrt", "reason"),
    [
        ({}, "ok", "cuda", True, None),
        ({}, "interrupted", None, True, None),  # it is still to be done
        ({}, "inaccurate", "cuda", True, "not looked into: status=inaccurate"),
        ({}, "build_failed", "cuda", True, "not looked into: status=build_failed"),
        ({}, "build_failed", "cpu", True, "profile=true: the point ran on the CPU, and engines need a GPU"),
        ({"dryrun": True}, "dryrun", None, True, "profile=true: a dry run builds no engines"),
        ({"backend": "inductor"}, "ok", "cuda", False, "profile=true: backend=inductor has no engines"),
    ],
)
def test_why_there_is_nothing_to_look_into(values, status, device, tensorrt, reason):
    asked = point(**values)
    assert asked.no_profile(status, device, tensorrt) is None  # a baseline: nobody asked
    asked.jobs.append(0)
    assert asked.no_profile(status, device, tensorrt) == reason


def test_a_lost_point_is_not_looked_into(tmp_path):
    asked, why = point(), WorkerLost("crashed", "build", "killed by signal 11")
    asked.jobs.append(0)
    asked.axes.update(model="m", backend="dynamo")
    found = [amend.lost(asked, tmp_path, "s", Environment(), why, profile=profile) for profile in (True, False)]
    assert [row.profile_reason for row in found] == ["not looked into: status=crashed", None]


def report(key: str, *methods: str) -> Report:
    found = {name: Timing(gpu_ms=len(name) * 1.0, gpu_ms_method=name, latency_ms=9.0) for name in methods}
    return Report(row(point_id=key, gpu_ms_method=methods[0]), by_method=found)


def test_all_points_get_a_method_that_all_have():
    reports = {"a": report("a", "graph", "queued"), "b": report("b", "queued")}
    known = {key: each.record for key, each in reports.items()}
    (key,) = found = amend.agreed(known, reports)
    assert key == "a" and found[key].gpu_ms_method == "queued" and found[key].gpu_ms == 6.0 and found[key].jobs == [0]
    assert amend.agreed({"a": known["a"]}, {"a": reports["a"]}) == {}
    # An earlier batch has one method only: the next one takes that, where it can.
    later = {"a": known["a"], "z": row(point_id="z", gpu_ms_method="queued")}
    assert amend.agreed(later, {"a": reports["a"]})["a"].gpu_ms_method == "queued"
