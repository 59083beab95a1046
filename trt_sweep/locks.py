"""Locks that all users of a machine share; each ends with the process that holds it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from filelock import FileLock

# The same for all users, whatever their TMPDIR. In a folder of its own, since filelock refuses another user's file in
# one with the sticky bit.
LOCKS = (Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())) / "trt_sweep"


def lock(name: str) -> FileLock:
    """The lock of this name; raises OSError where its folder cannot be made."""
    if not LOCKS.is_dir():
        LOCKS.mkdir(exist_ok=True)
        LOCKS.chmod(0o777)
    return FileLock(LOCKS / f"{name}.lock", mode=0o666, thread_local=False)
