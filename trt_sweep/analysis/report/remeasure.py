"""Measure what is recommended again, before it is named: with its nearest rivals and the defaults, in a new sweep."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.report import recommend
from trt_sweep.analysis.report.recommend import Advice, Row
from trt_sweep.config.groups import IsolationConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.results import table
from trt_sweep.results.record import Record
from trt_sweep.sweep import command
from trt_sweep.sweep.again import ELSEWHERE, configured
from trt_sweep.sweep.sweep import Sweep

NEAREST = 4  # ties that are measured again


def again(advices: Sequence[Advice], folder: Path, out: Path | None) -> list[Advice]:
    """Return the advices with what a second measurement says of them; measure one sweep, in rounds, for each sweep.

    `folder` is the one that the table was loaded from. Each second sweep has a new folder in `out`, or beside the first
    one. Raise SweepError, before anything is built, where a point cannot be made again: without its config.json, on
    another GPU, with other versions, or where nothing is recommended.
    """
    folder = folder.absolute()
    by_sweep: dict[Path, dict[str, Path]] = {}
    for advice in advices:
        for row in _candidates(advice):
            path = folder / str(row["folder"])
            by_sweep.setdefault(path.parent.parent, {})[str(row["point_id"])] = path
    if not by_sweep:
        raise SweepError("--remeasure has nothing to measure: no point is recommended")
    checked = {first: [_checked(path) for path in points.values()] for first, points in by_sweep.items()}
    rows = {
        first: _measured(first, points, out.absolute() if out else first.parent) for first, points in checked.items()
    }
    found = []
    for advice in advices:
        these, second = _candidates(advice), None
        if these:
            measured = rows[(folder / str(these[0]["folder"])).parent.parent]
            measured = measured[measured["point_id"].isin([row["point_id"] for row in these])]
            second = recommend.judged(measured, advice.objective)
        found.append(dataclasses.replace(advice, second=second))
    return found


def _candidates(advice: Advice) -> list[Row]:
    """Return the winner, the runner-up, the nearest ties, one of each measurement, and the defaults."""
    if advice.winner is None:
        return []
    rows = [advice.winner, *(rows.iloc[0].to_dict() for rows in advice.alike[1 : NEAREST + 1])]
    rows += [row for row in (advice.runner_up, advice.defaults) if row is not None]
    return list({row["point_id"]: row for row in rows}.values())


def _checked(path: Path) -> tuple[SweepConfig, Record]:
    """Return the configuration and the record of a point that can be made again here, as far as is known by now."""
    found, record = configured(path, "--remeasure")
    isolation = found.isolation
    if isolation.mode == "job":  # a process for each point has no rounds to interleave
        isolation = IsolationConfig(max_jobs=isolation.max_jobs)
    # Built anew, and by nobody beside the timing.
    found = dataclasses.replace(found, cache_dir=None, build_workers=0, profile=False, isolation=isolation)
    return dataclasses.replace(found, plan=False, resume=None, retry=[]), record


def _measured(first: Path, points: list[tuple[SweepConfig, Record]], beside: Path) -> pd.DataFrame:
    """Return the table of a second sweep of these points of the sweep in `first`."""
    place = beside / f"{first.name}-remeasured-{secrets.token_hex(2)}"
    # One set of options for all; a sweep that was resumed with others has points of both.
    options = vars(points[0][0].options)
    configs = {number: SweepConfig(**vars(config.point), **options) for number, (config, _) in enumerate(points)}
    with command.surroundings(first):
        try:
            sweep = Sweep(configs, place, like=[record for _, record in points])
        except (SweepError, OSError) as error:
            shutil.rmtree(place, ignore_errors=True)
            raise SweepError(f"--remeasure is refused: {one_line(error)}; {ELSEWHERE}") from error
        with sweep:
            sweep.run()
    return table.load(place)
