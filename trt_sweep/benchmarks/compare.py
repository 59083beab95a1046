"""Count the false alarms of `trt-sweep compare`, and the changes that it finds, in real and simulated nights."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trt_sweep.analysis.compare import compare, times
from trt_sweep.benchmarks.nights import Nights
from trt_sweep.results.stats import estimates, unseen
from trt_sweep.results.thresholds import MIN_EFFECT

ROUNDS, POINTS, SEED = 3, 60, 0
BETWEEN_ROUNDS = 0.001  # relative standard deviation of gpu_ms on an H200, from the README
Table = list[dict[str, Any]]


def run(folder: Path, count: int, slower: float | None, simulated: int) -> None:
    """Simulate nights, run `count` real ones, print both tables and write them into `folder`.

    Nights that are already in the folder are not run again. `slower` is the share by which one model takes longer in
    the last night: by default 3 %, or 300 % on a CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slower = slower if slower is not None else 0.03 if torch.cuda.is_available() else 3.0
    found = {"simulated": simulate(simulated)}
    _keep(folder, found)
    sweeps = Nights(folder)
    found["nights"] = compare_nights(run_nights(sweeps, count, slower), sweeps.slowed)
    _keep(folder, found)
    comparable = [row for row in found["nights"] if row["alarms"] is not None]
    same = [row for row in comparable if row["found"] is None]
    alarms = sum(row["alarms"] for row in same)
    print(f"\nnothing changed: {alarms} alarms in {len(same)} pairs of nights")
    changed = [row for row in comparable if row["found"] is not None]
    times, false = sum(row["found"] for row in changed), sum(row["false"] for row in changed)
    print(f"one model {slower:.0%} slower: found in {times} of {len(changed)} pairs, with {false} false alarms")
    apart = len(found["nights"]) - len(comparable)
    if apart:
        print(f"not comparable, as nights of several GPUs are: {apart} pairs")
    print("results:", folder)


def _keep(folder: Path, found: dict[str, Table]) -> None:
    (folder / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    name, rows = list(found.items())[-1]
    print(f"\n{name}\n{pd.DataFrame(rows).to_string(index=False)}", flush=True)


def run_nights(sweeps: Nights, count: int, slower: float) -> list[Path]:
    """Run `count` nights, and a last one in which one model takes longer; return their folders."""
    folders = [_night(sweeps, f"night{number:02}") for number in range(count)]
    return [*folders, _night(sweeps, "slower", {sweeps.slowed: slower})]


def compare_nights(folders: list[Path], slowed: str) -> Table:
    """Compare each night with each later one, as a nightly job does; in the last the model `slowed` is slower.

    `found` says whether that was noticed. `false` is the number of other points that were claimed. Both are null where
    nothing was made slower. `moved_percent` is how far the deciding clocks moved at most, and `seen_from_percent` the
    least change that all of them would show: over the points that can show one (`compare.steady`), and null where the
    nights cannot be compared.
    """
    rows: Table = []
    for before, after in itertools.combinations(folders, 2):
        found = compare.compare(before, after)
        alarms = [point for point in found.points if point.verdict in compare.ALARMS]
        deciding = [point.times[0] for point in compare.steady(found.points) if point.times]
        moved = _most(math.expm1(abs(math.log(item.ratio))) for item in deciding)
        row: dict[str, Any] = {"old": before.name, "new": after.name, "exit_code": found.exit_code}
        row |= {
            "alarms": len(alarms) if found.points else None,
            "moved_percent": moved,
            "seen_from_percent": _most(x.reach for x in deciding),
        }
        row |= {"found": None, "false": None}
        if after == folders[-1] and found.points:
            false = [point.label for point in alarms if point.row["model"] != slowed]
            row |= {"found": len(alarms) > len(false), "false": len(false)}
        rows.append(row)
    return rows


def _most(shares: Iterable[float]) -> float | None:
    """Return the largest of these shares in percent; None without any."""
    return max((round(100 * share, 2) for share in shares), default=None)


def _night(sweeps: Nights, name: str, slower: dict[str, float] | None = None) -> Path:
    place = sweeps.folder / name
    if not (place / "results.csv").exists():
        print(f"{name} …", flush=True)
        sweeps.run(name, slower)
    return place


def simulate(pairs: int, seed: int = SEED) -> Table:
    """Simulate pairs of nights of 60 points with the README's spreads; count what is claimed, by added work.

    In each pair one point takes that much longer. `found_percent` is the share of pairs in which this point is claimed
    to have changed. `false_percent` is the share in which another point is, or any where nothing was added.
    """
    rows: Table = []
    for added in (0.0, 0.02, 0.03, 0.05):
        rng, false, found = np.random.default_rng(seed), 0, 0
        for _ in range(pairs):
            old, new = (_simulated_night(rng, added if last else 0.0) for last in (False, True))
            questions = [times.Pair(times.GPU, "graph", *pair) for pair in zip(old, new, strict=True)]
            first, *rest = times.judge(questions)[0]
            rest = rest if added else [first, *rest]
            effect = MIN_EFFECT
            false += any(item.longer(effect) or item.shorter(effect) for item in rest)
            found += bool(added) and first.longer(effect)
        row: dict[str, Any] = {"added_percent": 100 * added, "pairs": pairs, "points": POINTS, "seed": seed}
        found_percent = 100 * found / pairs if added else None
        rows.append(row | {"false_percent": 100 * false / pairs, "found_percent": found_percent})
    return rows


def _simulated_night(rng: np.random.Generator, added: float) -> list[estimates.Estimate]:
    logs = rng.normal(0, unseen.PLACEMENT, (POINTS, 1)) + rng.normal(0, BETWEEN_ROUNDS, (POINTS, ROUNDS))
    logs[0] += math.log1p(added)
    return [estimates.estimate([list(np.exp(point)[:, None])]) for point in logs]
