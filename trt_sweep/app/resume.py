"""Write down how a sweep was called, and read it again for `resume=FOLDER`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from trt_sweep.config import options
from trt_sweep.config.hydra import quoted
from trt_sweep.errors import SweepError, printable
from trt_sweep.results.files import read_json
from trt_sweep.sweep import command


class KeepCommand(Callback):
    """Writes down the command line of a multirun, for Hydra, where its launcher is not ours.

    Ours does so itself. The jobs go on in the folders that they had, which are below the one that is to be resumed.
    """

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Write it down before the first job."""
        if str(config.hydra.launcher._target_).endswith(".SweepLauncher"):
            return
        folder = command.launched_in = Path(str(config.hydra.sweep.dir))
        if config.get("resume") is None:
            folder.mkdir(parents=True, exist_ok=True)
            command.write_command(folder)


def arguments_of(arguments: list[str]) -> list[str]:
    """Return the command line that these arguments stand for: with resume=FOLDER that sweep's own, in its own folder.

    Says which it is. Raises SweepError where FOLDER holds no sweep or is another user's, see
    `command.require_trusted`, or where beside it stands what would make it another sweep.
    """
    given = [argument.removeprefix("resume=") for argument in arguments if argument.startswith("resume=")]
    if not given:
        return arguments
    folder = Path(given[-1].strip("'\"")).absolute()
    try:
        command.require_trusted(folder, folder / command.COMMAND)
    except SweepError as error:
        raise SweepError(f"resume={folder} is refused: {error}") from None
    try:
        kept = read_json(folder / command.COMMAND)
        before, where = list(map(str, kept["arguments"])), str(kept["folder"])
    except (OSError, ValueError, TypeError, KeyError):
        raise SweepError(
            f"resume={folder} is not the folder of a sweep: it has no {command.COMMAND} that could be read; give the "
            "folder that the sweep named when it began"
        ) from None
    more = [argument for argument in arguments if not argument.startswith("resume=")]
    other = [
        one
        for one in more
        if one.split("=")[0].split(".")[0] not in options.OPTION_NAMES and one not in ("-m", "--multirun")
    ]
    if other:
        raise SweepError(
            f"{other[0]} is not allowed beside resume: the folder knows its points; add settings of how they are run "
            f"only ({', '.join(name for name in options.OPTION_NAMES if name != 'resume')}), or start a new sweep"
        )
    print(printable(f"resuming trt-sweep {shlex.join(before)} in {where}"), file=sys.stderr)
    os.chdir(where)
    before = [one for one in before if not one.startswith(("hydra.sweep.dir=", "hydra.run.dir="))]
    settings = [one for one in more if one not in ("-m", "--multirun")]
    place = quoted(str(folder))
    return [*before, f"hydra.sweep.dir={place}", f"hydra.run.dir={place}", f"resume={place}", *settings]
