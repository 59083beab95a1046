"""Ask a worker for what it does, wherever it runs.

Each method of `WorkerClient` stands for the method of `worker.Worker` that has its name and its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.machine.output import LOG
from trt_sweep.points.point import Plan, Point, Preview, Report, Standing
from trt_sweep.results.record import Record
from trt_sweep.workers.protocol import Assignment


class WorkerClient:
    """Ask one worker. `builds` counts those that it was given.

    A call returns the worker's result or raises what it raised; WorkerLost where it is gone.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment, self.builds = assignment, 0

    def plan(self, configs: Mapping[int, PointConfig]) -> Plan:
        found: Plan = self._ask("plan", configs)
        return found

    def prepare(self, builds: list[list[Point]]) -> None:
        self._ask("prepare", builds)

    def open(self, build: list[Point]) -> None:
        self._ask("open", build)

    def beside(self, pids: list[int]) -> None:
        self._ask("beside", pids)

    def preview(self, point: Point) -> Preview:
        found: Preview = self._ask("preview", point)
        return found

    def build_ahead(self, point: Point, limits: LimitsConfig) -> None:
        self._ask("build_ahead", point, limits=limits)

    def start(self, point_id: str) -> Report:
        found: Report = self._step("start", point_id)
        return found

    def visit(self, point_id: str) -> Report | None:
        found: Report | None = self._step("visit", point_id)
        return found

    def anchor(self, point: Point, limits: LimitsConfig) -> Report:
        found: Report = self._ask("anchor", point, limits=limits)
        return found

    def tie(self, anchor_id: str, point_ids: list[str]) -> None:
        self._ask("tie", anchor_id, point_ids)

    def race(self) -> None:
        self._ask("race")

    def standing(self, point_ids: list[str], over_ms: float | None) -> dict[str, Standing]:
        found: dict[str, Standing] = self._ask("standing", point_ids, over_ms)
        return found

    def finish(self, point_id: str) -> Report:
        found: Report = self._step("finish", point_id)
        return found

    def restart(self, point_ids: list[str]) -> None:
        self._ask("restart", point_ids)

    def profile(self, point_id: str) -> Report:
        found: Report = self._step("profile", point_id)
        return found

    def look(self, point_id: str, record: Record) -> Report:
        found: Report = self._step("look", point_id, record)
        return found

    def has_room(self, device: str) -> bool:
        return bool(self._ask("has_room", device))

    def close(self) -> str | None:
        found: str | None = self._ask("close")
        return found

    def end(self) -> None:
        """Leave nothing running, and nothing on the GPU."""
        raise NotImplementedError

    def _step(self, method: str, point_id: str, *more: Any) -> Any:
        """Ask for a step of a point, within its limits; what it says in its log explains its death."""
        log = self.assignment.folder / "points" / point_id / LOG
        return self._ask(method, point_id, *more, limits=self.assignment.options.limits, log=log)

    def _ask(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        raise NotImplementedError
