"""Write down how a sweep was called and how it was run, for whoever goes on with it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trt_sweep.config.options import SweepOptions
from trt_sweep.errors import SweepError
from trt_sweep.results import files, store

COMMAND, OPTIONS = "command.json", "options.json"
# Folders of other users that are trusted, with all below them; `*` is any. Not a setting: a folder's own command line,
# which is read only then, could bring it along.
TRUSTED = "TRT_SWEEP_TRUSTED_FOLDERS"
called_with: list[str] | None = None  # the command line; none in a job of another launcher
launched_in: Path | None = None  # the folder of a sweep whose jobs another launcher runs


def write_command(folder: Path) -> None:
    """Write the command line and the working folder into a sweep's folder."""
    store.write_json(folder / COMMAND, {"arguments": called_with, "folder": str(Path.cwd())})


def keep(folder: Path, options: SweepOptions) -> None:
    """Write down what a sweep has begun with; one that goes on was called before."""
    if options.resume is not None:
        return
    store.write_json(folder / OPTIONS, dataclasses.asdict(options))
    if called_with is not None:
        write_command(folder)


def options_of(folder: Path) -> dict[str, Any]:
    """Return the options that a sweep has begun with; empty where they were not written down."""
    try:
        found = files.read_json(folder / OPTIONS)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def require_trusted(folder: Path, *files: Path) -> None:
    """Raise SweepError where this folder of a sweep, or one of these files, belongs to another user.

    What they say is run. Whoever trusts that user names the folder in the environment variable `TRUSTED`.
    """
    if sys.platform == "win32":  # where files have owners of another kind
        return
    real = Path(os.path.realpath(folder))  # a loop of links stays one, and reading it will say so
    named = [name for name in os.environ.get(TRUSTED, "").split(os.pathsep) if name]
    allowed = [os.path.realpath(os.path.expanduser(name)) for name in named]  # noqa: PTH111 - Path's raises
    if "*" in named or any(map(real.is_relative_to, allowed)):
        return
    trusted = {0, os.geteuid()}  # root may do anything, as it is
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    for path in (folder, *files):
        with contextlib.suppress(OSError):  # reading it will say so
            owner = path.stat().st_uid
            if owner not in trusted:
                raise SweepError(
                    f"{path} belongs to {_user(owner)}, and what it says would run as {_user(os.geteuid())}: if you "
                    f"trust them, set {TRUSTED}={shlex.quote(str(folder.absolute()))} in the environment"
                )


def _user(number: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"


@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """Be, while it lasts, where the sweep in this folder was started, with its own models at hand."""
    before, path = Path.cwd(), list(sys.path)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = files.read_json(folder / COMMAND)
        parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
        parser.add_argument("--config-dir", "-cd", action="append", default=[])
        beside = parser.parse_known_args(list(map(str, kept["arguments"])))[0].config_dir
        os.chdir(str(kept["folder"]))
        sys.path += [str(Path.cwd()), *(str(Path(name).absolute()) for name in beside)]
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
