"""A point of a sweep and what is reported of it, as they pass between processes. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trt_sweep.config.point import PointConfig
from trt_sweep.results.columns import Environment, Partition
from trt_sweep.results.measured import Timing
from trt_sweep.results.record import Record


@dataclass(frozen=True)
class Point:
    """An effective configuration with the Hydra jobs that lead to it; a baseline has none.

    `merged` names what the jobs differ in, without a difference to the point. `axes` are the columns that are known
    before anything runs; `stored` is whether its engines may be built ahead, and kept.
    """

    config: PointConfig
    jobs: list[int] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    axes: dict[str, Any] = field(default_factory=dict)
    stored: bool = False

    @cached_property
    def id(self) -> str:
        """Return `point_id`, the name of its record's folder; each visit asks for it many times."""
        return self.config.point_id

    def no_profile(self, status: str, device: str | None, tensorrt: bool) -> str | None:
        """Return why profile=true finds nothing to look into once the point has this status; None where it does.

        None as well for a baseline, for which nobody asked.
        """
        config = self.config
        if not self.jobs or status == "interrupted":
            return None
        if not tensorrt:
            return f"profile=true: backend={config.backend} has no engines"
        if config.dryrun:
            return "profile=true: a dry run builds no engines"
        if device == "cpu":
            return "profile=true: the point ran on the CPU, and engines need a GPU"
        return f"not looked into: status={status}" if status != "ok" else None


def by_build(points: Iterable[Point]) -> list[list[Point]]:
    """Return the points in their order, those of one build together."""
    builds: dict[str, list[Point]] = {}
    for point in points:
        builds.setdefault(point.config.build_id, []).append(point)
    return list(builds.values())


@dataclass(frozen=True)
class Plan:
    """The points of a sweep, those of one build together, and the environments by `device` that they would run in.

    The device of a point that is only planned is None.
    """

    builds: list[list[Point]]
    environments: dict[str | None, Environment]

    @property
    def points(self) -> Iterator[Point]:
        """Return all points, in the order of the builds."""
        return (point for build in self.builds for point in build)

    def environment(self, point: Point) -> Environment:
        """Return the environment that this point runs in."""
        return self.environments[None if point.config.dryrun else point.config.device]


@dataclass(frozen=True)
class Report:
    """A point after a step: its record, the rounds that it is to have in all, its times by each method of `gpu_ms`.

    `fit` is false where the process can run nothing more, as after an illegal access to the GPU's memory; `to_profile`
    is true where the point's engines are to be looked into after its last round.
    """

    record: Record
    rounds: int = 1
    by_method: dict[str, Timing] = field(default_factory=dict)
    fit: bool = True
    to_profile: bool = False


@dataclass(frozen=True)
class Standing:
    """Hold how a point stands in a race: its record as it would be now.

    `over` has for each visit the share of its calls that took longer than a limit; None where there is none.
    """

    record: Record
    over: list[float] | None = None


@dataclass(frozen=True)
class Preview:
    """Hold what planning a point has told: its partition, and `key`, which the points of one build have in common.

    `reason` is why it cannot be planned, and so not built either.
    """

    key: str
    partition: Partition = field(default_factory=Partition)
    reason: str | None = None
