"""Compare the layers of two profiles: which were fused or split, which are faster, and what is noise."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from trt_sweep.analysis.layers import matching
from trt_sweep.analysis.layers.matching import Layer
from trt_sweep.results.layers.median import median_interval
from trt_sweep.results.stats import differences
from trt_sweep.results.stats.estimates import Estimate, student
from trt_sweep.results.stats.visits import LEVEL

UNCHANGED, FASTER, SLOWER = "unchanged", "faster", "slower"
FUSED, SPLIT, REGROUPED = "fused", "split", "regrouped"
PRECISION, ONLY_HERE, ONLY_THERE = "changed precision", "only here", "only there"
CHANGES = (FASTER, SLOWER, FUSED, SPLIT, REGROUPED, PRECISION, ONLY_HERE, ONLY_THERE, UNCHANGED)
COLUMNS = (
    *("change", "modules", "here", "there", "precision_here", "precision_there"),
    *("here_ms", "there_ms", "difference_ms", "proved"),
)
# How far one run's time of a layer may lie from another's, as a relative standard deviation, where too few layers are
# alike to tell: from what the layers of one squeezenet1_1 engine moved by between two runs of three calls on an H200
# (13 %; resnet18's moved by 64 %, so short a run is not warmed up).
RUN_SPREAD = 0.1
CONTROLS = 8  # layers alike in both, from which the spread between the runs is told


def compare(here: pd.DataFrame, there: pd.DataFrame) -> pd.DataFrame:
    """Return what becomes of the layers of `here` in `there`, one row for each group that does the same work.

    Both are from `load`. The columns are
    - `change`, seen on the way from here to there: `faster` or `slower` (one layer, and the samples prove it), `fused`
      (several became one), `split`, `regrouped` (several became others), `changed precision`, `only here`,
      `only there`, and `unchanged`: nothing proved
    - `modules`; `here` and `there`: positions of the layers in either table; `precision_here`, `precision_there`
    - `here_ms`, `there_ms`: sums of the layers' medians, over all rows those of the tables; `difference_ms`
    - `proved`: whether the two times differ by more than chance, corrected for the number of groups (`differ`).
      Only groups that read the same shapes are judged; `attrs["unlike"]` counts others that are on both sides

    Samples of one run do not show what another run would find. So the spread of layers that are alike in both runs is
    allowed for (`attrs["run_spread"]`, relative, from `attrs["controls"]` layers, or `RUN_SPREAD`). All of a run's
    layers being slower therefore proves nothing. Nothing is claimed of one engine (`attrs["same_engine"]`), and fewer
    than six calls (`attrs["calls"]`) prove nothing.
    """
    groups = matching.groups(here, there)
    layers = [table.to_dict("records") for table in (here, there)]
    sides = [[[layers[side][row] for row in group[side]] for side in (0, 1)] for group in groups]
    same_engine = here.attrs["profile"]["engine_id"] == there.attrs["profile"]["engine_id"]
    spread, controls = _run_spread(sides)
    both = [number for number, (before, after) in enumerate(sides) if before and after]
    alike = [number for number in both if _reads(sides[number][0]) == _reads(sides[number][1]) is not None]
    rows = []
    for number, (before, after) in enumerate(sides):
        proved = number in alike and not same_engine and differ(before, after, spread, len(alike))
        times = [sum(layer["median_ms"] for layer in side) for side in (before, after)]
        formats = [_precision(side) for side in (before, after)]
        rows.append(
            {
                "change": _change(groups[number], proved, times, formats),
                "modules": list(dict.fromkeys(path for layer in before + after for path in layer["modules"] or [])),
                "here": groups[number][0],
                "there": groups[number][1],
                "precision_here": formats[0],
                "precision_there": formats[1],
                "here_ms": times[0],
                "there_ms": times[1],
                "difference_ms": times[1] - times[0],
                "proved": proved,
            }
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    calls = min((len(layer["samples"]) for side in layers for layer in side), default=0)
    table.attrs |= {"same_engine": same_engine, "run_spread": spread, "controls": controls, "calls": calls}
    table.attrs["unlike"] = len(both) - len(alike)
    return table


def sums(comparison: pd.DataFrame) -> pd.DataFrame:
    """Sum the comparison by change, in the order of `CHANGES`: how many groups and layers, and their times."""
    counted = comparison.assign(
        groups=1, layers_here=comparison["here"].map(len), layers_there=comparison["there"].map(len)
    )
    columns = ["groups", "layers_here", "layers_there", "here_ms", "there_ms", "difference_ms"]
    found = counted.groupby("change")[columns].sum()
    return found.reindex([change for change in CHANGES if change in found.index])


def _change(group: matching.Group, proved: bool, times: list[float], formats: list[str | None]) -> str:
    here, there = map(len, group)
    if not here or not there:
        return ONLY_HERE if here else ONLY_THERE
    if here > 1 or there > 1:
        return FUSED if there == 1 else SPLIT if here == 1 else REGROUPED
    if formats[0] != formats[1] and None not in formats:
        return PRECISION
    if not proved:
        return UNCHANGED
    return FASTER if times[1] < times[0] else SLOWER


def _precision(side: list[Layer]) -> str | None:
    return "+".join(dict.fromkeys(layer["precision"] for layer in side if layer["precision"])) or None


def _reads(side: list[Layer]) -> frozenset[str] | None:
    """Return the shapes of what layers read from others, in any format; None where the engine does not tell them."""
    if any(layer["inputs"] is None for layer in side):
        return None
    written = {name for layer in side for name in layer["output_names"]}
    tensors = [pair for layer in side for pair in zip(layer["inputs"], layer["input_names"], strict=True)]
    return frozenset(shape.split(" ")[0] for shape, name in tensors if name not in written)


def _run_spread(sides: list[list[list[Layer]]]) -> tuple[float, int]:
    """Return the relative standard deviation between runs, and the number of layers it is from.

    It is the root mean square of how the same layers moved. No common factor is taken off: a slower clock is part of a
    run.
    """
    pairs = [(before[0], after[0]) for before, after in sides if len(before) == len(after) == 1]
    times = [(one["median_ms"], other["median_ms"]) for one, other in pairs if _what(one) == _what(other)]
    moved = [math.log(other / one) for one, other in times if min(one, other) > 0]
    return (between_runs(moved), len(moved)) if len(moved) >= CONTROLS else (RUN_SPREAD, 0)


def between_runs(moved: list[float]) -> float:
    """Return the relative standard deviation between runs, from the logarithms of ratios of the same layers' times."""
    return float(np.sqrt(np.mean(np.square(moved)) / 2))


def _what(layer: Layer) -> tuple[object, ...]:
    """Return what a layer is, without the running number at the end of its name."""
    return layer["name"].rpartition("_")[0], *(layer[column] for column in ("type", "tactic", "inputs", "outputs"))


def differ(before: list[Layer], after: list[Layer], spread: float, comparisons: int) -> bool:
    """Return whether the sums of a group's layers, call by call, differ by more than runs and chance explain.

    `spread` is relative; `comparisons` is how many groups are judged.
    """
    estimates = []
    for side in (before, after):
        calls = min(len(layer["samples"]) for layer in side)
        series = np.sum([layer["samples"][:calls] for layer in side], axis=0, dtype=float)
        if series.min() <= 0:
            return False
        low, high = median_interval(series)
        half = math.log(high / low) / 2 / student(math.inf, (1 + LEVEL) / 2)
        estimates.append(Estimate(float(np.median(series)), math.hypot(half, spread)))
    return differences.difference((1, -1), estimates).side(comparisons) != 0
