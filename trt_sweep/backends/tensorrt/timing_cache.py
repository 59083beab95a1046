"""Give each point its own timing cache, the file in which TensorRT's builder keeps how long kernels take.

A shared cache would make build times, and engines, depend on the order of the points.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path

from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.machine import versions

FILE = "timing_cache.bin"


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with `cache` as it takes effect: cold by default, none on TensorRT-RTX.

    TensorRT-RTX times no kernels. Raise SweepError where there is no such snapshot.
    """
    if config.cache_snapshot is not None and not Path(config.cache_snapshot).is_file():
        raise SweepError(f"cache_snapshot={config.cache_snapshot} is not a file: name a timing cache that was saved")
    if versions.flavor() == "rtx":
        return dataclasses.replace(config, cache=None) if config.cache == "cold" else config
    return dataclasses.replace(config, cache=config.cache or "cold")


def require(config: PointConfig) -> None:
    """Raise Unsupported for a cache that the installed TensorRT has not."""
    if config.cache is not None and versions.flavor() == "rtx":
        raise Unsupported(f"cache={config.cache}: TensorRT-RTX has no timing cache, since it times no kernels")


def prepare(config: PointConfig, folder: Path) -> Path:
    """Return the cache file in the point's folder. It exists only where it is the copy of a snapshot."""
    path = folder / FILE
    path.unlink(missing_ok=True)
    if config.cache_snapshot is not None:
        shutil.copyfile(config.cache_snapshot, path)
    return path


def content_id(path: Path) -> str | None:
    """Return 16 hexadecimal digits that name what a timing cache holds; None for an empty one."""
    content = path.read_bytes() if path.is_file() else b""
    return hashlib.sha256(content).hexdigest()[:16] if content else None
