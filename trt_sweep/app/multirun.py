"""Run a sweep, or a single point, through Hydra."""

from __future__ import annotations

import os
import pickle
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from trt_sweep.app.arguments import UsageError, path
from trt_sweep.app.explain import HYDRA_ERRORS, explain
from trt_sweep.app.resume import arguments_of
from trt_sweep.app.verbs import VERBS
from trt_sweep.config.compose import CONF, import_from, register_resolver, require_folder, with_plus
from trt_sweep.config.hydra import from_hydra, register
from trt_sweep.errors import SweepError
from trt_sweep.sweep import command
from trt_sweep.sweep.interrupts import end_with_parent
from trt_sweep.workers import spawn, standby

COMMANDS = ("run", "multirun", "cfg", "info", "shell_completion")  # Hydra does one of them at a time


class _PastHydra(BaseException):
    """Takes an error past Hydra, which would print a line of its own above ours."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _run(composed: DictConfig) -> float | None:
    """Run one point outside our launcher: without --multirun, or as a job under another launcher."""
    alone = HydraConfig.get().mode is RunMode.RUN
    try:
        return _run_point(composed, alone)
    except (SweepError, *HYDRA_ERRORS, OSError) as error:
        if alone:
            raise _PastHydra(error) from error
        raise


def _run_point(composed: DictConfig, alone: bool) -> float | None:
    from trt_sweep.sweep.sweep import Sweep

    runtime = HydraConfig.get().runtime
    import_from(runtime)
    if not alone:
        command.called_with = None  # a job of another launcher's: the command line is not this job's own
        end_with_parent()
    job = HydraConfig.get().job
    number = 0 if OmegaConf.is_missing(job, "num") else int(job.num)
    checked = {number: from_hydra(composed)}
    with Sweep(checked, Path(runtime.output_dir), one_of_many=not alone) as sweep:
        sweep.run()
        if sweep.only_shown:
            return None
        return sweep.objective(number)


def main(arguments: list[str]) -> int:
    """Run Hydra with these arguments; raise SweepError where the user has something to mend."""
    arguments = _checked(arguments)
    ready = next((argument for argument in arguments if argument.startswith(("+sweep=", "sweep="))), None)
    if ready is not None:
        ready = f"+{ready.removeprefix('+')}"
        if "," in ready:
            raise UsageError(f"{ready} names several sweeps: run each by itself")
        if ready not in arguments or not {"-m", "--multirun"} & set(arguments):
            raise UsageError(f"{ready} is a sweep that is ready to run: write trt-sweep -m {ready}")
    # Hydra swallows errors and prints its own lines unless it is told to let them through to us.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    register()
    register_resolver()
    try:
        sys.argv[1:] = command.called_with = arguments_of(with_plus(arguments))  # Hydra reads them there
        if _runs_points(sys.argv[1:]):
            spawn.prepare()
        try:
            _run()
        except _PastHydra as past:
            (error,) = past.args
            raise error from error.__cause__
    except BrokenProcessPool as error:
        raise SweepError(_process_gone()) from error
    except BrokenPipeError:
        raise
    except (SweepError, *HYDRA_ERRORS, OSError) as error:
        raise SweepError(explain(error)) from error
    finally:
        standby.end_idle()
    return 0


def _process_gone() -> str:
    return (
        "a process that joblib ran jobs in was killed, and joblib then ends them all: finished rows are kept; "
        f"python -m trt_sweep resume={command.launched_in} does the rest"
    )


def _checked(arguments: list[str]) -> list[str]:
    """Return the arguments in an order that Hydra can read: options, then settings.

    Raise UsageError for what Hydra would answer with a page of usage, or a traceback, or in silence.
    """

    def refuse(message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help and --hydra-help")

    nameless = next((argument for argument in arguments if argument.startswith("=")), None)
    if nameless is not None:
        refuse(f"{nameless} has no name: write NAME=VALUE")
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_intermixed_args(arguments)
    given = [name for name in COMMANDS if getattr(options, name) not in (None, False)]
    if len(given) > 1:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        one = "; --cfg shows one job, so give each axis one value" * ("cfg" in given)
        refuse(f"{named} do not go together: leave out {'-m' if 'multirun' in given else 'one of them'}{one}")
    if options.resolve and options.cfg is None:
        refuse("--resolve goes with --cfg: write --cfg job --resolve")
    if options.shell_completion and not options.overrides:
        refuse("--shell-completion needs what to do: write --shell-completion install=bash")
    if options.experimental_rerun is not None:
        if options.overrides:
            refuse(f"--experimental-rerun runs a job as it was: leave out {options.overrides[0]}")
        _check_rerun(options.experimental_rerun)
    if options.config_dir is not None:
        require_folder(path(options.config_dir))
    if word := next((one for one in options.overrides if one in (verb.name for verb in VERBS)), None):
        raise UsageError(f"{word} is a verb: write it first, trt-sweep {word}")
    if "hydra.run.dir=" in arguments or "hydra.sweep.dir=" in arguments:
        raise UsageError("the folder for the results has an empty name: give it, or leave the setting out")
    return [*(one for one in arguments if one not in options.overrides), *options.overrides]


def _check_rerun(file: str) -> None:
    """Raise UsageError for a file that Hydra could not run again."""
    what = "give the config.pickle that Hydra's PickleJobInfoCallback has written"
    try:
        with Path(file).open("rb") as stream:
            config = pickle.load(stream)
    except OSError as error:
        raise UsageError(f"--experimental-rerun {file} cannot be read: {error.strerror}; {what}") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise UsageError(f"--experimental-rerun {file} holds no pickle that can be loaded: {what}") from error
    if not isinstance(config, DictConfig) or "hydra" not in config:
        raise UsageError(f"--experimental-rerun {file} holds no configuration of a job: {what}")


def _runs_points(arguments: list[str]) -> bool:
    """Return whether this process is about to need another for points, as far as a glance tells."""
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
    elsewhere = any(argument.startswith(("hydra/launcher=", "isolation")) for argument in arguments)
    return options <= {"-m", "--multirun", "-cd", "--config-dir"} and not elsewhere
