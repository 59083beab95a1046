"""Turn what a point has raised into the status and the reason of its row."""

from __future__ import annotations

import copy
import errno

import torch

from trt_sweep.config.point import PointConfig
from trt_sweep.errors import NO_MEMORY, Unsupported, one_line
from trt_sweep.points.phases import PHASES

# A point is not to blame for these, and its row would not find room either.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def of_disk(error: Exception) -> bool:
    """Return whether an error comes from a disk that takes no more files, which ends the sweep."""
    return isinstance(error, OSError) and error.errno in DISK


def outcome(error: Exception, phase: str, config: PointConfig) -> tuple[str, str]:
    """Return the status and the reason of a point that raised `error` in this phase."""
    reason = one_line(error)
    if isinstance(error, Unsupported):
        return "unsupported", reason
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or NO_MEMORY.search(str(error)):
        return "out_of_memory", reason
    low = config.base_precision in ("fp16", "bf16") and phase not in ("model", "reference")
    if isinstance(error, NotImplementedError) and config.device == "cpu" and low:
        return "unsupported", (
            f"precision={config.precision}: torch lacks a kernel for it on a CPU ({reason}); use precision=fp32"
        )
    return PHASES[phase].status or "run_failed", reason


def without_traceback(error: Exception) -> Exception:
    """Return a copy of the error without its traceback, whose frames would keep what they hold on the GPU."""
    bare = copy.copy(error)
    bare.__cause__ = bare.__context__ = None
    return bare.with_traceback(None)
