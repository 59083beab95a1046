"""The one writer of a sweep's records: as they come from a worker, amended, and of points whose worker is lost."""

from __future__ import annotations

import dataclasses

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.points.point import Plan, Point, Report
from trt_sweep.results import store
from trt_sweep.results.axes import Axes
from trt_sweep.results.columns import Environment
from trt_sweep.results.record import RECORD, Record
from trt_sweep.sweep.labels import Labels, outcome
from trt_sweep.sweep.records import SweepRecords
from trt_sweep.workers.protocol import WorkerLost

MODEL = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])


def point(jobs=(0,), **values) -> Point:
    made = PointConfig(model=MODEL, backend="eager", device="cpu", **values)
    axes = vars(Axes(model="m", model_id="i", backend="eager", precision="fp32", batch_size=1, dryrun=False))
    return Point(made, list(jobs), axes=axes)


def records(tmp_path, *points: Point, profile: bool = False) -> SweepRecords:
    return SweepRecords(tmp_path, Plan([[each] for each in points], {"cpu": Environment(python="3")}), profile=profile)


def row(point: Point, status: str, **values) -> Record:
    return Record(**point.axes, point_id=point.id, sweep_id="s", jobs=point.jobs, status=status, **values)


def test_what_a_worker_sends_is_on_the_disk_before_its_step_has_ended(tmp_path):
    one = point()
    found = records(tmp_path, one)
    found.write(row(one, "interrupted"))
    assert store.read(tmp_path / "points" / one.id / RECORD).status == "interrupted"
    assert found.get(one) is None and not found.final(one)
    found.keep(Report(row(one, "ok", final=True), rounds=3))
    assert found[one].status == "ok" and found.final(one) and found.report(one).rounds == 3


def test_a_lost_point_keeps_what_was_known_by_then(tmp_path):
    one = point()
    found = records(tmp_path, one)
    found.write(row(one, "interrupted", export_s=0.5))
    found.write_lost(one, WorkerLost("crashed", "build", "killed by SIGSEGV"))
    kept = store.read(tmp_path / "points" / one.id / RECORD)
    assert (kept.status, kept.phase, kept.export_s, kept.python, kept.final) == ("crashed", "build", 0.5, "3", True)
    assert found[one] == kept and not found.report(one).fit


def test_a_lost_profile_costs_nothing_of_what_was_timed(tmp_path):
    one = point()
    found = records(tmp_path, one, profile=True)
    found.keep(Report(row(one, "ok", latency_ms=1.0, final=True), rounds=2))
    found.write_lost_profile(one, WorkerLost("crashed", "profile", "killed"))
    assert (found[one].status, found[one].latency_ms, found[one].profile_reason) == ("ok", 1.0, "killed")
    assert found.report(one).rounds == 2 and not found.report(one).fit


def test_records_of_an_earlier_part_name_the_further_jobs(tmp_path):
    one, two = point(jobs=(0, 4)), point(precision="tf32")
    found = records(tmp_path, one, two)
    found.take_over({one.id: row(dataclasses.replace(one, jobs=[0]), "ok", final=True)})
    assert found[one].jobs == [0, 4] and store.read(tmp_path / "points" / one.id / RECORD).jobs == [0, 4]
    assert found.get(two) is None


def test_only_a_sweep_that_profiles_looks_for_what_was_not_looked_into(tmp_path):
    one = point()
    for profile, expected in ((True, [one]), (False, [])):
        found = records(tmp_path, one, profile=profile)
        found.keep(Report(dataclasses.replace(row(one, "ok"), engines=1, device="cuda:0")))
        assert found.unseen() == expected


def test_points_are_called_by_what_differs_in_their_factories():
    points = [
        Point(each.config, each.jobs, axes=each.axes | {"factory": f"attn={name} width=8"})
        for name, each in (("sdpa", point()), ("eager", point(batch_size=2)))
    ]
    assert [Labels(points)(each) for each in points] == [
        f"m eager fp32 factory=attn={name}" for name in ("sdpa", "eager")
    ]
    assert Labels(points[:1])(points[0]) == "m eager fp32"


def test_what_became_of_a_point_has_the_reason_beside_its_time():
    one = row(point(), "inaccurate", latency_ms=2.0, reason="output ids: 0.5 of the entries differ")
    assert outcome(one) == "inaccurate  2 ms; output ids: 0.5 of the entries differ"
    assert outcome(row(point(), "ok", latency_ms=2.0)) == "ok  2 ms"
