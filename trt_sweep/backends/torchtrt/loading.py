"""Import Torch-TensorRT, with a GPU or without."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch

from trt_sweep.errors import SweepError, one_line
from trt_sweep.machine import versions

ASSUMED_CAPABILITY = (9, 0)  # planned for where there is no GPU; recorded in the row
ASSUMED_MEMORY = 64 << 30
INSTALL = "pip install 'trt-sweep[rtx]' (or 'trt-sweep[tensorrt]' from NVIDIA's package index)"


def require_installed(backend: str) -> None:
    """Raise SweepError where no Torch-TensorRT that could work is installed; imports nothing."""
    if versions.flavor() is None:
        raise SweepError(
            f"backend={backend} needs Torch-TensorRT, which is not installed: {INSTALL}, or use backend=eager or "
            "backend=inductor"
        )
    if torch.version.cuda is None:
        raise SweepError(
            f"backend={backend} needs a CUDA build of torch, and {torch.__version__} is not one: reinstall torch "
            "from the default index, or use backend=eager or backend=inductor"
        )
    for name, wanted, found in versions.unmet("torch", "tensorrt-rtx", "tensorrt"):
        raise SweepError(
            f"backend={backend} needs {name}{wanted}, and {found} is installed: pip install 'trt-sweep"
            f"[{'rtx' if versions.flavor() == 'rtx' else 'tensorrt'}]' takes a pair that goes together, or use "
            "backend=eager or backend=inductor"
        )


@functools.cache
def load() -> ModuleType:
    """Import torch_tensorrt once (10 s or more), without a GPU too; raises SweepError where that fails."""
    try:
        with assumed_gpu(), _without_broken_plugin():
            module = importlib.import_module("torch_tensorrt")
            importlib.import_module("torch_tensorrt.dynamo")
            importlib.import_module("torch_tensorrt.dynamo._compiler")
    except Exception as error:
        raise SweepError(
            f"torch_tensorrt cannot be imported ({one_line(error, 200)}): reinstall it together with the torch it was "
            "built for, pip install --upgrade --force-reinstall 'trt-sweep[rtx]'"
        ) from error
    return module


@contextlib.contextmanager
def assumed_gpu() -> Iterator[None]:
    """Answer what Torch-TensorRT asks of a GPU while it imports and plans, where there is none.

    Change nothing where there is a GPU.
    """
    if torch.cuda.is_available():
        yield
        return
    major, minor = ASSUMED_CAPABILITY
    properties = SimpleNamespace(
        name="assumed", major=major, minor=minor, total_memory=ASSUMED_MEMORY, multi_processor_count=132
    )
    answers = {
        "get_device_capability": lambda *_: ASSUMED_CAPABILITY,
        "current_device": lambda: 0,
        "mem_get_info": lambda *_: (ASSUMED_MEMORY, ASSUMED_MEMORY),
        "get_device_properties": lambda *_: properties,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        yield


@contextlib.contextmanager
def _without_broken_plugin() -> Iterator[None]:
    """Hide tensorrt_rtx's plugin package, which cannot be imported; torch_tensorrt 2.11 trips over it."""
    find_spec = importlib.util.find_spec

    def guarded(name: str, package: str | None = None) -> Any:
        try:
            return find_spec(name, package)
        except ModuleNotFoundError:
            if name.startswith("tensorrt.plugin"):
                return None
            raise

    with mock.patch.object(importlib.util, "find_spec", guarded):
        yield
