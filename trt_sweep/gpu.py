"""What the machine is: the device a point runs on, and the versions behind its numbers."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import psutil
import torch
from filelock import Timeout

from trt_sweep import locks
from trt_sweep.errors import SweepError
from trt_sweep.records import Environment


def resolve(device: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for here; raises SweepError where there is none."""
    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    if device == "cpu":
        return torch.device("cpu")
    if not available:
        raise SweepError(f"device={device} is not there: torch sees no CUDA device; use device=auto or device=cpu")
    index = int(device.partition(":")[2] or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise SweepError(f"device={device} is not there: use cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return torch.device("cuda", index)


def version(*distributions: str) -> str | None:
    """Version of the first of these distributions that is installed, None without one."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def flavor() -> str | None:
    """`rtx` or `standard`, by which Torch-TensorRT is installed; None without one.

    PyPI has a placeholder of either name at version 0.0.1, which is none.
    """
    for name, flavor in (("torch-tensorrt-rtx", "rtx"), ("torch-tensorrt", "standard")):
        if (version(name) or "0.").split(".")[0] != "0":
            return flavor
    return None


def tensorrt_version() -> str | None:
    """Version of TensorRT or TensorRT-RTX, whichever the installed Torch-TensorRT is for."""
    if flavor() == "rtx":
        return version("tensorrt-rtx", "tensorrt-rtx-cu13")
    return version("tensorrt", "tensorrt-cu13", "tensorrt-cu12")


@functools.cache
def _driver() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        found = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None
    return found.decode() if isinstance(found, bytes) else str(found)


@functools.cache
def _git_sha() -> str | None:
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def _code_id() -> str:
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for folder in (package, package.parent / "conf"):
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def environment(device: torch.device | None) -> Environment:
    """Versions, and the GPU where `device` is one; its fields are null for a CPU or a plan."""
    gpu: dict[str, str | None] = {}
    if device is not None and device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        gpu = {
            "gpu_name": properties.name,
            "gpu_uuid": f"GPU-{properties.uuid}",
            "compute_capability": f"{properties.major}.{properties.minor}",
        }
    rtx = flavor() == "rtx"
    return Environment(
        **gpu,
        driver=_driver(),
        cuda=torch.version.cuda,
        torch=str(torch.__version__),  # a plain string, which is read back without torch
        torch_tensorrt=version("torch-tensorrt-rtx" if rtx else "torch-tensorrt"),
        tensorrt=tensorrt_version(),
        tensorrt_flavor=flavor(),
        python=platform.python_version(),
        hostname=socket.gethostname(),
        trt_sweep=version("trt-sweep"),
        git_sha=_git_sha(),
        code_id=_code_id(),
    )


@contextlib.contextmanager
def exclusive(device: torch.device, tell: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lock of a device, so that no two sweeps on this machine time over each other.

    It is a lock of the operating system on a file that all users share, named after the GPU's UUID: it ends with the
    process that holds it. Containers with a /tmp of their own do not see it. `tell` hears of a wait. Raises SweepError
    where the file cannot be opened.
    """
    name = "cpu"
    if device.type == "cuda":
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        held = locks.lock(name)
        try:
            held.acquire(blocking=False)
        except Timeout:
            tell(f"waiting for another sweep to leave {name}")
            held.acquire(poll_interval=0.02)
    except OSError as error:
        path = locks.LOCKS / f"{name}.lock"
        raise SweepError(f"{path} cannot be opened ({error.strerror}): let all users write it, or remove it") from error
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def building(device: torch.device, hear: Callable[[str], None], phase: str = "build") -> Iterator[None]:
    """Hold the lock of a device where builds time kernels on it, as standard TensorRT's do and RTX's do not.

    For a build, and for other work that could disturb one; `hear` is told of the phase once it may go on.
    """
    if device.type != "cuda" or flavor() != "standard":
        yield
        return
    with exclusive(device, hear):
        hear(phase)
        yield


def has_room(device: torch.device) -> bool:
    """Whether less than half of the memory is in use, the GPU's and the machine's, so that more may be kept there."""
    if _half_free(device):
        return True
    gc.collect()  # what earlier points left in reference cycles may hold memory
    return _half_free(device)


def _half_free(device: torch.device) -> bool:
    if psutil.virtual_memory().percent > 50:
        return False
    if device.type != "cuda":
        return True
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return free > total / 2
