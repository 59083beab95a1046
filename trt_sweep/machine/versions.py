"""Look up the versions of libraries, driver and code, and the GPU, that stand beside a point's numbers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from trt_sweep.results.columns import Environment

if TYPE_CHECKING:  # the process of a sweep does without torch
    import torch


def version(*distributions: str) -> str | None:
    """Return the version of the first of these distributions that is installed, or None."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def flavor() -> str | None:
    """Return which Torch-TensorRT is installed, `rtx` or `standard`; None where there is none.

    The placeholders on PyPI, version 0.0.1 of either name, do not count.
    """
    for name, flavor in (("torch-tensorrt-rtx", "rtx"), ("torch-tensorrt", "standard")):
        if (version(name) or "0.").split(".")[0] != "0":
            return flavor
    return None


def torch_tensorrt() -> str | None:
    """Return the name of the distribution of Torch-TensorRT that is installed, or None."""
    return {"rtx": "torch-tensorrt-rtx", "standard": "torch-tensorrt"}.get(str(flavor()))


def torch_tensorrt_version() -> str | None:
    """Return the version of the installed Torch-TensorRT, or None."""
    return version(*filter(None, [torch_tensorrt()]))


def unmet(*names: str) -> list[tuple[str, str, str]]:
    """Return which of these packages have a version that the installed Torch-TensorRT was not made for.

    They are told as name, the versions that it asks for, and the one that is there. A package of its own build
    (`2.14.1+cu130`) counts as that version, and so does what comes before it (`2.14.0a0+nv26`). A version that is no
    number (`nightly`) is left out.
    """
    distribution, found = torch_tensorrt(), []
    asked = (metadata.requires(distribution) if distribution and torch_tensorrt_version() else None) or []
    for requirement in map(Requirement, asked):
        name = requirement.name.replace("_", "-")
        there = version(name) if name in names else None
        if there is None or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        with contextlib.suppress(InvalidVersion):
            if not requirement.specifier.contains(Version(there).base_version):
                found.append((name, str(requirement.specifier), there))
    return found


def tensorrt_version() -> str | None:
    """Return the version of TensorRT or TensorRT-RTX, whichever the installed Torch-TensorRT is for."""
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
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def _code_id() -> str:
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in (package, package.parent / "conf"):
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def environment(device: torch.device | None) -> Environment:
    """Return the versions, and the GPU where `device` is one.

    The GPU's fields are null for a CPU, and where `device` is None because a point is only planned.
    """
    import torch

    gpu: dict[str, str | None] = {}
    if device is not None and device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        gpu = {
            "gpu_name": properties.name,
            "gpu_uuid": f"GPU-{properties.uuid}",
            "compute_capability": f"{properties.major}.{properties.minor}",
        }
    return Environment(
        **gpu,
        driver=_driver(),
        cuda=torch.version.cuda,
        torch=str(torch.__version__),  # a plain string, which is read back without torch
        torch_tensorrt=torch_tensorrt_version(),
        tensorrt=tensorrt_version(),
        tensorrt_flavor=flavor(),
        python=platform.python_version(),
        hostname=socket.gethostname(),
        trt_sweep=version("trt-sweep"),
        git_sha=_git_sha(),
        code_id=_code_id(),
    )
