"""Say what a race has come to: the answer in three lines, and the road to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.analysis.report import recommend, text
from trt_sweep.analysis.report.recommend import Row
from trt_sweep.errors import SweepError
from trt_sweep.results import files, race, ranking
from trt_sweep.results.axes import PER_ITEM
from trt_sweep.results.limits import shown
from trt_sweep.results.record import BASELINE
from trt_sweep.sweep.labels import count
from trt_sweep.sweep.phase_times import clock
from trt_sweep.sweep.tuning import DROPPED, FILE, IN, INTERRUPTED, UNTRIED, Fate

UNITS = {"latency": "ms", "throughput": "/s", "energy": "mJ", "memory": "B"}
HEAD = ("point", "outcome", "visits", "after", "figure", "why")
KEYS = ("objective", "delta", "limits", "ended", "nearest", "took_s", "tried", "combinations", "refused", "road")
FATE = (*(item.name for item in dataclasses.fields(Fate)), "keeps", "likely", "limits")
Content = Mapping[str, Any]


def read(folder: Path) -> Content | None:
    """Return what a race has left in a sweep's folder; None where there was none, or its file cannot be read."""
    try:
        found = files.read_json(folder / FILE)
    except (OSError, ValueError):
        return None
    told = {*KEYS} <= found.keys() if isinstance(found, dict) else False
    return found if told and all({*FATE} <= fate.keys() for fate in found["road"]) else None


def winner(rows: pd.DataFrame, content: Content) -> Row | None:
    """Return the row to use: the best of those left that surely keep the limits, else whose figures do, else of all.

    Of several that nothing tells apart it is the one that a report names.
    """
    left = [fate for fate in content["road"] if fate["what"] == IN and fate["wins"]]
    sure = [fate["point_id"] for fate in left if fate["keeps"]]
    likely = [fate["point_id"] for fate in left if fate["likely"]]
    these = sure or likely or [fate["point_id"] for fate in left]
    among = rows[rows["point_id"].isin(these) & rows["status"].eq("ok")]
    objective = str(content["objective"])
    column = race.OBJECTIVES[objective]
    among = among[among[column].astype(float) > 0]
    if among.empty:
        return None
    if objective == "memory":
        return among.sort_values(column, kind="stable").iloc[0].to_dict()
    return recommend.judged(among, objective).group.iloc[0].to_dict()


def lines(rows: pd.DataFrame, content: Content) -> list[str]:
    """Return the answer in three lines; raise SweepError where nothing keeps the limits."""
    row = winner(rows, content)
    if row is None:
        raise SweepError(none(content))
    road = {fate["point_id"]: fate for fate in content["road"]}
    fate, objective = road[row["point_id"]], str(content["objective"])
    figures = [f"{objective} {figure(row, objective)}, {_proof(content, fate)}", *_against(rows, row, objective)]
    limits = [told.replace(" kept: ", " is kept: ") for told in fate["limits"]]
    counts = f"{count(content['tried'], 'point')}, of {count(content['combinations'], 'combination')}"
    ended = f"ended after {clock(content['took_s'])}, as {content['ended']} ({counts}{_missing(content)})"
    return [f"{row['model']}: use {fate['settings']}", "  " + "; ".join(figures), "  " + "; ".join([*limits, ended])]


def figure(row: Row, objective: str) -> str:
    """Return what a row has of the objective, with its interval and unit."""
    value = row[race.OBJECTIVES[objective]]
    if pd.isna(value):
        return "–"
    ends = ""
    low = high = math.nan
    if objective == "throughput":
        low, high = ranking.throughput_interval(row)
    elif objective == "latency" and not pd.isna(row["latency_ms_ci_low"]):
        low, high = float(row["latency_ms_ci_low"]), float(row["latency_ms_ci_high"])
    if not math.isnan(low):
        ends = f" [{low:.4g}, {high:.4g}]"
    return shown(float(value), UNITS[objective], ends)


def road(rows: pd.DataFrame, content: Content) -> list[tuple[str, ...]]:
    """Return a line for each point, those that went furthest first: what became of it, when, and why."""
    by_id = {row["point_id"]: row for row in rows.to_dict("records")}
    order = {IN: 0, DROPPED: 1}
    found = sorted(content["road"], key=lambda fate: (order.get(fate["what"], 2), -fate["visits"], -fate["after_s"]))
    objective = str(content["objective"])
    return [
        (
            fate["label"],
            fate["what"],
            str(fate["visits"] or "–"),
            clock(fate["after_s"]) if fate["what"] != IN else "–",
            figure(by_id[fate["point_id"]], objective) if fate["point_id"] in by_id else "–",
            "; ".join(filter(None, [f"the same engine as {fate['same']}" * bool(fate["same"]), fate["why"]]))
            or "; ".join(["only to compare with"] * (not fate["wins"]) + fate["limits"]),
        )
        for fate in found
    ]


def _proof(content: Content, fate: Content) -> str:
    """Say how well it is known that nothing else that was tried is better."""
    left = [one for one in content["road"] if one["what"] == IN and one["wins"] and one["same"] is None]
    dropped = sum(one["what"] == DROPPED for one in content["road"])
    if content["limits"] and not fate["keeps"]:
        return "whether it keeps the limits cannot be told"
    unsure = [one for one in left if not one["keeps"]]
    if content["limits"] and len(left) == 1 + len(unsure) > 1:
        return f"the best that surely keeps the limits; of {count(len(unsure), 'other')} that cannot be told"
    if len(left) == 1:
        return f"proved: {count(dropped, 'other')} dropped" if dropped else "the only one to choose from"
    if content["ended"] == race.ALIKE:
        return f"one of {len(left)} that are proved alike to within {100 * content['delta']:.3g} %"
    return f"not proved: one of {len(left)} that nothing measured tells apart"


def _against(rows: pd.DataFrame, row: Row, objective: str) -> Sequence[str]:
    """Say how much more eager takes, in the precision of what is not quantized."""
    precision: Any = row["precision"] if pd.isna(row["base_precision"]) else row["base_precision"]
    eager = rows[rows["backend"].eq(BASELINE) & rows["precision"].eq(precision) & rows["status"].eq("ok")]
    for name in PER_ITEM:
        eager = eager[eager[name].eq(row[name])]
    eager = eager[eager["point_id"].ne(row["point_id"])]
    if eager.empty or objective not in race.VISITED:
        return []
    return [f"{text.ratio(recommend.more(eager.iloc[0].to_dict(), row, objective))} vs eager {precision}"]


def _missing(content: Content) -> str:
    """Say how many points were planned and not tried, and why; nothing where all were."""
    missing = sum(one["what"] == UNTRIED for one in content["road"])
    why = "not tried:" if content["ended"] == INTERRUPTED else "there was no time for"
    return f"; {why} {count(missing, 'more point')}" * bool(missing)


def none(content: Content) -> str:
    """Say that nothing keeps the limits, and what came nearest; or why nothing that may win was timed."""
    if content["nearest"] is not None:
        return f"nothing that was tried keeps the limits; nearest came {content['nearest']}{_missing(content)}"
    first = next(fate for fate in content["road"] if fate["wins"])
    return f"nothing that was asked for could be timed; the first, {first['label']}: {first['why']}"
