"""Hold what all verbs share: their parser, the types of their arguments, and how they end when something is wrong."""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from trt_sweep.errors import SweepError, Unsupported, not_allowed, one_line, printable

# Exit codes. BROKEN: an error of our own, or output that nobody can take. CLOSED: a closed pipe, as a shell counts it.
FAILED, USAGE, BROKEN, INTERRUPTED, CLOSED = 1, 2, 3, 130, 141


class UsageError(SweepError):
    """A command line that cannot be understood, or asks for what is never allowed."""


class Parser(argparse.ArgumentParser):
    """Parses a verb's arguments, and says what is wrong with them in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, where argparse would print its usage and end the process."""
        raise UsageError(" ".join(message.split()))

    def add_folders(self, what: str = "the folder of a sweep, or one above several", least: int = 1) -> None:
        """Add FOLDER…, one or several; with `least` 0 there may be none."""
        number = "+" if least else "*"
        self.add_argument("folders", type=path, nargs=number, metavar="FOLDER", help=f"{what}; give one or more")

    def add_point(self, example: str) -> None:
        """Add the overrides that name one point, and --config-dir, both as for a sweep."""
        self.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help=f"the point, as for a sweep: {example}")
        self.add_argument("--config-dir", type=path, metavar="DIR", help="a folder with configurations of your own")

    def add_out(self, what: str, default: Path | None = None) -> None:
        """Add --out, the folder that output goes into."""
        self.add_argument("--out", type=out_folder, metavar="DIR", default=default, help=what)

    def add_share(self, name: str, what: str, default: float | None = None, above_one: bool = False) -> None:
        """Add an option that takes a share, see `share`."""
        shown = "" if default is None else f" ({default:g})"
        read = functools.partial(share, name, above_one=above_one)
        self.add_argument(name, type=read, default=default, metavar="SHARE", help=f"{what}; 0.02 or 2%%{shown}")

    def add_count(self, name: str, what: str, default: int | list[int], least: int = 1, **more: Any) -> None:
        """Add an option that takes a whole number, or several, of at least `least`."""
        numbers = default if isinstance(default, list) else [default]
        shown = f"{what} ({' '.join(map(str, numbers))})"
        read = functools.partial(count, name, least=least, **more)
        several: dict[str, Any] = {"nargs": "+"} if isinstance(default, list) else {}
        self.add_argument(name, type=read, default=default, metavar="N", help=shown, **several)


def path(given: str) -> Path:
    """Return a path that was given; raise UsageError for an empty one, which would be the folder that we are in."""
    if not given:
        raise UsageError("a name of a file or folder is empty: give it, or set the variable that should hold it")
    return Path(given)


def out_folder(given: str) -> Path:
    """Return the folder that output goes into; raise UsageError where that is a file, before anything is done."""
    found = path(given)
    if found.exists() and not found.is_dir():
        raise UsageError(f"--out={given} is a file: name a folder")
    return found


def share(name: str, given: str, above_one: bool = False) -> float:
    """Return a share that was given as 0.02 or as 2%; raise UsageError for what is none.

    It lies between 0 and 1. With `above_one` it may be larger where it is given in percent, as in 300%.
    """
    text, percent = given.removesuffix("%"), given.endswith("%")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    value = number / 100 if percent else number
    if value > 0 and (value < 1 or (above_one and percent and value < math.inf)):
        return value
    between = "" if above_one else ", between 0 and 1"
    fix = (
        f"; for {text} percent write {text}%" if not percent and 1 <= number < (math.inf if above_one else 100) else ""
    )
    raise UsageError(not_allowed(name, given, f"a share, such as 0.02 or 2%{between}{fix}"))


def count(name: str, given: str, least: int = 1, instead: str = "") -> int:
    """Return a whole number of at least `least`; raise UsageError for what is none, naming what else could be given."""
    try:
        value = int(given)
    except ValueError:
        value = least - 1
    if value < least:
        raise UsageError(not_allowed(name, given, f"an integer of at least {least}{instead}"))
    return value


def holding(folders: Sequence[Path]) -> str:
    """Return the beginning of a sentence on what these folders hold."""
    return ", ".join(map(str, folders)) + (" holds" if len(folders) == 1 else " hold")


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, and the folders above it; raise SweepError where that cannot be."""
    from trt_sweep.results import store

    try:
        store.write_json(path, content)
    except OSError as error:
        raise SweepError(f"{path} cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file, and the folders above it; raise SweepError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SweepError(f"{path} cannot be written: {error.strerror}") from error


class Main(Protocol):
    """Stand for a function that `verb` has made: its arguments are the process's own where none are given."""

    def __call__(self, arguments: Sequence[str] | None = None) -> int: ...


def verb(failed: int = FAILED) -> Callable[[Callable[[list[str]], int]], Main]:
    """Make the entry point of a verb: a mistake becomes one line on stderr and an exit code.

    That is `USAGE` where the command line is to blame, and `failed` where what was asked for cannot be done. It is
    `BROKEN` where the mistake is our own, whose traceback comes first, where what is printed cannot be written, and
    where a disk is full.
    """

    def decorate(work: Callable[[list[str]], int]) -> Main:
        @functools.wraps(work)
        def main(arguments: Sequence[str] | None = None) -> int:
            debug = "HYDRA_FULL_ERROR" in os.environ
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="replace")  # what its encoding lacks is shown as a question mark
            try:
                code = work(list(sys.argv[1:] if arguments is None else arguments))
                if sys.stdout is not None:
                    sys.stdout.flush()
                return code
            except KeyboardInterrupt as interrupt:
                return int(getattr(interrupt, "exit_code", INTERRUPTED))
            except BrokenPipeError:  # whoever reads what is printed has seen enough
                _close_stdout()
                return CLOSED
            except Exception as error:
                line, code = _line(error), USAGE if isinstance(error, UsageError) else failed
                if line is None:
                    line, code = f"a mistake of trt_sweep's own, please report it: {one_line(error)}", BROKEN
                elif _no_room(error):
                    code = BROKEN
                _close_stdout()
                trace = traceback.format_exc().splitlines() if debug or _line(error) is None else []
                with contextlib.suppress(OSError):  # where stderr takes nothing either, the exit code has to do
                    print(*map(printable, [*trace, f"error: {line}"]), sep="\n", file=sys.stderr, flush=True)
                return code

        return main

    return decorate


def _no_room(error: BaseException | None) -> bool:
    """Return whether a disk is full, or stdout takes no more: an error of an open file names none."""
    root = error.__cause__ if isinstance(error, SweepError) else error
    if not isinstance(root, OSError) or root.errno is None:
        return False
    return root.filename is None or root.errno in (errno.ENOSPC, errno.EDQUOT)


def _close_stdout() -> None:
    """Print what is left, or else nowhere, so that the end of the process does not fail on it too."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(error: Exception) -> str | None:
    """Return what is said of an error that the user can mend; null for one of the program's own."""
    if isinstance(error, SweepError | Unsupported):
        return str(error)
    if "hydra.errors" in sys.modules:  # else Hydra cannot have raised it, some of whose errors are an OSError
        from trt_sweep.app.explain import HYDRA_ERRORS, explain, undecodable

        if isinstance(error, HYDRA_ERRORS):
            return explain(error)
        if isinstance(error, UnicodeDecodeError):
            return undecodable(error)
    if isinstance(error, OSError) and error.errno is None:  # some library's, with words of its own
        return one_line(error)
    if isinstance(error, OSError):
        where = f"{error.filename} cannot be read or written" if error.filename else "what is printed cannot be written"
        return f"{where}: {error.strerror}"
    return None
