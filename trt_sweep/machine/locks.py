"""Locks that all users of a machine share; each ends with the process that holds it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from trt_sweep.errors import SweepError
from trt_sweep.machine.versions import flavor

# The same for all users, whatever their TMPDIR. In a folder of its own, since filelock refuses another user's file in
# one with the sticky bit.
LOCKS = (Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())) / "trt_sweep"


def file_lock(name: str) -> FileLock:
    """The lock of this name; raises OSError where its folder cannot be made."""
    if not LOCKS.is_dir():
        LOCKS.mkdir(exist_ok=True)
        LOCKS.chmod(0o777)
    return FileLock(LOCKS / f"{name}.lock", mode=0o666, thread_local=False)


@contextlib.contextmanager
def device_lock(device: torch.device, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lock of a device, so that no two sweeps on this machine time over each other.

    It is a lock of the operating system on a file that all users share, named after the GPU's UUID: it ends with the
    process that holds it. Containers with a /tmp of their own do not see it. `tell` hears of a wait. Raises SweepError
    where the file cannot be opened.
    """
    name = "cpu"
    if device.type == "cuda":
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        held = file_lock(name)
        try:
            held.acquire(blocking=False)
        except Timeout:
            tell(f"waiting for another sweep to leave {name}")
            held.acquire(poll_interval=0.02)
    except OSError as error:
        path = LOCKS / f"{name}.lock"
        raise SweepError(f"{path} cannot be opened ({error.strerror}): let all users write it, or remove it") from error
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def build_lock(device: torch.device, hear: Callable[[str], None], phase: str = "build") -> Iterator[None]:
    """Hold the lock of a device where builds time kernels on it, as standard TensorRT's do and RTX's do not.

    For a build, and for other work that could disturb one; `hear` is told of the phase once it may go on.
    """
    if device.type != "cuda" or flavor() != "standard":
        yield
        return
    with device_lock(device, hear):
        hear(phase)
        yield
