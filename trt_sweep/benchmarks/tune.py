"""Simulate races from recorded visits, and set beside them a search by the lowest mean of ten calls.

A simulated round is a recorded one, drawn with all of its visits: what the host did to one point it did to all. The
recorded rounds are then the whole truth, so that it is known which point is best, and which limits are broken.
Searches of the batch size follow, see `tune_sizes`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trt_sweep.benchmarks import tune_sizes
from trt_sweep.errors import SweepError
from trt_sweep.results import race, store, table
from trt_sweep.results.limits import BROKEN, KEPT, Limit
from trt_sweep.results.measured import Timing
from trt_sweep.results.record import columns
from trt_sweep.results.stats import racing, ranks, visits
from trt_sweep.sweep.tuning import LONGEST

GRID = 48  # visits of each point in a full grid
FEWEST = 3  # points that a race is worth
CAPTURED = 6  # visits, after which the GPU's work is captured once more
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Hold points that were visited in turn: what kind of sweep it was, their rows, and a row of visits for each."""

    kind: str
    rows: list[Row]
    medians: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """Return the fast level of each point."""
        found: np.ndarray = np.quantile(self.medians, visits.QUARTER, axis=1, method="inverted_cdf")
        return found


@dataclass
class Draw:
    """Hold a simulated race: who won, what it cost in visits, why it ended, and the points of which a limit is broken.

    `kept` are those of which a look called it kept, `dropped` those of which one called it broken, rightly or not.
    """

    winner: int | None
    visits: int
    ended: str
    broken: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)


