"""TODO."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from trt_sweep.backends import base
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.models.model import Model


@dataclass
class BuildResult:
    """What one build leaves to the points that are timed on it."""

    point_id: str
    model: Model
    compiled: base.Compiled
    error: Exception | None = None
    phase: str = "model"


def _bare(error: Exception) -> Exception:
    """A copy without the traceback, whose frames would keep what they hold on the GPU."""
    bare = copy.copy(error)
    bare.__cause__ = bare.__context__ = None
    return bare.with_traceback(None)


def engine_key(config: SweepConfig, compiled: base.Compiled) -> str | None:
    """Names the engine that a point leads to, and how it is run; None where it is to be built in any case."""
    partition_id = compiled.partition.partition_id
    alone = not config.reuse or config.measure.rebuilds > 1 or config.runtime_cache is not None
    if partition_id is None or alone:
        return None
    return config.engine_key(partition_id, compiled.ignored_axes)
