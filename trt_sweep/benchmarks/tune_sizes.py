"""Simulate searches of the batch size over curves of latency that are known, beside a sweep of all sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.points.point import Plan, Point
from trt_sweep.results import race
from trt_sweep.results.limits import Limit
from trt_sweep.results.measured import Timing
from trt_sweep.results.record import columns
from trt_sweep.results.stats import racing, visits
from trt_sweep.sweep import waves
from trt_sweep.sweep.batch_sizes import AXIS, BatchSearch
from trt_sweep.sweep.search import Settings
from trt_sweep.sweep.tuning import FAILED, Tuning

SIZES = range(1, 257)  # of the sweep
NOISE, SLOW, SLOW_SHARE = 0.01, 1.4, 0.2  # of a visit, and of a host in some of the rounds
KINDS = ("throughput levels off", "in steps of 16", "memory ends", "latency is limited")


@dataclass
class Curve:
    """Hold how long a call takes by the batch size: `fixed` ms, and `each` ms a sample, in steps of `step` samples.

    Memory ends above the size `most`. A call may take no more than `limit` ms.
    """

    fixed: float
    each: float
    step: int = 1
    most: int = 2**30
    limit: float = math.inf

    def latency(self, size: int) -> float:
        return self.fixed + self.each * self.step * math.ceil(size / self.step)

    def throughput(self, size: int) -> float:
        """Return the samples per ms; 0 where memory ends, or a call takes too long."""
        return size / self.latency(size) if size <= self.most and self.latency(size) <= self.limit else 0.0

    @property
    def best(self) -> float:
        """Return the most throughput of all sizes of the sweep that keep the limit by 1 %: nearer none can tell."""
        return max(self.throughput(size) for size in SIZES if 1.01 * self.latency(size) <= self.limit)


def simulated(number: int, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Search so often over curves of each kind, and return what came of it, a row a kind."""
    found = []
    for kind in KINDS:
        reached, points, broken = [], [], 0
        for _ in range(number):
            curve = _curve(kind, draw)
            size, tried = searched(curve, draw)
            broken += size > 0 and curve.throughput(size) == 0
            reached.append(100 * curve.throughput(size) / curve.best)
            points.append(tried)
        found.append(
            {
                "kind": kind,
                "searches": number,
                "throughput_of_best_percent": round(float(np.mean(reached)), 1),
                "throughput_of_best_percent_least": round(min(reached), 1),
                "within_5_percent": round(100 * float(np.mean([each >= 95 for each in reached])), 1),
                "points": round(float(np.mean(points)), 1),
                "points_of_sweep": len(SIZES),
                "broken_called_kept": broken,
            }
        )
    return found


def _curve(kind: str, draw: np.random.Generator) -> Curve:
    """Draw a curve; half of the most throughput comes at a size from 1 to 64."""
    half = float(np.exp(draw.uniform(0, math.log(64))))
    curve = Curve(half, 1.0, 16 if kind == KINDS[1] else 1)
    if kind == KINDS[2]:
        curve.most = int(np.exp(draw.uniform(math.log(4), math.log(256))))
    if kind == KINDS[3]:
        size = int(np.exp(draw.uniform(math.log(2), math.log(256))))
        curve.limit = curve.latency(size) * draw.uniform(1.01, 1.05)
    return curve


def searched(curve: Curve, draw: np.random.Generator) -> tuple[int, int]:
    """Search the batch size over a curve; return the size found, 0 for none, and how many points were built."""
    limits = () if math.isinf(curve.limit) else (Limit("--max-latency", "latency_ms", curve.limit, "ms"),)
    search = BatchSearch({}, _configured)
    state, plan, built = Tuning(race.Goal("throughput", limits), search=search), Plan([], {}), 0
    wave: Mapping[int, Any] = search.first()
    while True:
        new = [Point(config, [job]) for job, config in wave.items()]
        new = [point for point in new if point.id not in state.fates]
        for point in new:
            state.enter(point, f"b{point.config.batch_size}")
            plan.builds.append([point])
            built += 1
            if point.config.batch_size > curve.most:
                state.out(point.id, FAILED, "out_of_memory")
        inside = [point for point in plan.points if state.inside(point)]
        _raced(curve, state, inside, search.enough_visits if new else 48, draw)
        if not new:
            break
        wave = waves.following(plan, state)
    sure = [point for point in plan.points if state.inside(point) and state.seen[point.id].keeps]
    winner = min(sure, key=lambda point: state.seen[point.id].estimate.value, default=None)
    return (0 if winner is None else winner.config.batch_size), built


def _configured(settings: Settings) -> Any:
    model = ModelConfig(name="curve", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[1])])
    return PointConfig(model=model, backend="eager", device="cpu", batch_size=int(settings[AXIS]))


def _raced(curve: Curve, state: Tuning, inside: list[Point], enough: float, draw: np.random.Generator) -> None:
    """Visit points in turn until the race is decided, or each was visited often enough on average."""
    state.race.begin(len(inside))
    made: dict[str, list[float]] = {point.id: [] for point in inside}
    grid, number = enough * len(inside), 0
    state.ended = None
    group = len(state.seen), state.race.number
    while inside and state.ended is None and sum(map(len, made.values())) < grid:
        number += 1
        host = SLOW if draw.random() < SLOW_SHARE else 1.0
        for point in inside:
            noise = math.exp(NOISE * draw.standard_normal())
            made[point.id].append(curve.latency(int(point.config.batch_size)) * host * noise)
        if racing.is_look(number) or sum(map(len, made.values())) >= grid:
            rows = {point.id: (_row(point, made[point.id], group), None) for point in inside}
            state.look(rows, number)
            inside = [point for point in inside if state.inside(point)]


def _row(point: Point, medians: list[float], group: object) -> dict[str, Any]:
    level = visits.fast_level(np.array(medians), min(medians))
    known: dict[str, Any] = dict.fromkeys(("sweep_id", *columns(Timing), "anchor_ms_visits", "anchor_id"))
    known |= {"latency_ms": level.value, "latency_ms_min": min(medians), "latency_ms_visits": medians}
    return known | {"sweep_id": "s", "visit_group": group, "batch_size": int(point.config.batch_size)}
