"""The launcher plugin: what it takes over from Hydra."""

from __future__ import annotations

from types import SimpleNamespace

from omegaconf import OmegaConf

from hydra_plugins.trt_sweep_launcher import SweepLauncher
from hydra_plugins.trt_sweep_sweeper import TAKEN
from trt_sweep.app import launcher
from trt_sweep.config import compose


def test_a_job_is_composed_once():
    """The sweeper's composition, made to see whether a job is legal, is the one that runs; each is a job's own."""
    made: list[list[str]] = []

    def compose(config, overrides):
        made.append(overrides)
        return OmegaConf.create({"overrides": overrides, "number": None})

    loader = SimpleNamespace(load_sweep_config=compose)
    SweepLauncher().setup(hydra_context=SimpleNamespace(config_loader=loader), task_function=None, config=None)
    batch = [["a=1"], ["a=2"], ["a=1"]]
    for overrides in batch:
        loader.load_sweep_config(master_config=None, sweep_overrides=list(overrides))
    jobs = [loader.load_sweep_config(None, list(overrides)) for overrides in batch]
    for number, job in enumerate(jobs):
        job.number = number
    assert [job.number for job in jobs] == [0, 1, 2] and [job.overrides for job in jobs] == batch
    assert made.count(["a=2"]) == 1 and len(made) <= 4


def test_a_race_takes_a_seed_and_is_planned_anywhere():
    """A plan times nothing: it may be made where there is no GPU."""
    jobs = {0: compose.composed(["device=cpu", "plan=true"])}
    for seed in (None, 3):
        sweeper = {"_target_": "x.RaceSweeper", **TAKEN, "max_memory": "1GiB", "seed": seed}
        found = launcher._race(OmegaConf.create(sweeper), jobs, {})
        assert found is not None and found.seed == seed and found.goal.limits[0].column == "peak_gpu_bytes"
