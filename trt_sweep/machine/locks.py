"""Hold locks that all users of a machine share; each ends with the process that holds it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trt_sweep.errors import SweepError
from trt_sweep.machine.versions import flavor

if TYPE_CHECKING:  # the process of a sweep does without torch
    import torch

# One folder for all users, whatever their TMPDIR. It is not /tmp itself, since filelock refuses another user's file in
# a folder with the sticky bit.
LOCKS = (Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())) / "trt_sweep"


def file_lock(name: str) -> FileLock:
    """Return the lock of this name; raise OSError where its folder cannot be made."""
    if not LOCKS.is_dir():
        LOCKS.mkdir(exist_ok=True)
        LOCKS.chmod(0o777)
    return FileLock(LOCKS / f"{name}.lock", mode=0o666, thread_local=False)


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
