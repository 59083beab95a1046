"""`python -m trt_sweep`: Hydra's entry point, and the one place where errors become a line.

Little is imported before another process has begun to import what points need, which takes longest.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from trt_sweep import wrong_type
from trt_sweep.config.hydra import from_hydra, quoted, register
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.sweep import resume
from trt_sweep.sweep.interrupts import Interrupted
from trt_sweep.workers import spawn, standby

_PACKAGE = Path(__file__).resolve().parent
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
_RANDOM = secrets.token_hex(2)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _run(composed: DictConfig) -> float | None:
    """One point, outside our launcher: a run without --multirun, or a job under another launcher."""
    from trt_sweep.launcher import import_from
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


def register_resolver() -> None:
    """What conf/config.yaml names the folder of a sweep with."""
    OmegaConf.register_new_resolver("trt_sweep_random", lambda: _RANDOM, replace=True)


def composed(overrides: list[str], config_dir: Path | None = None) -> SweepConfig:
    """One point, outside `python -m trt_sweep`: what these overrides make of the configuration.

    Raises SweepError for a sweep, for a value that is not allowed and where `config_dir` is no folder, and Hydra's
    errors, see `explain`.
    """
    register()
    register_resolver()
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            raise SweepError(f"{override.input_line} asks for several points: give one value, as this is of one point")
    if config_dir is not None:
        if not config_dir.is_dir():
            raise SweepError(f"--config-dir={config_dir} is not a folder: give the one that your model/ is in")
        overrides = [*overrides, f"hydra.searchpath=[{quoted(f'file://{config_dir.absolute()}')}]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = compose("config", overrides, return_hydra_config=True)
    if found.hydra.sweeper.get("params"):
        raise SweepError("a sweep= asks for several points: leave it out, as this is of one point")
    from trt_sweep.launcher import import_from

    import_from(found.hydra.runtime)
    with open_dict(found):
        del found["hydra"]
    return from_hydra(found)


def explain(error: BaseException) -> str:
    """One line for an error of ours, of Hydra's or of the file system, with the fix where we know it."""
    if isinstance(error, SweepError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        hint = " (or any other of torchvision's by model.name=NAME)" if group == "model" else ""
        return f"{group}={name} is not known: use one of {', '.join(error.options)}{hint}"
    if isinstance(error, OSError):
        where = str(error.filename or "the results folder")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{where}: {error.strerror}: finished rows are kept; free some space, then resume"
        return (
            f"{where}: {error.strerror}; if results go there, set hydra.sweep.dir (with -m) or hydra.run.dir elsewhere"
        )
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and unknown:
        return _unknown(unknown[1], error)
    root = _root(error)
    return wrong_type.line(root, str(error)) or one_line(root)


def _unknown(name: str, error: BaseException) -> str:
    cause: Any = error.__cause__
    if cause is not None and "not in" not in str(cause):
        return one_line(cause)
    if name.startswith("compile."):
        return f"{name} is not a setting of trt_sweep; write +{name}=… for a compilation argument of Torch-TensorRT"
    fields = list(_fields(OmegaConf.structured(SweepConfig)))
    near = get_close_matches(name, fields, 3, 0.5)
    return f"{name} is not known: " + (
        f"did you mean {' or '.join(near)}?" if near else "use one of " + ", ".join(fields)
    )


def _fields(node: DictConfig, prefix: str = "") -> Any:
    for key in node:
        name = prefix + str(key)
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            yield from _fields(child, f"{name}.")
        else:
            yield name


def _root(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, HydraException) and error.__cause__ is not None else error


if __name__ == "__main__":
    main()
