"""Compose one point's configuration outside a multirun: find conf/, apply overrides, import from where the user is."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict

from trt_sweep.config.hydra import from_hydra, quoted, register
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError

_PACKAGE = Path(__file__).resolve().parent.parent
# A built wheel carries conf/ inside the package, a checkout beside it.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
_RANDOM = secrets.token_hex(2)
# Groups that hold nothing but keys of the user's own, which Hydra takes with a plus only.
OPEN = ("compile.", "accuracy.evaluate.", "accuracy.output_rel_l2.", "quantization.calibration.")
ONE = ("backend", "isolation")  # groups of which a point has one choice; parts of a model may be merged


def with_plus(arguments: list[str]) -> list[str]:
    """Return the arguments with what Hydra needs before a key that its schema does not name.

    Raises SweepError for a list as the choice of a group: Hydra would take its last one, without a word.
    """
    for argument in arguments:
        name, _, value = argument.lstrip("+").partition("=")
        if name in ONE and value.startswith("["):
            how = f"sweep it by -m {name}={value.strip('[]')}, or axes from Python"
            raise SweepError(f"{argument} is a list, and a point has one {name}: {how}")
    return [f"++{argument}" if argument.startswith(OPEN) else argument for argument in arguments]


def register_resolver() -> None:
    """Give OmegaConf the random digits that conf/config.yaml names the folder of a sweep with."""
    OmegaConf.register_new_resolver("trt_sweep_random", lambda: _RANDOM, replace=True)


def import_from(runtime: Any) -> None:
    """Let `_target_` find modules in the working folder and beside a --config-dir, however the process was started."""
    beside = [str(source.path) for source in runtime.config_sources if source.schema == "file"]
    sys.path += [path for path in (str(runtime.cwd), *beside) if path not in sys.path]


def require_folder(config_dir: Path) -> None:
    """Raise SweepError where a --config-dir is no folder."""
    if not config_dir.is_dir():
        raise SweepError(f"--config-dir={config_dir} is not a folder: give the one that your model/ is in")


def composed(overrides: list[str], config_dir: Path | None = None) -> SweepConfig:
    """Return the configuration that these overrides make, outside a sweep, of one point.

    Raises SweepError for a sweep, for a value that is not allowed and where `config_dir` is no folder, and Hydra's
    errors, see `explain`.
    """
    register()
    register_resolver()
    overrides = with_plus(overrides)
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            raise SweepError(f"{override.input_line} asks for several points: give one value, as this is of one point")
    if config_dir is not None:
        require_folder(config_dir)
        overrides = [*overrides, f"hydra.searchpath=[{quoted(f'file://{config_dir.absolute()}')}]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = compose("config", overrides, return_hydra_config=True)
    if found.hydra.sweeper.get("params"):
        raise SweepError("a sweep= asks for several points: leave it out, as this is of one point")
    import_from(found.hydra.runtime)
    with open_dict(found):
        del found["hydra"]
    return from_hydra(found)
