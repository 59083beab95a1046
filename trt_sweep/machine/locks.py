"""Hold locks that all users of a machine share; each ends with the process that holds it."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trt_sweep.errors import SweepError
from trt_sweep.machine.versions import flavor

if sys.platform != "win32":  # where sweeps do without locks
    import fcntl

if TYPE_CHECKING:  # the process of a sweep does without torch
    import torch

log = logging.getLogger(__name__)

# One folder for all users, whatever their TMPDIR. Its sticky bit keeps them from each other's files.
LOCKS = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()).resolve()
SWEEP_LOCK = ".lock"  # in the folder of a sweep, which holds it as long as it lives
OWN = Path("~/.cache/trt_sweep")  # where LOCKS is not safe


@contextlib.contextmanager
def file_lock(name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of this name. `on_wait` is called where another holds it, before the wait for it.

    Without `on_wait` there is no wait: BlockingIOError is raised. Raises OSError where the file cannot be opened. It is
    not filelock's, which refuses another user's file where the sticky bit is set.
    """
    if sys.platform == "win32":
        yield
        return
    file = _open(_path(name))
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is None:
                raise
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a copy of this process may have the file open, too
    finally:
        os.close(file)


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of this file, filelock's or ours; false where there is no file."""
    if sys.platform == "win32":
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:  # there are file systems without locks
        return isinstance(error, BlockingIOError)
    finally:
        os.close(file)


def _path(name: str) -> Path:
    return _folder(LOCKS) / f"trt_sweep-{name}.lock"


@functools.cache
def _folder(shared: Path) -> Path:
    """Return this folder, or one of our own where others could put something else in the place of a lock."""
    if is_safe(shared):
        return shared
    own = OWN.expanduser()
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    log.warning(
        "%s is not safe for locks (it must be a folder of root's or ours, and sticky if others may write there): they "
        "are kept in %s, where sweeps of other users do not see them",
        shared,
        own,
    )
    return own


def is_safe(folder: Path) -> bool:
    """Return whether a folder is no link, belongs to root or us, and lets nobody remove what is another's."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    sticky = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.geteuid()) and bool(sticky)


def _open(path: Path) -> int:
    """Open a lock's file, which any user may have made; follow no link, and write nothing."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags)  # not with O_CREAT: in a sticky folder the kernel refuses another's file then
    except FileNotFoundError:
        try:
            file = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # another was faster
            file = os.open(path, flags)
        else:
            os.fchmod(file, 0o666)  # whatever the umask
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return file


@contextlib.contextmanager
def device_lock(device: torch.device, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lock of a device, so that no two sweeps on this machine use it at a time.

    The operating system locks a file that all users share, named after the GPU's UUID. The lock ends with the process
    that holds it. Containers with a /tmp of their own do not see it. `tell` is called with a line where there is a
    wait. Raises SweepError where the file cannot be opened.
    """
    name = "cpu"
    if device.type == "cuda":
        import torch

        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(file_lock(name, lambda: tell(f"waiting for another sweep to leave {name}")))
        except OSError as error:
            where = error.filename or LOCKS
            raise SweepError(
                f"{where} cannot be opened ({error.strerror}): let all users read it, or remove it"
            ) from error
        yield


@contextlib.contextmanager
def build_lock(device: torch.device, on_phase: Callable[[str], None], phase: str = "build") -> Iterator[None]:
    """Hold the lock of a device during a build that times kernels on it.

    Builds of standard TensorRT do so, those of TensorRT-RTX do not: there nothing is locked. Work that could disturb a
    build takes the lock too. `on_phase` is called with `phase` once the lock is held.
    """
    if device.type != "cuda" or flavor() != "standard":
        yield
        return
    with device_lock(device, on_phase):
        on_phase(phase)
        yield
