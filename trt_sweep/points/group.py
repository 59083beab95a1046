"""The points of one build, timed on it round after round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trt_sweep.points.point import Point
from trt_sweep.points.run import PointRun
from trt_sweep.points.state import GroupContext


class BuildGroup:
    """One build (or `measure.rebuilds` of them) and the points that are timed on it.

    `folder(point)` is where a point's artifacts go. Leaving the context undoes what the backend set up.
    """

    def __init__(self, points: list[Point], folder: Callable[[Point], Path], context: GroupContext) -> None:
        self._context = context
        self.runs = [PointRun(point, folder(point), context) for point in points]

    def __enter__(self) -> BuildGroup:
        return self

    def __exit__(self, *_: object) -> None:
        """Undo what the backend set up; the points are done."""
        self._context.stack.close()
        self._context.builds.clear()
        for run in self.runs:
            run.release()
