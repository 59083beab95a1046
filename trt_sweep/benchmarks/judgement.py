"""Test what ranks and intervals claim: sweep one engine under many names, some of them with work added.

Such an A/A test knows the truth: the names are equal, those with added work are slower by a known amount, and other
sweeps say what a long run finds.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import time
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trt_sweep.config import groups
from trt_sweep.machine import devices, locks, nvml
from trt_sweep.measure import clocks, measurement
from trt_sweep.measure.timer import Timer
from trt_sweep.points.run import PointRun
from trt_sweep.results import columns, ranking
from trt_sweep.results.stats import differences, estimates, ranks

Table = list[dict[str, Any]]
Row = dict[str, Any]
HOST, GPU = "host", "gpu"  # what is kept busy longer
ADDED = ((HOST, 0.05), (HOST, 0.10), (HOST, 0.20), (GPU, 0.01))
SLOWER = 2  # names for each of these
VISITS = 7  # that say how long a call takes: the GPU's work in one alone is off by 0.2 %
CLOCKS = ("latency_ms", "gpu_ms")


@dataclasses.dataclass
class Name:
    """Hold one name of the engine: the call, and the share of which kind of work that was added to it."""

    timer: Timer
    kind: str = ""
    added: float = 0.0


def sweeps(point: PointRun, number: int, names: int, file: Path) -> list[list[Row]]:
    """Sweep `names` equal names and some slower ones so many times; return the rows of each sweep.

    They are written into `file` sweep by sweep. Sweeps that it holds already are not made again.
    """
    found: list[list[Row]] = json.loads(file.read_text()) if file.exists() else []
    if len(found) >= number:
        return found
    listed = list(_names(point, names))
    for index in range(len(found), number):
        print(f"sweep {index + 1} of {number}: {len(listed)} names of one engine", flush=True)
        found.append(_sweep(point, listed, index))
        file.write_text(json.dumps(found) + "\n")
    return found


def _names(point: PointRun, number: int) -> Iterator[Name]:
    device, settings = devices.resolve("auto"), point.config.measure
    timer = point.timers[0]
    for _ in range(number):
        yield Name(Timer(timer.call, device, settings))
    # The fastest of several visits: in one alone the host may be slow.
    call_ms = min(float(np.median(point.window(0, number).latency_ms)) for number in range(VISITS))
    for kind, share in ADDED if device.type == "cuda" else ADDED[:-1]:
        with point.running():
            work = _host_work(share * call_ms / 1e3) if kind == HOST else _gpu_work(timer.call, share, device)
        for _ in range(SLOWER):
            yield Name(Timer(_then(timer.call, work), device, settings), kind, share)


def _sweep(point: PointRun, names: Sequence[Name], index: int) -> list[Row]:
    device, draw = devices.resolve("auto"), random.Random(index)
    monitor = nvml.monitor(device)
    windows: list[list[measurement.Visit]] = [[] for _ in names]
    for number in range(point.config.measure.visits + 1):
        for place in draw.sample(range(len(names)), len(names)):
            with point.running(), locks.device_lock(device):
                windows[place].append(names[place].timer.visit(monitor, number))
    rows = []
    for name, visited in zip(names, windows, strict=True):
        timing = measurement.Measurement([visited], 1, None, visit_group=str(index)).timing()
        rows.append(vars(columns.Build()) | vars(timing) | {"sweep_id": "aa", "kind": name.kind, "added": name.added})
    return rows


def claims(found: list[list[Row]]) -> Table:
    """Return what the ranks claim, by clock: false differences between equal names, and added work that is found.

    Beside them stands what a user claims who ranks by the times themselves, and by how much the added work has made the
    names slower in fact.
    """
    table = []
    for clock in CLOCKS:
        if not found or any(row[clock] is None for rows in found for row in rows):
            continue
        false, by_time, pairs = [], [], 0
        seen: dict[tuple[str, float], list[bool]] = {}
        slower: dict[tuple[str, float], list[float]] = {}
        for rows in found:
            equal = [row for row in rows if not row["added"]]
            apart = ranks.proved([_estimate(row, clock) for row in equal])
            both = list(itertools.combinations(range(len(equal)), 2))
            pairs += len(both)
            false.append(sum(apart[a][b] for a, b in both))
            by_time.append(sum(equal[a][clock] != equal[b][clock] for a, b in both))
            everywhere = ranks.proved([_estimate(row, clock) for row in rows])
            alone = float(np.median([row[clock] for row in equal]))
            for row in rows[len(equal) :]:
                slower.setdefault((row["kind"], row["added"]), []).append(row[clock] / alone - 1)
            for a, b in itertools.product(range(len(equal)), range(len(equal), len(rows))):
                seen.setdefault((rows[b]["kind"], rows[b]["added"]), []).append(everywhere[a][b])
        claimed: Row = {
            "clock": clock,
            "sweeps": len(found),
            "equal_pairs": pairs,
            "sweeps_with_false_claims": sum(count > 0 for count in false),
            "false_claims": sum(false),
            "false_by_time_alone": sum(by_time),
        }
        for (kind, share), answers in seen.items():
            name = f"{kind}_{100 * share:g}"
            claimed[f"found_percent_{name}"] = round(100 * float(np.mean(answers)), 1)
            claimed[f"slower_percent_{name}"] = round(100 * float(np.median(slower[kind, share])), 1)
        table.append(claimed)
    return table


def coverage(found: list[list[Row]]) -> Table:
    """Return how often the interval of a ratio in one sweep holds what the other sweeps find, on average.

    With few others that average has an error of its own: `agree_percent` is how often the two differ by no more than
    both intervals allow. `equal_held_percent` is how often the interval of two equal names holds 1, which is exact.
    """
    table = []
    for clock in CLOCKS if len(found) > 1 else ():
        if any(row[clock] is None for rows in found for row in rows):
            continue
        pairs = list(itertools.combinations(range(len(found[0])), 2))
        ratios = [_ratios([_estimate(row, clock) for row in rows], pairs) for rows in found]
        held, agree = [], []
        for index, (value, low, high) in enumerate(ratios):
            others = np.array(ratios[:index] + ratios[index + 1 :])
            mean = others[:, 0].mean(axis=0)
            less, more = (np.linalg.norm(others[:, 0] - others[:, end], axis=0) / len(others) for end in (1, 2))
            held.append((low <= mean) & (mean <= high))
            agree.append((np.hypot(value - low, more) >= value - mean) & (np.hypot(high - value, less) >= mean - value))
        equal = [not (found[0][a]["added"] or found[0][b]["added"]) for a, b in pairs]
        _, low, high = np.array(ratios).transpose(1, 0, 2)
        table.append(
            {
                "clock": clock,
                "ratios": held[0].size * len(held),
                "held_percent": round(100 * float(np.mean(held)), 1),
                "agree_percent": round(100 * float(np.mean(agree)), 1),
                "equal_held_percent": round(100 * float(np.mean(((low <= 0) & (high >= 0))[:, equal])), 1),
                "half_width_percent": round(100 * float(np.median(high - low)) / 2, 2),
            }
        )
    return table


def _ratios(items: Sequence[estimates.Estimate], pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return how much more the first of each pair takes, and both ends of its interval: logarithms, a row each."""
    found = [differences.difference((1, -1), (items[a], items[b])) for a, b in pairs]
    return np.array([(ratio.value, *ratio.interval()) for ratio in found]).T


