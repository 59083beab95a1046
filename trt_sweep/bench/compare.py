"""Does `trt_sweep.compare` raise alarms where nothing changed, and find what did? By real nights and simulated ones."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trt_sweep import compare, stats
from trt_sweep.bench.nights import Nights
from trt_sweep.compare import times

ROUNDS, POINTS, SEED = 3, 60, 0
BETWEEN_ROUNDS = 0.001  # relative standard deviation of gpu_ms on an H200, as the README has it
Table = list[dict[str, Any]]


def run(folder: Path, pairs: int, slower: float | None, simulated: int) -> None:
    """Simulate, run the nights, print both tables and write them into `folder`. A night that is there is not run again.

    `slower` is the share by which one model takes longer in the last night; null for 3 %, or 300 % on a CPU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slower = slower if slower is not None else 0.03 if torch.cuda.is_available() else 3.0
    found = {"simulated": simulate(simulated)}
    _keep(folder, found)
    found["nights"] = nights(folder, pairs, slower)
    _keep(folder, found)
    *same, last = found["nights"]
    alarms = sum(row["alarms"] for row in same)
    print(f"\nnights with nothing changed: {alarms} alarms in {len(same)} pairs")
    print(f"one model {slower:.0%} slower: {'found' if last['found'] else 'not found'}, false alarms: {last['false']}")
    print("results:", folder)


def _keep(folder: Path, found: dict[str, Table]) -> None:
    (folder / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    name, rows = list(found.items())[-1]
    print(f"\n{name}\n{pd.DataFrame(rows).to_string(index=False)}", flush=True)


def nights(folder: Path, pairs: int, slower: float) -> Table:
    """Each night beside the one before, as a nightly job compares them; in the last one model takes longer."""
    sweeps = Nights(folder)
    model = sweeps.models[len(sweeps.models) // 2]
    names = [f"night{number:02}" for number in range(pairs + 1)]
    folders = [_night(sweeps, name) for name in names]
    folders.append(_night(sweeps, "slower", {model: slower}))
    rows = []
    for before, after in itertools.pairwise(folders):
        found = compare.compare(before, after)
        alarms = [point for point in found.points if point.verdict in compare.ALARMS]
        moved = [abs(math.log(item.ratio)) for point in found.points for item in point.times[:1]]
        reach = [item.reach for point in found.points for item in point.times[:1]]
        row = {"old": before.name, "new": after.name, "exit_code": found.exit_code, "alarms": len(alarms)}
        row |= {"moved_percent": round(100 * max(moved), 2), "seen_from_percent": round(100 * max(reach), 2)}
        if after == folders[-1]:
            false = [point.label for point in alarms if point.row["model"] != model]
            row |= {"found": len(alarms) > len(false), "false": len(false)}
        rows.append(row)
    return rows


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
            effect = compare.MIN_EFFECT
            false += any(item.longer(effect) or item.shorter(effect) for item in rest)
            found += bool(added) and first.longer(effect)
        row: dict[str, Any] = {"added_percent": 100 * added, "pairs": pairs, "points": POINTS, "seed": seed}
        found_percent = 100 * found / pairs if added else None
        rows.append(row | {"false_percent": 100 * false / pairs, "found_percent": found_percent})
    return rows


def _simulated_night(rng: np.random.Generator, added: float) -> list[stats.Estimate]:
    logs = rng.normal(0, stats.PLACEMENT, (POINTS, 1)) + rng.normal(0, BETWEEN_ROUNDS, (POINTS, ROUNDS))
    logs[0] += math.log1p(added)
    return [stats.estimate([list(np.exp(point)[:, None])]) for point in logs]
