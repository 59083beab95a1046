"""A point and the sweep's options: apart, and side by side at the root."""

from __future__ import annotations

import dataclasses

import pytest
from hydra import compose, initialize_config_dir

from trt_sweep.config import options
from trt_sweep.config.compose import CONF, register_resolver
from trt_sweep.config.groups import LimitsConfig
from trt_sweep.config.hydra import register
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig
from trt_sweep.config.sweep import SweepConfig, common_options
from trt_sweep.errors import SweepError


def config(**values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return SweepConfig(model=model, backend="eager", **values)


def test_each_field_is_the_points_or_the_sweeps():
    point = {item.name for item in dataclasses.fields(PointConfig)}
    assert not point & set(options.OPTION_NAMES)
    assert point | set(options.OPTION_NAMES) == {item.name for item in dataclasses.fields(SweepConfig)}


def test_how_a_sweep_is_run_changes_nothing_of_what_its_points_are():
    plain, other = config(), config(reuse=False, build_workers=2, profile=True, limits=LimitsConfig(total_s=1))
    assert plain.point == other.point and plain.point_id == plain.point.point_id == other.point_id
    assert plain.point.to_dict().keys().isdisjoint(options.OPTION_NAMES)
    assert plain.options == SweepOptions() != other.options


def test_jobs_of_one_sweep_have_the_same_options():
    assert common_options({0: config(), 1: config(precision="fp16")}) == SweepOptions()
    with pytest.raises(SweepError, match=r"^reuse differs between job 0 and job 3.*give it one value"):
        common_options({0: config(), 3: config(reuse=False)})


@pytest.mark.parametrize(("asked", "mode"), [([], "job"), (["isolation=worker"], "worker")])
def test_first_calls_are_timed_in_processes_of_their_own_unless_another_way_is_asked_for(asked, mode):
    register()
    register_resolver()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("config", ["+sweep=first_call", *asked]).isolation.mode == mode