def widths(found: list[list[Row]]) -> Table:
    """Return how wide the intervals of single points are, and how many begin below the GPU's own work."""
    table = []
    for clock in CLOCKS:
        rows = [row for listed in found for row in listed if row[clock] is not None]
        if rows:
            half = [(row[f"{clock}_ci_high"] - row[f"{clock}_ci_low"]) / 2 / row[clock] for row in rows]
            values = [row[clock] for row in rows if not row["added"]]
            below = sum(row["latency_ms_ci_low"] < row["gpu_ms"] for row in rows if row["gpu_ms"] is not None)
            table.append(
                {
                    "clock": clock,
                    "rows": len(rows),
                    "median_ms": round(float(np.median(values)), 5),
                    "half_width_percent": round(100 * float(np.median(half)), 2),
                    "least_to_most_percent": round(100 * (max(values) / min(values) - 1), 2),
                    "begin_below_gpu_ms": below,
                    "host_slow_percent": round(100 * float(np.mean([row["host_slow_share"] for row in rows])), 1),
                }
            )
    return table


def _estimate(row: Row, clock: str) -> estimates.Estimate:
    # An older row lacks what was added since.
    known: dict[Hashable, Any] = {name: row.get(name) for name in ("latency_ms", *ranking.VISITED)}
    return ranking.estimate(known, clock)


def _then(call: clocks.Call, work: clocks.Call) -> clocks.Call:
    def both() -> Any:
        result = call()
        work()
        return result

    return both


def _host_work(seconds: float) -> clocks.Call:
    """Return a function that keeps the host busy for so long."""

    def spin() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    return spin


def _gpu_work(call: clocks.Call, share: float, device: torch.device) -> clocks.Call:
    """Return elementwise work that makes a call longer on the GPU by about this share, found by bisection."""
    settings = groups.MeasureConfig(warmup_s=0.02)

    def took(timed: clocks.Call) -> float:
        timer, monitor = Timer(timed, device, settings), nvml.monitor(device)
        windows = [timer.visit(monitor, number * settings.visits) for number in range(VISITS)]
        return float(np.median([np.median(window.gpu_ms.get(columns.GRAPH, window.latency_ms)) for window in windows]))

    def work(bits: float) -> clocks.Call:
        buffer = torch.ones(int(2**bits), device=device)
        return lambda: buffer.mul_(1.0)

    low, high, alone_ms = 0.0, 28.0, took(call)
    while high - low > 0.1:
        middle = (low + high) / 2
        longer = took(_then(call, work(middle))) / alone_ms - 1
        low, high = (middle, high) if longer < share else (low, middle)
    return work(high)
