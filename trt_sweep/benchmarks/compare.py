"""Count the false alarms of `trt-sweep compare`, and the changes that it finds, in real and simulated nights."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trt_sweep.analysis.compare import compare, matching, nights, times
from trt_sweep.benchmarks.nights import Nights
from trt_sweep.errors import SweepError
from trt_sweep.results import ranking
from trt_sweep.results.stats import estimates
from trt_sweep.results.thresholds import MIN_EFFECT

FEWEST_NIGHTS, FEWEST_POINTS, SEED = 5, 3, 0
TOO_FEW = f"that takes {FEWEST_NIGHTS} nights with {FEWEST_POINTS} points timed by gpu_ms"
SLOWED = "slower"  # the folder of the last night
Table = list[dict[str, Any]]


def run(folder: Path, count: int, slower: float | None, simulated: int, records: Path | None = None) -> None:
    """Run `count` real nights, simulate others with noise drawn from records, print both tables and keep them.

    Nights that are already in the folder are not run again. `slower` is the share by which one model takes longer in
    the last night: by default 3 %, or 300 % on a CPU. The noise is drawn from the nights below `records`, else from
    those that were run. Raises SweepError for records that are too few.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slower = slower if slower is not None else 0.03 if torch.cuda.is_available() else 3.0
    sweeps = Nights(folder)
    places = run_nights(sweeps, count, slower)
    found = {"nights": compare_nights(places, sweeps.slowed)}
    _keep(folder, found)
    drawn = noise(_nights_below(records) if records is not None else places[:-1])
    if drawn is not None:
        found["simulated"] = simulate(drawn, simulated)
        _keep(folder, found)
    elif records is not None:
        raise SweepError(f"nothing to simulate from in --records={records}: {TOO_FEW}")
    else:
        print(f"\nnothing to simulate from: {TOO_FEW}")
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


def _nights_below(records: Path) -> list[Path]:
    """Return the folders of nights with nothing changed: `bench compare` calls the last one, which is slower, so."""
    return [night.folder for night in nights.load([records]) if night.folder.name != SLOWED]


def _keep(folder: Path, found: dict[str, Table]) -> None:
    (folder / "compare.json").write_text(json.dumps(found, indent=1) + "\n")
    name, rows = list(found.items())[-1]
    print(f"\n{name}\n{pd.DataFrame(rows).to_string(index=False)}", flush=True)


def run_nights(sweeps: Nights, count: int, slower: float) -> list[Path]:
    """Run `count` nights, and a last one in which one model takes longer; return their folders."""
    folders = [_night(sweeps, f"night{number:02}") for number in range(count)]
    return [*folders, _night(sweeps, SLOWED, {sweeps.slowed: slower})]


def compare_nights(folders: list[Path], slowed: str) -> Table:
    """Compare each night with each later one, as a nightly job does; in the last the model `slowed` is slower.

    `found` says whether that was noticed. `false` is the number of other points that were claimed. Both are null where
    nothing was made slower. `moved_percent` is how far the deciding clocks moved at most, and `seen_from_percent` the
    least change that all of them would show: over the points that can show one (`compare.steady`), and null where the
    nights cannot be compared.
    """
    rows: Table = []
    for (_, before), (number, after) in itertools.combinations(enumerate(folders), 2):
        found = compare.compare(before, after, history=folders[:number])
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


@dataclass(frozen=True)
class Noise:
    """Hold how real points differ between nights of one machine: arrays with a row a point and a column a night.

    `logs` are the logarithms of `gpu_ms`, without a point's mean and a night's median; `between` and `captures` are
    what each record says of its captures; `pairs` are the numbers of two nights of one machine each.
    """

    logs: np.ndarray
    between: np.ndarray
    captures: np.ndarray
    pairs: np.ndarray


