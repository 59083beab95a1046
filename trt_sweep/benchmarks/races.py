"""Race settings of a model with several seeds, and set beside them a full grid of the same values.

The grid says which point is best, and which ones nothing tells apart from it. Each race is a process of
`trt-sweep tune`, from its start to its answer.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.analysis import race
from trt_sweep.analysis.report import recommend
from trt_sweep.benchmarks import parts
from trt_sweep.config import compose
from trt_sweep.errors import SweepError
from trt_sweep.machine import devices, versions
from trt_sweep.results import store, table
from trt_sweep.sweep import search
from trt_sweep.sweep.sweep import Sweep
from trt_sweep.workers import spawn

Row = dict[str, Any]
KEPT = "kept.json"  # what was asked for, and what has ended


def run(folder: Path, seeds: int, overrides: Sequence[str], config_dir: Path | None, options: Sequence[str]) -> None:
    """Race with the seed 0, sweep the grid, and race with the seeds 1, 2 and so on; print what they found.

    `races.json` in `folder` has it after each race. What has ended in the folder is not made again. The `options` are
    those of `trt-sweep tune`. Raises SweepError where `folder` holds anything else, a race ends without an answer, or
    nothing of the grid keeps the limits.
    """
    asked = [*overrides, *options, *([] if config_dir is None else [f"--config-dir={config_dir}"])]
    kept = _kept(folder, asked)

    def once(name: str, make: Callable[[Path], None]) -> float:
        """Return the seconds that it took, now or in an earlier run."""
        if name not in kept["seconds"]:
            shutil.rmtree(folder / name, ignore_errors=True)  # begun, and not ended
            start = time.perf_counter()
            make(folder / name)
            kept["seconds"][name] = time.perf_counter() - start
            store.write_json(folder / KEPT, kept)
        took_s: float = kept["seconds"][name]
        return took_s

    races: list[Row] = []
    for seed in range(seeds):
        place = folder / f"race{seed}"
        took_s = once(place.name, functools.partial(_race, [*asked, f"--seed={seed}"]))
        content = race.read(place)
        assert content is not None
        races.append({**content, "wall_s": took_s, "winner": race.winner(table.load(place), content)})
        axes = races[0]["axes"]
        fixed = [given for given in overrides if given.split("=")[0] not in axes]
        grid_s = once("grid", functools.partial(_sweep, axes, fixed, config_dir))
        found = _judged(table.load(folder / "grid"), races, grid_s)
        store.write_json(folder / "races.json", found)
        print("  ".join(f"{name} {value}" for name, value in found["races"][-1].items()), flush=True)
    print("\n" + pd.DataFrame([found["summary"]]).T.to_string(header=False))
    print("results:", folder / "races.json")


def _kept(folder: Path, asked: list[str]) -> Row:
    """Return what was asked for in this folder, and the `seconds` of what has ended there."""
    if not (folder / KEPT).exists():
        parts.require_empty(folder)
        return {"asked": asked, "seconds": {}}
    kept: Row = json.loads((folder / KEPT).read_text())
    if kept["asked"] != asked:
        raise SweepError(f"--out={folder} holds the races of `{' '.join(kept['asked'])}`: give a new folder")
    return kept


def _race(arguments: Sequence[str], folder: Path) -> None:
    """Race once, in a process of its own."""
    command = [sys.executable, "-m", "trt_sweep", "tune", *arguments, f"--out={folder.absolute()}"]
    print(" ".join(command[1:]), flush=True)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    content = race.read(folder)
    if done.returncode or content is None or race.winner(table.load(folder), content) is None:
        said = done.stderr.strip().splitlines()
        raise SweepError(
            f"{' '.join(command[1:])} failed: {said[-1].removeprefix('error: ') if said else done.returncode}"
        )


def _sweep(axes: Mapping[str, Sequence[str]], fixed: Sequence[str], config_dir: Path | None, folder: Path) -> None:
    """Sweep all combinations of these values."""
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    configs = {
        number: compose.composed([*fixed, *search.overrides(settings)], config_dir)
        for number, settings in enumerate(combinations)
    }
    spawn.prepare()
    with Sweep(configs, folder.absolute()) as sweep:
        sweep.run()


def _judged(grid: pd.DataFrame, races: Sequence[Row], took_s: float) -> dict[str, Any]:
    """Return a row for each race, and a summary of them all."""
    fit = grid[grid["status"].eq("ok") & grid["latency_ms"].notna()]
    for limit in races[0]["limits"]:
        fit = fit[fit[limit["column"]].astype(float) <= limit["most"]]
    if fit.empty:
        raise SweepError("nothing of the grid was timed and keeps the limits: its table, above, says why")
    latency = fit.set_index("point_id")["latency_ms"].astype(float)
    best = {*recommend.judged(fit, "latency").group["point_id"]}
    rows = []
    for seed, raced in enumerate(races):
        winner = str(raced["winner"]["point_id"])
        (fate,) = (fate for fate in raced["road"] if fate["point_id"] == winner)
        rows.append(
            {
                "seed": seed,
                "winner": fate["settings"],
                "as_good": winner in best,
                "slower_percent": round(100 * (latency.get(winner, math.nan) / latency.min() - 1), 2),
                "points": raced["tried"],
                "seconds": round(raced["wall_s"], 1),
                "of_grid_percent": round(100 * raced["wall_s"] / took_s, 1),
                "ended": raced["ended"],
            }
        )
    found = pd.DataFrame(rows)
    summary = {
        "model": str(fit["model"].iloc[0]),
        "points_of_grid": len(grid),
        "grid_s": round(took_s, 1),
        "as_good_as_its_best": len(best),
        "races": len(rows),
        "winner_as_good_percent": round(100 * float(found["as_good"].mean()), 1),
        "slower_at_most_percent": float(found["slower_percent"].max()),
        "race_s": float(found["seconds"].median()),
        "of_grid_percent": float(found["of_grid_percent"].median()),
        "of_grid_at_most_percent": float(found["of_grid_percent"].max()),
    }
    environment = vars(versions.environment(devices.resolve("auto")))
    return {"summary": summary, "races": rows, "environment": environment}
