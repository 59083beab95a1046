"""Draw the report's figures for plotly.js; the page gives them light or dark colours."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from trt_sweep.analysis.report import pareto, text
from trt_sweep.analysis.report.document import Plot
from trt_sweep.analysis.report.effects import METRICS, Effect
from trt_sweep.analysis.report.pairs import TIMES
from trt_sweep.analysis.report.sections import Section
from trt_sweep.analysis.report.tables import fronts
from trt_sweep.results.axes import COMPARABLE

# M. Okabe and K. Ito, Color Universal Design (2008), without black and yellow, which one of the backgrounds swallows;
# the shape of the marker says the same once more.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
TIMED = 30  # points of a figure of times
GROUPS = 6  # groups of points that a figure tells apart
ROW = 22  # pixels of a line of a figure
MARGIN = 90


def _style(index: int) -> dict[str, Any]:
    return {"color": COLORS[index % len(COLORS)], "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 9}


def time_plot(place: Section) -> list[Plot]:
    """Draw the fastest points of each piece of work with their intervals, by the GPU's work or else by latency."""
    ok = place.rows[place.rows["status"] == "ok"]
    clock = pareto.clock(ok) if len(ok) else "latency_ms"
    ok = ok[ok[clock].astype(float) > 0]
    groups = [group for _, group in ok.groupby(list(COMPARABLE), dropna=False, sort=False) if len(group) > 1]
    return [_times(place, group.sort_values(clock, kind="stable").head(TIMED), clock) for group in groups[:GROUPS]]


def _times(place: Section, rows: pd.DataFrame, clock: str) -> Plot:
    needed = ["model", "batch_size", "sweep_id", *place.axes, clock, f"{clock}_ci_low", f"{clock}_ci_high"]
    content = rows[list(dict.fromkeys(needed))].to_dict("records")
    first = content[0]
    axes = [axis for axis in place.axes if axis not in ("model", "batch_size", "input_shapes")]
    labels = [f"{index + 1}. {text.label(row, axes)}" for index, row in enumerate(content)]
    ends = [_ends(row, clock) for row in content]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [float(row[clock]) for row in content],
        "y": labels,
        "marker": _style(0),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - float(row[clock]) for row, (_, high) in zip(content, ends, strict=True)],
            "arrayminus": [float(row[clock]) - low for row, (low, _) in zip(content, ends, strict=True)],
        },
        "text": [text.time(row, clock) for row in content],
        "hovertemplate": "%{y}<br>%{text} ms<extra></extra>",
    }
    layout = {
        "height": MARGIN + ROW * len(content),
        "xaxis": {"title": {"text": f"{clock.replace('_', ' ')}"}, "type": "log"},
        "yaxis": {"autorange": "reversed", "automargin": True},
    }
    caption = (
        f"{first['model']}, batch {first['batch_size']} ({first['sweep_id']}): the fastest points with their intervals"
    )
    return Plot(caption, [trace], layout)


def _ends(row: dict[Any, Any], clock: str) -> tuple[float, float]:
    """Return the interval; the value itself where there is none, or one that says nothing."""
    low, high = row[f"{clock}_ci_low"], row[f"{clock}_ci_high"]
    if text.missing(low) or text.missing(high) or not 0 < low <= high <= low * text.VAST:
        return float(row[clock]), float(row[clock])
    return float(low), float(high)


def effect_plot(place: Section) -> list[Plot]:
    """Draw what each value of each axis changes, by the clocks."""
    traces, lines = [], 0
    for index, clock in enumerate(TIMES):
        shown = [(axis.title, effect) for axis in place.effects for effect in _largest(axis.effects, clock)]
        if shown:
            lines = max(lines, len(shown))
            traces.append(_effects(clock, shown, index))
    if not traces:
        return []
    layout = {
        "height": MARGIN + 40 + ROW * lines,
        "xaxis": {"title": {"text": "change in %"}, "zeroline": True},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    return [Plot("Change of a call's time with each axis, all others held fixed", traces, layout)]


def _largest(effects: list[Effect], clock: str) -> list[Effect]:
    found = [effect for effect in effects if effect.metric == clock]
    return sorted(found, key=lambda effect: -abs(effect.value))[:GROUPS]


def _effects(clock: str, shown: list[tuple[str, Effect]], index: int) -> dict[str, Any]:
    percent = [100 * math.expm1(effect.value) for _, effect in shown]
    known = [effect.high - effect.low < math.log(text.VAST) for _, effect in shown]
    high = [100 * math.expm1(effect.high) if told else math.nan for (_, effect), told in zip(shown, known, strict=True)]
    low = [100 * math.expm1(effect.low) if told else math.nan for (_, effect), told in zip(shown, known, strict=True)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": METRICS[clock],
        "x": percent,
        "y": [f"{axis}: {effect.base} → {effect.level}" for axis, effect in shown],
        "marker": _style(index),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [0 if math.isnan(end) else end - at for end, at in zip(high, percent, strict=True)],
            "arrayminus": [0 if math.isnan(end) else at - end for end, at in zip(low, percent, strict=True)],
        },
        "text": [text.change(effect.value, effect.low, effect.high) for _, effect in shown],
        "hovertemplate": "%{y}<br>%{text}<extra></extra>",
    }


def front_plot(place: Section) -> list[Plot]:
    """Build time against a call's time; points on the front are filled."""
    rows = place.rows.assign(build_s=pareto.build_seconds(place.rows), front=fronts(place))
    rows = rows[(rows["status"] == "ok") & rows["build_s"].notna()]
    if len(rows) < 2:
        return []
    clock = pareto.clock(rows)
    rows = rows[rows[clock].astype(float) > 0]
    traces = []
    for index, (backend, group) in enumerate(rows.groupby("backend", sort=False)):
        filled = [SYMBOLS[index % GROUPS] + ("" if on else "-open") for on in group["front"]]
        axes = list(dict.fromkeys(("model", *place.axes)))
        content = group[axes].to_dict("records")
        traces.append(
            {
                "type": "scattergl" if len(rows) > 1000 else "scatter",
                "mode": "markers",
                "name": str(backend),
                "x": [float(value) for value in group["build_s"]],
                "y": [float(value) for value in group[clock]],
                "text": [text.label(row, axes) for row in content],
                "marker": _style(index) | {"symbol": filled},
                "hovertemplate": "%{text}<br>build %{x:.3g} s, %{y:.4g} ms<extra></extra>",
            }
        )
    layout = {
        "height": 420,
        "xaxis": {"title": {"text": "build s"}},
        "yaxis": {"title": {"text": clock.replace("_", " ")}, "type": "log"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    return [
        Plot(
            "Build time and a call's time; on the front (filled) no other point of the same work is better",
            traces,
            layout,
        )
    ]
