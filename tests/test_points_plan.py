"""From configurations to points: each once, with its baselines, and what its jobs differ in without effect."""

from __future__ import annotations

import dataclasses

import pytest

from trt_sweep.config.model import IN_MEMORY, InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError
from trt_sweep.points.plan import axes, effective, plan

MODEL = ModelConfig(name="m", factory={"_target_": "torch.nn.Linear"}, inputs=[InputConfig(shape=[3])])


def config(**values) -> PointConfig:
    return PointConfig(**{"model": MODEL, "backend": "inductor", "device": "cpu"} | values)


def test_points_of_one_configuration_are_one_with_all_its_jobs():
    found = plan({0: config(), 3: config(), 4: config(batch_size=2)}, SweepOptions(baselines=False))
    assert [point.jobs for point in found.points] == [[0, 3], [4]]


def test_axes_that_a_backend_does_not_use_are_merged_and_named():
    found = plan({0: config(min_block_size=1), 1: config(min_block_size=5)}, SweepOptions(baselines=False))
    (point,) = found.points
    assert point.jobs == [0, 1] and point.merged == ["min_block_size"] and point.config.min_block_size is None


def made_by(name="m", **factory) -> PointConfig:
    model = dataclasses.replace(MODEL, name=name, factory={"_target_": "a.Net", "name": name, **factory})
    return config(model=model)


def test_arguments_of_a_factory_are_a_setting_of_one_task():
    inner = {"_target_": "a.Config", "attn": "sdpa", "width": 8}
    given = [{}, {"config": inner}, {"config": {**inner, "attn": "eager"}}, {"other": "m", "depth": None}]
    points = list(plan(dict(enumerate(made_by(**each) for each in given)), SweepOptions(baselines=False)).points)
    assert [point.axes["factory"] for point in points] == [
        "",
        "config._target_=a.Config config.attn=sdpa config.width=8",
        "config._target_=a.Config config.attn=eager config.width=8",
        "depth=None other=m",
    ]
    assert (
        len({point.axes["task_id"] for point in points}) == 1 and len({point.axes["model_id"] for point in points}) == 4
    )


def test_other_work_is_another_task():
    same = made_by().model
    models = [
        *(same, dataclasses.replace(same, name="n"), dataclasses.replace(same, seed=1)),
        dataclasses.replace(same, factory={"_target_": "a.Other"}),
        dataclasses.replace(same, inputs=[InputConfig(shape=[4])]),
        *(dataclasses.replace(same, factory={"_target_": IN_MEMORY, "key": key}) for key in "ab"),
    ]
    found = [axes(config(model=model)) for model in models]
    assert len({each["task_id"] for each in found}) == len(models) and found[-1]["factory"] == ""
    assert axes(config(model=same, batch_size=4))["task_id"] == found[0]["task_id"]


def test_baselines_come_first_once_and_only_where_they_are_wanted():
    both = {0: config(precision="fp16"), 1: config(precision="fp16", batch_size=2)}
    points = list(plan(both, SweepOptions()).points)
    eager = [(point.config.backend, point.config.precision, point.config.batch_size) for point in points[:4]]
    assert eager == [("eager", precision, size) for size in (1, 2) for precision in ("fp16", "fp32")]
    assert [point.jobs for point in points] == [[], [], [], [], [0], [1]]
    assert len(list(plan(both, SweepOptions(baselines=False)).points)) == 2


def test_a_job_that_is_its_own_baseline_needs_none():
    (point,) = plan({0: config(backend="eager")}, SweepOptions()).points
    assert point.jobs == [0]


def test_sizes_of_a_range_are_points_of_one_build():
    ranged = config(backend="eager", batch_size=[1, 4, 8])
    assert [found.batch_size for found in effective(ranged)] == [1, 4, 8]  # eager builds for each size
    builds = plan({0: dataclasses.replace(ranged, backend="inductor")}, SweepOptions(baselines=False)).builds
    assert [[point.axes["time_at"] for point in build] for build in builds] == [[1, 4, 8]]


def test_a_job_that_cannot_work_is_named():
    with pytest.raises(SweepError, match=r"^job 7: backend=tensor is not known"):
        plan({7: config(backend="tensor")}, SweepOptions())


def test_engines_are_kept_only_where_they_may_be_used_again():
    points = [next(plan({0: config(backend="eager")}, SweepOptions(reuse=reuse)).points) for reuse in (True, False)]
    assert [point.stored for point in points] == [False, False]  # eager has none
