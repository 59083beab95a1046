"""Send what a process writes to stdout and stderr into a log file, native libraries' output included."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LOG = "log.txt"


@contextlib.contextmanager
def redirect_output(path: Path) -> Iterator[None]:
    """Append all that this process writes to stdout and stderr to a file, as long as the context lasts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as log:
        saved = os.dup(1), os.dup(2)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for kept, number in zip(saved, (1, 2), strict=True):
            os.dup2(kept, number)
            os.close(kept)


def redirect_to_log(folder: Path) -> None:
    """Append all that this process writes from now on to the log in a folder."""
    with (folder / LOG).open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