def noise(folders: Sequence[Path]) -> Noise | None:
    """Return how the points that all these nights have differ between them; None for too few nights or points.

    What cuDNN chose anew is left out, as `compare` judges it by history.
    """
    listed = nights.load(folders) if len(folders) >= FEWEST_NIGHTS else []
    columns = ["gpu_ms", "gpu_ms_between_captures", "gpu_ms_captures"]
    points: dict[Any, list[list[float]]] = {}
    for night in listed:
        rows = night.rows[(night.rows["status"] == "ok") & night.rows["gpu_ms_between_captures"].notna()]
        for row in rows.to_dict("records"):
            if not ranking.cudnn_chose(row):
                points.setdefault((matching.key(row), row["gpu_ms_method"]), []).append([row[name] for name in columns])
    known = [values for values in points.values() if len(values) == len(folders)]
    machines = np.array([str(matching.machines_of(night.rows)) for night in listed])
    pairs = [pair for pair in itertools.permutations(range(len(listed)), 2) if machines[pair[0]] == machines[pair[1]]]
    if len(known) < FEWEST_POINTS or not pairs:
        return None
    gpu_ms, between, captures = np.moveaxis(np.array(known, dtype=float), 2, 0)
    logs = np.log(gpu_ms)
    for machine in set(machines):
        logs[:, machines == machine] -= logs[:, machines == machine].mean(axis=1, keepdims=True)
    logs -= np.median(logs, axis=0)
    moved = logs.any(axis=1)
    return Noise(logs[moved], between[moved], captures[moved], np.array(pairs))


def simulate(found: Noise, pairs: int, seed: int = SEED) -> Table:
    """Simulate pairs of nights whose noise is drawn from records; count what is claimed.

    Each point is a real one: its deviations on two nights, and what its captures said of them then, scaled so that its
    builds scatter by `builds_percent`. In some, tails are made heavy: deviations become Student's t with 3 degrees of
    freedom, of the same variance, and the captures do not show it. In some, the machine is slower on the second night.
    `false_percent` is the share of pairs in which a point is claimed to have changed though nothing was added.
    `found_3_percent` and `found_5_percent` are how often one point that takes that much longer is claimed.
    """
    rows: Table = []
    for count, builds, heavy, shift in itertools.product((12, 60), (0.002, 0.011), (False, True), (0.0, 0.01)):
        rng = np.random.default_rng(seed)
        answers: dict[float, list[bool]] = {added: [] for added in (0.0, 0.03, 0.05)}
        for _, (added, claimed) in itertools.product(range(pairs), answers.items()):
            times_of_pair = _simulated(found, rng, count, builds, heavy=heavy, shift=shift, added=added)
            first, *rest = (item.side for item in times.judge(times_of_pair, MIN_EFFECT)[0])
            claimed.append(first > 0 if added else any((first, *rest)))
        row: dict[str, Any] = {"points": count, "builds_percent": 100 * builds, "heavy_tails": heavy}
        row |= {"machine_percent": 100 * shift, "pairs": pairs}
        names = ("false_percent", "found_3_percent", "found_5_percent")
        rows.append(row | {name: 100 * float(np.mean(of)) for name, of in zip(names, answers.values(), strict=True)})
    return rows


def _simulated(
    found: Noise, rng: np.random.Generator, count: int, builds: float, *, heavy: bool, shift: float, added: float
) -> list[times.Pair]:
    points = rng.integers(len(found.logs), size=count)
    scale = builds / found.logs[points].std(axis=1, ddof=1)
    chosen = found.pairs[rng.integers(len(found.pairs), size=count)].T
    logs, between, captures = (array[points, chosen] for array in (found.logs, found.between, found.captures))
    if heavy:
        logs = logs / np.sqrt(rng.chisquare(3, logs.shape))
    logs = 1 + logs * scale + np.array([[0.0], [math.log1p(shift)]])
    logs[1, 0] += math.log1p(added)
    sides = [
        [
            estimates.of_captures(math.exp(log), int(number), float(spread), 1, None)
            for log, number, spread in zip(of_night, numbers, spreads * scale, strict=True)
        ]
        for of_night, numbers, spreads in zip(logs, captures, between, strict=True)
    ]
    return [times.Pair(times.GPU, "graph", *pair) for pair in zip(*sides, strict=True)]
