"""Say in sentences what CUDA graphs gained, and where they would gain more."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from trt_sweep.results import ranking
from trt_sweep.results.axes import COMPARABLE, SETTINGS, moving_with

GAINS = 4  # of CUDA graphs that a note names


def notes(table: pd.DataFrame) -> list[str]:
    """Return the notes on points that wait for the host: how many, what CUDA graphs gained, and which to try."""
    return [*_launch_bound(table), *to_try(table)]


def _launch_bound(table: pd.DataFrame) -> list[str]:
    """Tell how many points wait for the host, and what CUDA graphs gained them, where that was measured."""
    bound = table[table["launch_bound"].fillna(False).astype(bool) & (table["status"] == "ok")]
    if bound.empty:
        return []
    gains = _gains_of_cuda_graphs(table, bound)
    more = [f"and {len(gains) - GAINS} more"] * (len(gains) > GAINS)
    gained = f"with cuda_graphs=true: {', '.join([*gains[:GAINS], *more])}"
    return [
        f"{len(bound)} of {len(table)} points are launch-bound: issuing a call takes the host more than 0.8 of the "
        "GPU's time for it, so latency times the host; "
        + (gained if gains else "cuda_graphs=true or a larger batch_size may help")
    ]


def _gains_of_cuda_graphs(table: pd.DataFrame, bound: pd.DataFrame) -> list[str]:
    """Return both latencies of each of the points `bound` that has a twin with CUDA graphs.

    Twins are not found by their engine, which another build of the same may write in other bytes.
    """
    same = [axis for axis in SETTINGS if axis not in ("cuda_graphs", *moving_with("cuda_graphs"))]
    keys = [*COMPARABLE, "time_at", *same]
    figures = ["latency_ms", *ranking.VISITED]
    graphs = table["cuda_graphs"].fillna(False).astype(bool)
    with_graphs = table[graphs & (table["status"] == "ok")].drop_duplicates(keys)
    figures = [name for name in figures if name not in keys]
    without = bound[~graphs[bound.index]][[*keys, "model", *figures]]
    both = without.merge(with_graphs[[*keys, *figures]], on=keys, suffixes=("", "_after"))
    return list(dict.fromkeys(map(_gain, both.to_dict("records"))))


def _gain(row: Mapping[Hashable, Any]) -> str:
    """Return a point's latency before and after, with the ratio where the two are told apart."""
    before, after = row["latency_ms"], row["latency_ms_after"]
    names = ("latency_ms", *ranking.VISITED)
    # Rows of one sweep: the key of the merge has it once.
    later: dict[Hashable, Any] = {name: row.get(f"{name}_after", row[name]) for name in names}
    ratio, low, high = ranking.ratio(row, later)
    apart = low is not None and high is not None and not low <= 1 <= high
    gained = f"{before:.3g} to {after:.3g} ms, {ratio:.2f}×" + (f" [{low:.2f}, {high:.2f}]" if apart else "")
    shown = gained if apart else f"{before:.3g} and {after:.3g} ms, not told apart"
    return f"{row['model']} {row['backend']} {row['precision']} {shown}"


def to_try(table: pd.DataFrame) -> list[str]:
    """Tell of a point without CUDA graphs whose GPU works for less time than the fastest call with them takes."""
    ok = table[(table["status"] == "ok") & table["latency_ms"].notna()]
    ok = ok.assign(**{name: ok[name].fillna(False).astype(bool) for name in ("cuda_graphs", "launch_bound")})
    found = []
    for _, rows in ok.groupby([*COMPARABLE], dropna=False, sort=False):
        fastest = rows.sort_values("latency_ms").iloc[0]
        untried = rows["launch_bound"] & ~rows["backend"].isin(rows[rows["cuda_graphs"]]["backend"])
        least = rows[untried & (rows["gpu_ms_ci_high"] < fastest["latency_ms_ci_low"])]
        if len(least) and fastest["cuda_graphs"]:
            best = least.sort_values("gpu_ms").iloc[0]
            found.append(
                f"{best['model']} {best['backend']} {best['precision']} takes {best['gpu_ms']:.3g} ms of the GPU's "
                f"work, and waits for the host; the fastest call takes {fastest['latency_ms']:.3g} ms: try "
                f"backend={best['backend']} cuda_graphs=true too"
            )
    return found