def run(records: Path, out: Path, number: int, seed: int) -> None:
    """Simulate so many races from the visits below `records`, print the table and write `tune.json` into `out`.

    Raises SweepError for records without visits.
    """
    sources = list(_sources(records))
    if not sources:
        raise SweepError(f"--records={records} holds no {FEWEST} points that were visited in turn: give another folder")
    draw = np.random.default_rng(seed)
    kinds = list(dict.fromkeys(source.kind for source in sources))
    found = []
    for kind in kinds:
        these = [source for source in sources if source.kind == kind]
        share = number // len(kinds) + (kinds.index(kind) < number % len(kinds))
        found.append(_simulated(kind, these, share, draw))
        print(pd.DataFrame(found[-1:]).T.to_string(header=False), end="\n\n", flush=True)
    sizes = tune_sizes.simulated(max(number // 20, 1), draw)
    print(pd.DataFrame(sizes).T.to_string(header=False), end="\n\n", flush=True)
    store.write_json(out / "tune.json", {"records": records.name, "seed": seed, "races": found, "sizes": sizes})
    print("results:", out / "tune.json")


def _sources(records: Path) -> Iterator[Source]:
    """Yield what was visited in turn: the sweeps of `bench timing`, then those of any records and tables."""
    for file in sorted(records.rglob("sweeps.json")):
        for rows in json.loads(file.read_text(encoding="utf-8")):
            yield from _source(f"{len(rows)} names of one engine", rows)
    tables = [pd.read_csv(path) for path in sorted(records.rglob("*.csv"))]
    loaded = table.load(records)
    tables += [loaded] if len(loaded) else []
    for each in (one for one in tables if {"visit_group", "latency_ms_visits"} <= {*one}):
        rows = each[each["status"].eq("ok") & each["latency_ms_visits"].notna() & each["timed_with"].isna()]
        for _, group in rows.groupby(["model", "visit_group", "batch_size"], sort=False):
            yield from _source(f"{len(group)} points of one model", [_plain(row) for row in group.to_dict("records")])


def _plain(row: dict[Any, Any]) -> Row:
    """Return a row of a table as a record has it: lists for their text, and None for what is missing."""
    found = {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
    for key in ("latency_ms_visits", "anchor_ms_visits"):
        listed = found.get(key)
        if isinstance(listed, str):
            found[key] = json.loads(listed)
    return found


def _source(kind: str, rows: list[Row]) -> Iterator[Source]:
    medians = [row["latency_ms_visits"] for row in rows]
    if len(rows) >= FEWEST and len({len(each) for each in medians}) == 1:
        known = dict.fromkeys(("sweep_id", *columns(Timing)))
        one = {"sweep_id": "s", "visit_group": "g", "batch_size": 1, **dict.fromkeys(("anchor_ms_visits", "anchor_id"))}
        yield Source(kind, [known | row | one for row in rows], np.array(medians))


def _simulated(kind: str, sources: list[Source], number: int, draw: np.random.Generator) -> Row:
    """Race so often, and return what came of it; costs are in percent over the best point's time."""
    tied, chance, costs, chance_costs, shares, calls = [], [], [], [], [], []
    races, broken, kept, false, dropped = [], 0, 0, 0, 0
    for index in range(number):
        source = sources[index % len(sources)]
        limit = _limit(source, draw) if index % 2 else None
        found = _race(source, limit, draw)
        broken, kept = broken + len(found.broken), kept + len(found.kept)
        false += len(found.broken & found.kept)
        dropped += len(found.dropped - found.broken)
        races.append(found.ended)
        shares.append(found.visits / (GRID * len(source.rows)))
        if limit is not None:
            continue
        group, truth = _grid(source, draw), source.truth
        picked = _by_ten_calls(source, draw)
        assert found.winner is not None
        tied.append(found.winner in group)
        chance.append(picked in group)
        costs.append(100 * (truth[found.winner] / truth.min() - 1))
        chance_costs.append(100 * (truth[picked] / truth.min() - 1))
        calls.append(picked == int(truth.argmin()))
    return {
        "kind": kind,
        "points": len(sources[0].rows),
        "races": number,
        "limits_called_kept": kept,
        "limits_broken": broken,
        "broken_called_kept": false,
        "kept_called_broken": dropped,
        "winner_as_good_percent": _mean(tied),
        "ten_calls_as_good_percent": _mean(chance),
        "cost_percent": round(float(np.mean(costs)), 2),
        "cost_at_most_percent": round(max(costs), 2),
        "ten_calls_cost_percent": round(float(np.mean(chance_costs)), 2),
        "ten_calls_cost_at_most_percent": round(max(chance_costs), 2),
        "visits_of_grid_percent": round(100 * float(np.mean(shares)), 1),
        **{f"ended, {name}": races.count(name) for name in sorted(set(races))},
    }


def _mean(answers: list[bool]) -> float:
    return round(100 * float(np.mean(answers)), 1)


def _limit(source: Source, draw: np.random.Generator) -> Limit:
    """Draw a limit near the time of some point; half of them are for a share of calls."""
    most = float(draw.choice(source.truth)) * draw.uniform(0.95, 1.1)
    share = float(draw.choice([50.0, 75.0, 90.0])) if draw.random() < 0.5 else None
    return Limit("--max-latency", "latency_ms", most, "ms", share)


def _rounds(source: Source, number: int, draw: np.random.Generator) -> np.ndarray:
    """Return the visits of so many rounds, each drawn whole."""
    found: np.ndarray = source.medians[:, draw.integers(source.medians.shape[1], size=number)]
    return found


def _row(source: Source, place: int, medians: np.ndarray) -> Row:
    """Return the row of a point after these visits."""
    row = source.rows[place]
    captures = min(int(row["gpu_ms_captures"] or 1), 1 + len(medians) // CAPTURED)
    level = visits.fast_level(medians, float(row["latency_ms_min"])).value
    return row | {"latency_ms": level, "latency_ms_visits": medians.tolist(), "gpu_ms_captures": captures}


def _race(source: Source, limit: Limit | None, draw: np.random.Generator) -> Draw:
    """Race the points of a source, by no more visits than a full grid makes."""
    goal = race.Goal(limits=() if limit is None else (limit,))
    state, drawn = race.Race(goal), _rounds(source, LONGEST * GRID, draw)
    inside = list(range(len(source.rows)))
    state.begin(len(inside))
    found = Draw(None, 0, "all visits are made")
    found.broken = {place for place in inside if limit is not None and _is_broken(source, place, limit)}
    for number in range(1, drawn.shape[1] + 1):
        found.visits += len(inside)
        paid = found.visits >= GRID * len(source.rows)
        if not (racing.is_look(number) or paid):
            continue
        level = state.next_level()
        points = {str(place): _contestant(source, place, drawn[place, :number], goal, level) for place in inside}
        told = {place: [each.verdict for each in points[str(place)].verdicts] for place in inside}
        found.kept |= {place for place in inside if KEPT in told[place]}
        found.dropped |= {place for place in inside if BROKEN in told[place]}
        look = state.look(points, {key: key for key in points})
        inside = [int(key) for key in look.left]
        found.winner = None if look.best is None else int(look.best)
        if look.ended is not None or paid:
            found.ended = look.ended or found.ended
            break
    return found


def _contestant(source: Source, place: int, medians: np.ndarray, goal: race.Goal, level: float) -> race.Contestant:
    over = [float(ms > limit.most) for limit in goal.limits for ms in medians]
    return race.contestant(_row(source, place, medians), over, goal, level)


def _is_broken(source: Source, place: int, limit: Limit) -> bool:
    """Return whether a limit is broken by the recorded visits, which are all that a race draws from."""
    if limit.percentile is None:
        return bool(max(source.truth[place], source.rows[place]["gpu_ms"] or 0.0) > limit.most)
    return float((source.medians[place] > limit.most).mean()) > 1 - limit.percentile / 100


def _grid(source: Source, draw: np.random.Generator) -> set[int]:
    """Return the points of a full grid that nothing proves to be worse than its best."""
    drawn = _rounds(source, GRID, draw)
    rows = [_row(source, place, drawn[place]) for place in range(len(source.rows))]
    estimates = [race.estimate(row, "latency") for row in rows]
    return {place for place, (best, _) in enumerate(ranks.rank_sets(estimates, range(len(rows)))) if best == 1}


def _by_ten_calls(source: Source, draw: np.random.Generator) -> int:
    """Return the point whose calls were fastest in a single visit, each made by itself, one after the other.

    The median of a visit's calls stands for the mean of ten calls, which scatters no less.
    """
    places = draw.integers(source.medians.shape[1], size=len(source.rows))
    return int(source.medians[np.arange(len(places)), places].argmin())
