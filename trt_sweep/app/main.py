"""TODO."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trt_sweep.app import resume
from trt_sweep.app.explain import explain
from trt_sweep.config.compose import CONF, import_from, register_resolver
from trt_sweep.config.hydra import from_hydra, register
from trt_sweep.errors import SweepError
from trt_sweep.sweep.interrupts import Interrupted
from trt_sweep.workers import spawn, standby


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _run(composed: DictConfig) -> float | None:
    """One point, outside our launcher: a run without --multirun, or a job under another launcher."""
    from trt_sweep.sweep.sweep import Sweep

    runtime = HydraConfig.get().runtime
    import_from(runtime)
    alone = HydraConfig.get().mode is RunMode.RUN
    if not alone:
        resume.called_with = None  # a job of another launcher's: the command line is not this job's own
    job = HydraConfig.get().job
    number = 0 if OmegaConf.is_missing(job, "num") else int(job.num)
    checked = {number: from_hydra(composed)}
    with Sweep(checked, Path(runtime.output_dir), one_of_many=not alone) as sweep:
        sweep.run()
        if sweep.only_shown:
            return None
        return sweep.objective(number)


def main() -> None:
    """Run, and end with exit code 1 and one line on stderr where the user has something to mend."""
    # Hydra swallows errors and prints its own lines unless it is told to let them through to us.
    debug = "HYDRA_FULL_ERROR" in os.environ
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register()
    register_resolver()
    try:
        sys.argv[1:] = resume.arguments_of(sys.argv[1:])
        resume.called_with = sys.argv[1:]
        if _runs_points(sys.argv[1:]):
            spawn.prepare()
        _run()
    except Interrupted as interrupt:
        sys.exit(interrupt.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except (SweepError, HydraException, OmegaConfBaseException, OSError) as error:
        if debug:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(1)
    finally:
        standby.end_idle()


def _runs_points(arguments: list[str]) -> bool:
    """Whether this process is about to need another for points, as far as a glance tells."""
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    elsewhere = any(argument.startswith(("hydra/launcher=", "isolation")) for argument in arguments)
    return options <= {"-m", "--multirun", "-cd", "--config-dir"} and not elsewhere
