"""What our Hydra launcher does. It has all points in hand, so it checks them all before it runs the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from trt_sweep.config import from_hydra
from trt_sweep.errors import SweepError
from trt_sweep.sweep import Sweep


def launch(context: Any, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Compose and check every job, then run their points one after another in this process.

    `context` is Hydra's, `config` the sweep's, `first` the number of the first job. Raises SweepError, naming the job
    and its overrides, where one asks for what is not allowed.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    composed, checked = {}, {}
    for number, overrides in enumerate(job_overrides, first):
        composed[number] = _compose(context, config, number, list(overrides))
        try:
            checked[number] = from_hydra(_without_hydra(composed[number]))
        except SweepError as error:
            raise SweepError(f"job {number} ({' '.join(filter_overrides(overrides))}): {error}") from error
    returns = []
    with Sweep(checked, Path(str(config.hydra.sweep.dir)).absolute()) as sweep:
        for number, job_config in composed.items():
            returns.append(
                run_job(
                    hydra_context=context,
                    task_function=lambda _, number=number: sweep.job(number).latency_ms,
                    config=job_config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    return returns


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
