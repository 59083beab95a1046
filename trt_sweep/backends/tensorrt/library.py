"""Import the installed TensorRT, and set up what it needs."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from trt_sweep.machine import versions


@functools.cache
def library() -> ModuleType:
    """Return the installed TensorRT module: `tensorrt_rtx`, or `tensorrt`."""
    return importlib.import_module("tensorrt_rtx" if versions.flavor() == "rtx" else "tensorrt")


def is_rtx() -> bool:
    """Return whether it is TensorRT-RTX."""
    return library().__name__ == "tensorrt_rtx"


def verbosity(name: str) -> Any:
    """Return the `ProfilingVerbosity` of that name."""
    return getattr(library().ProfilingVerbosity, name.upper())


@functools.cache
def _logger() -> Any:
    return library().Logger(library().Logger.WARNING)
