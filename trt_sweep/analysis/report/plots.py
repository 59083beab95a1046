"""Draw the report's figures for plotly.js; the page gives them light or dark colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trt_sweep.analysis.report import pareto, recommend, sentences, text
from trt_sweep.analysis.report.answer import Answer
from trt_sweep.analysis.report.document import Plot
from trt_sweep.analysis.report.effects import METRICS, Axis, at_models
from trt_sweep.analysis.report.pairs import TIMES
from trt_sweep.analysis.report.sections import Section
from trt_sweep.results.record import BASELINE
from trt_sweep.results.stats.differences import Difference

# M. Okabe and K. Ito, Color Universal Design (2008), without black and yellow, which one of the backgrounds swallows;
# the shape of the marker says the same once more.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
GREY = "#999999"  # of eager, the one that nobody chose
LINES = 9  # of a small figure
LONG = 16  # letters of a name beside a figure
ROW = 24  # pixels of a line of a figure
MARGIN = 46  # pixels below and above the lines
TINY = 1e-300  # as only a damaged record has it: such numbers lose their digits
DOTS = {"latency_ms": "●", "gpu_ms": "■"}  # the markers of the clocks


def log_axis(title: str, values: Iterable[float]) -> dict[str, Any]:
    """Return a logarithmic axis whose ticks are plain numbers: round ones, and a few at least."""
    found = [value for value in values if TINY < value < 1 / TINY]
    low, high = (min(found), max(found)) if found else (1.0, 1.0)
    low, high = low / 1.1, high * 1.1
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = [digit * 10.0**power for power in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    else:
        step = 10.0 ** math.floor(math.log10(high - low))
        step = next(step * part for part in (1, 0.5, 0.2, 0.1) if (high - low) / (step * part) >= 3)
        ticks = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    names = [np.format_float_positional(tick, precision=6, fractional=False, trim="-") for tick in ticks]
    reach = [math.log10(low), math.log10(high)]
    return {"title": {"text": title}, "type": "log", "range": reach, "tickvals": ticks, "ticktext": names}


def answer_plot(answer: Answer, objective: str) -> Plot:
    """Draw what the answer takes beside what it is set against, as bars with their intervals."""
    column, _, unit = recommend.OBJECTIVES[objective]
    bars = [(_short(base.row, base.name), base.row) for base in answer.bases]
    bars = [*sorted(bars, key=lambda bar: bar[1]["backend"] != BASELINE), ("this answer", answer.winner)]
    values = [float(row[column]) for _, row in bars]
    ends = [sentences.ends(row, objective) for _, row in bars]
    ends = [_known(*end) or (value, value) for end, value in zip(ends, values, strict=True)]
    colors = [GREY if name.startswith(BASELINE) else COLORS[4] for name, _ in bars[:-1]]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": values,
        "y": [name for name, _ in bars],
        "marker": {"color": [*colors, COLORS[0]]},
        "error_x": _error(values, ends),
        "hovertext": [f"{name}: {sentences.figure(row, objective)}" for name, row in bars],
        "hoverinfo": "text",
    }
    furthest = max(high for _, high in ends)
    shown = [f"{text.number(value, '.3g')} {unit}" for value in values]
    layout = {
        "height": 34 + 26 * len(bars),
        "margin": {"l": 10, "r": 10, "t": 4, "b": 24},
        "xaxis": {"range": [0, furthest * 1.3], "nticks": 5},
        "yaxis": {"autorange": "reversed", "automargin": True},
        "bargap": 0.35,
        "annotations": [
            {"x": high, "y": name, "text": f" {value}", "xanchor": "left", "showarrow": False}
            for (name, _), (_, high), value in zip(bars, ends, shown, strict=True)
        ],
    }
    name = sentences.NAMES.get(objective, objective)
    return Plot(f"{name} in {unit}, with 95 % intervals", [trace], layout)


def _short(row: recommend.Row, name: str) -> str:
    return name if row["backend"] == BASELINE else "the defaults"


def _known(low: float, high: float) -> tuple[float, float] | None:
    """Return an interval, or None for one that says nothing."""
    return (low, high) if 0 < low <= high <= low * text.VAST else None


def _error(values: Sequence[float], ends: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, ends, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, ends, strict=True)],
        "thickness": 1.5,
        "width": 4,
    }


def clocks(objective: str) -> tuple[str, ...]:
    """Return the clocks, that of the objective first."""
    return TIMES if objective == "gpu" else TIMES[::-1]


def effect_plot(place: Section, axis: Axis, objective: str) -> Plot | None:
    """Draw what each value of an axis changes, by both clocks: at each model where there is room, else on average."""
    models = place.rows["model"].nunique() > 1
    shown = {clock: _changes(place, axis, clock, models) for clock in clocks(objective)}
    if max(map(len, shown.values())) > LINES:
        shown = {clock: _changes(place, axis, clock, False) for clock in shown}
    every = list(dict.fromkeys(name for found in shown.values() for name in found))
    largest = {name: max(abs(found[name].value) for found in shown.values() if name in found) for name in every}
    kept = set(sorted(every, key=lambda name: -largest[name])[:LINES])
    lines = [name for name in every if name in kept]
    traces = [_trace(clock, {name: found[name] for name in lines if name in found}) for clock, found in shown.items()]
    traces = [trace for trace in traces if trace["x"]]
    if not traces:
        return None
    layout = {
        "height": MARGIN + ROW * len(lines),
        "margin": {"l": 10, "r": 12, "t": 4, "b": 40},
        "xaxis": {"title": {"text": "change in %"}, "zeroline": True, "rangemode": "tozero", "nticks": 6},
        "yaxis": {
            **{"type": "category", "categoryorder": "array", "categoryarray": lines},
            **{"autorange": "reversed", "automargin": True},
            **{"tickvals": lines, "ticktext": [" · ".join(map(_cut, name.split(" · "))) for name in lines]},
        },
    }
    return Plot("", traces, layout)


def _cut(name: str) -> str:
    """Return a name that fits a phone: without its middle where it is long."""
    return name if len(name) <= LONG else f"{name[: LONG // 2]}…{name[-LONG // 2 + 1 :]}"


def _changes(place: Section, axis: Axis, clock: str, models: bool) -> dict[str, Difference]:
    """Return the changes by the name of their line, in the order of the values."""
    found = {}
    for pair in axis.pairs:
        means = at_models(place.rows, clock, pair, place.scatters[clock], models)
        for model, mean in means.items():
            found[f"{text.named(pair.level)} · {model}" if models else text.named(pair.level)] = mean
    return found


def _trace(clock: str, changes: dict[str, Difference]) -> dict[str, Any]:
    first = clock == "latency_ms"
    values = [_percent(mean.value) for mean in changes.values()]
    ends = [mean.interval() for mean in changes.values()]
    reach = [
        (_percent(low), _percent(high)) if high - low < math.log(text.VAST) else (value, value)
        for value, (low, high) in zip(values, ends, strict=True)
    ]
    said = [text.change(mean.value, *end) for mean, end in zip(changes.values(), ends, strict=True)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": METRICS[clock],
        "x": values,
        "y": list(changes),
        "marker": {"color": COLORS[0 if first else 1], "symbol": SYMBOLS[0 if first else 1], "size": 9},
        "error_x": _error(values, reach),
        "hovertext": [f"{name}: {text.CLOCKS[clock]} {change}" for name, change in zip(changes, said, strict=True)],
        "hoverinfo": "text",
    }


def _percent(value: float) -> float:
    return 100 * math.expm1(min(value, text.LARGEST))


def front_plot(rows: pd.DataFrame, axes: list[str]) -> Plot:
    """Draw build time against a call's time for the points of one piece of work; those on the front are filled."""
    clock = pareto.clock(rows)
    traces = []
    rows = rows.sort_values("front", ascending=False, kind="stable")  # the legend shows the first of each
    for index, (backend, group) in enumerate(rows.groupby("backend", sort=False)):
        number = index % len(SYMBOLS)
        traces.append(
            {
                "type": "scattergl" if len(rows) > 1000 else "scatter",
                "mode": "markers",
                "name": str(backend),
                "x": [float(value) for value in group["build_s"]],
                "y": [float(value) for value in group[clock]],
                "hovertext": [
                    f"{text.label(row, axes)}<br>build {row['build_s']:.3g} s, {row[clock]:.4g} ms"
                    for row in group.to_dict("records")
                ],
                "hoverinfo": "text",
                "marker": {
                    "color": COLORS[number],
                    "symbol": [SYMBOLS[number] + ("" if on else "-open") for on in group["front"]],
                    "size": 9,
                },
            }
        )
    layout = {
        "height": 260,
        "margin": {"l": 10, "r": 12, "t": 24, "b": 40},
        "xaxis": {"title": {"text": "build s"}, "nticks": 6},
        "yaxis": log_axis(METRICS[clock], rows[clock].astype(float)) | {"automargin": True},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom"},
    }
    return Plot("", traces, layout)
