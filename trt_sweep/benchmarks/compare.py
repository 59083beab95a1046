"""Check `trt-sweep compare`: alarms where nothing changed, and what it finds. By real nights and simulated ones."""

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
BETWEEN_ROUNDS = 0.001  # relative standard deviation of gpu_ms on an H200, as the README has it
Table = list[dict[str, Any]]


def run(folder: Path, count: int, slower: float | None, simulated: int) -> None:
    """Simulate, run `count` nights, print both tables and write them into `folder`. Those that are there are not run.

    `slower` is the share by which one model takes longer in the last night; null for 3 %, or 300 % on a CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slower = slower if slower is not None else 0.03 if torch.cuda.is_available() else 3.0
    found = {"simulated": simulate(simulated)}
    _keep(folder, found)
    sweeps = Nights(folder)
    found["nights"] = judged(nights(sweeps, count, slower), sweeps.slowed)
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


def nights(sweeps: Nights, count: int, slower: float) -> list[Path]:
    """The folders of `count` nights and of a last one in which one model takes longer."""
    folders = [_night(sweeps, f"night{number:02}") for number in range(count)]
    return [*folders, _night(sweeps, "slower", {sweeps.slowed: slower})]


def judged(folders: list[Path], slowed: str) -> Table:
    """Each night beside each earlier one, as a nightly job compares two; the last has its model `slowed` made slower.

    `found` is whether that was noticed, `false` how many other points were claimed; null where nothing was made slower.
    How far the deciding clocks moved at most, and from what on all of them show a change, is of the points that can
    show something (`compare.steady`); null where the nights cannot be compared.
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
    """In percent; null without any."""
    return max((round(100 * share, 2) for share in shares), default=None)


def _night(sweeps: Nights, name: str, slower: dict[str, float] | None = None) -> Path:
    place = sweeps.folder / name
    if not (place / "results.csv").exists():
        print(f"{name} …", flush=True)
        sweeps.run(name, slower)
    return place


def simulate(pairs: int, seed: int = SEED) -> Table:
    """Pairs of nights of 60 points with the spreads that the README tells: how often what is claimed, by added work.

    In each pair one point takes that much longer. `false_percent` is the share of pairs in which another point is
    claimed to have changed, or, where nothing was added, any; `found_percent` that in which the slower one is.
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
