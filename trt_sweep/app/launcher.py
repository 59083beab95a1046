"""Run the jobs of a multirun for Hydra: all are checked before the first runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from hydra_plugins.trt_sweep_sweeper import TAKEN
from trt_sweep.app import answer, limits
from trt_sweep.app.arguments import count
from trt_sweep.config import compose
from trt_sweep.config.hydra import from_hydra
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.sweep.sweep import Sweep
from trt_sweep.sweep.tuning import Tuning

RACE = ".RaceSweeper"
OURS = (".BasicSweeper", ".OneAtATimeSweeper", RACE)  # sweepers that can do without an answer


def launch(context: Any, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Compose and check every job, then run their points one after another in this process.

    `context` is Hydra's, `config` the sweep's, `first` the number of the first job. Raises SweepError, naming the job,
    where one asks for what is not allowed, and at the end where one did not succeed.
    """
    setup_globals()
    compose.import_from(config.hydra.runtime)
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    basic = str(config.hydra.sweeper._target_).endswith(".BasicSweeper")
    size = config.hydra.sweeper.max_batch_size if basic else None
    if size is not None:
        raise SweepError(
            f"hydra.sweeper.max_batch_size={size} is not allowed: all points of a sweep are checked before the first "
            "is built, and timed in turn; leave it out, or use another launcher"
        )
    composed, checked = {}, {}
    for number, overrides in enumerate(job_overrides, first):
        composed[number] = _compose(context, config, number, list(overrides))
        try:
            checked[number] = from_hydra(_without_hydra(composed[number]))
        except SweepError as error:
            raise SweepError(f"job {number}: {error}") from error
    race = _race(config.hydra.sweeper, checked, dict(enumerate(job_overrides, first)))
    returns = []
    folder = Path(str(config.hydra.sweep.dir)).absolute()
    with Sweep(checked, folder, goes_on=first > 0, one_of_many=not (basic or race), race=race) as sweep:
        sweep.run()
        if sweep.only_shown:
            if not str(config.hydra.sweeper._target_).endswith(OURS):
                raise SweepError(
                    "plan=true has shown the first batch; this sweeper chooses the rest by what jobs return"
                )
            return []
        for number, job_config in composed.items():
            if not sweep.came_to(number):
                continue
            place = folder / str(job_config.hydra.sweep.subdir)
            leaves_none = number in sweep.taken_over and not place.exists()  # its sweep may have been packed
            if leaves_none:
                job_config.hydra.output_subdir = None
            returns.append(
                run_job(
                    hydra_context=context,
                    task_function=partial(_objective, sweep, number),
                    config=job_config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            if leaves_none:
                with contextlib.suppress(OSError):  # a callback of the user's may have written there
                    place.rmdir()
            configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    if race is not None:
        race.require_some(sweep.records)
        answer.show_race(sweep.table, folder)
        return [done for done in returns if done.status == JobStatus.COMPLETED]
    if sweep.table is not None:
        answer.show(sweep.table, next(iter(checked.values())).objective)
    failed = [done for done in returns if done.status != JobStatus.COMPLETED]
    if failed and basic:
        # This sweeper would raise the first error itself, behind a line of its own; others want to see the failures.
        raise SweepError(f"{len(failed)} of {len(returns)} jobs did not succeed; the first: {failed[0]._return_value}")
    return returns


def _race(sweeper: DictConfig, checked: Mapping[int, SweepConfig], named: Mapping[int, Sequence[str]]) -> Tuning | None:
    """Return the race of these jobs that the sweeper asks for; None where it asks for none."""
    if not str(sweeper._target_).endswith(RACE):
        return None
    asked = {str(name): value for name, value in sweeper.items() if name not in ("_target_", "params")}
    if added := next((name for name in asked if name not in TAKEN), None):
        raise SweepError(f"hydra.sweeper.{added} is not known: RaceSweeper takes {', '.join(TAKEN)}")
    seed = asked.pop("seed", None)
    first = next(iter(checked.values()))
    goal, budget_s = limits.goal(first.objective, **asked, dashes=False)
    if not first.plan:
        limits.require_gpu(goal, all(map(limits.has_gpu, {config.device for config in checked.values()})))
    return Tuning(goal, budget_s, named=named, seed=None if seed is None else count("seed", str(seed), least=0))


def _objective(sweep: Sweep, number: int, _: DictConfig) -> float | None:
    return sweep.objective(number)


def _compose(context: Any, config: DictConfig, number: int, overrides: list[str]) -> DictConfig:
    composed: DictConfig = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    return composed


def _without_hydra(config: DictConfig) -> DictConfig:
    plain = config.copy()
    with open_dict(plain):
        plain.pop("hydra", None)
    return plain
