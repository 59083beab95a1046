"""Answer the open questions about two axes from records: the default, what is recommended, what it does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from packaging.version import Version

from trt_sweep.analysis.report import text
from trt_sweep.analysis.report.document import Block, Bullets, Grid, Heading, Text
from trt_sweep.analysis.report.pairs import TIMES, Scatter, bases, contexts, levels, order
from trt_sweep.analysis.report.pareto import measurements
from trt_sweep.analysis.report.sections import Section
from trt_sweep.results.axes import AXES, TABLE
from trt_sweep.results.notes import FLAVORS
from trt_sweep.sweep.labels import count

QUESTIONS = {
    "min_block_size": "How does the recommended min_block_size differ from the default, and what does it do to speed?",
    "optimization_level": "How does the best optimization_level differ from the default, and what does it do to speed?",
}
MOST = 12  # answers in full
SAME = "same engine"  # instead of a change that is 0 because nothing else can be, not because it was measured
NEEDED = (
    *AXES,
    *("default_min_block_size", "advised_min_block_size", "advised_min_block_size_moderate"),
    *("point_id", "status", "timed_with", "partition_id", "gpu_ms_method", "tensorrt"),
    *("engines", "engine_ops", "ops_total", "engine_id"),
    *(f"{clock}{end}" for clock in TIMES for end in ("", "_ci_low", "_ci_high")),
)
LABELLED = ("model", "backend", "precision", "batch_size", "cuda_graphs", "runtime")
COLUMNS = ("", "engines", "operators", "engine", "gpu ms [95 %]", "latency ms [95 %]", "change [95 %]")


def answers(sections: list[Section], level: int = 3, *, brief: bool = False) -> list[Block]:
    """Return each question as a heading of this level, with its answers by flavour and GPU.

    What no record tells is said. Sweeps in which engines differ have a table each, the others are merged into lines. A
    brief answer shows one sweep of each model, one in which engines differ if there is any, and counts the others.
    """
    found: list[Block] = []
    engines = {section.title: np.asarray(pd.factorize(section.rows["engine_id"])[0]) for section in sections}
    points = {section.title: section.rows[list(LABELLED)].to_dict("records") for section in sections}
    for axis, question in QUESTIONS.items():
        found.append(Heading(question, level))
        every = [(section, places) for section in sections for places in _varied(section.rows, axis)]
        # Of several sweeps of the same: the one with the newest TensorRT, then with most values.
        every.sort(key=lambda item: (_version(item) if brief else Version("0"), len(item[1])), reverse=True)
        if not every:
            found.append(
                Text(f"Not measured: no two of these records differ in {axis} alone. +sweep={axis} measures it.")
            )
        one = [_one_engine(engines[section.title][places]) for section, places in every]
        differing, same = (
            [item for item, alike in zip(every, one, strict=True) if alike is side] for side in (False, True)
        )
        named = {
            f"{_label(points[section.title][places[0]], axis)} ({section.title})": (section, places)
            for section, places in reversed(differing)
        }
        asked = list(reversed(named.values()))
        shown = _one_a_model(asked) if brief else asked[:MOST]
        for section, places in shown:
            found += _answer(section, section.rows.iloc[places], axis, level + 1, brief)
        if not brief and len(asked) > MOST:
            found.append(Text(f"{len(asked) - MOST} further combinations of the other axes are in the table."))
        merged = _merged(same, axis)
        if brief:
            told = {section.rows["model"].iloc[places[0]] for section, places in shown}
            of_model = {group[0]["model"].iloc[0]: (group, line) for group, line in reversed(merged)}
            merged = [item for model, item in reversed(of_model.items()) if model not in told]
        if merged:
            found += [Heading(f"One engine, whatever {axis}", level + 1), Bullets([line for _, line in merged])]
        others = len(differing) - len(shown if brief else asked)
        if brief:
            others += len(same) - sum(len(group) for group, _ in merged)
        if others:
            where = "left out here" if brief else "see the table"
            found.append(Text(f"{count(others, 'further sweep')} of the same: {where}."))
        flavors = {section.title.rpartition(", ")[2] for section, _ in every}
        missing = [name for name in FLAVORS.values() if name not in flavors]
        if every and missing:
            found.append(Text(f"Not measured with {' and '.join(missing)}."))
    return found


def _one_engine(numbers: np.ndarray) -> bool:
    """Return whether rows with these numbers of engines, -1 for unknown, run the same ones, byte for byte."""
    return bool(numbers[0] >= 0 and (numbers == numbers[0]).all())


def _version(item: tuple[Section, np.ndarray]) -> Version:
    """Return the version of TensorRT that a sweep is of, 0 for none."""
    found = item[0].rows["tensorrt"].iloc[item[1][0]]
    return Version("0" if text.missing(found) else str(found))


def _where(section: Section, rows: pd.DataFrame) -> str:
    """Return where rows were measured, with the version of TensorRT."""
    versions = rows["tensorrt"].dropna().unique()
    return " ".join([section.title, *map(str, versions)])


def _one_a_model(asked: list[tuple[Section, np.ndarray]]) -> list[tuple[Section, np.ndarray]]:
    """Return one sweep of each model: timed if any, of the newest TensorRT, with most engines, the surest, the last."""

    def told(item: tuple[Section, np.ndarray]) -> tuple[bool, Version, int, float, str]:
        rows = item[0].rows.iloc[item[1]]
        low, high = (rows[f"{_clock(rows)}_ci_{end}"].astype(float) for end in ("low", "high"))
        width = float((high / low).median())
        sure = -math.inf if math.isnan(width) else -width
        engines = rows["engine_id"].nunique(dropna=False)
        timed = bool((rows["status"] == "ok").any())
        return timed, _version(item), engines, sure, str(rows["created_utc"].max())

    best = {section.rows["model"].iloc[places[0]]: (section, places) for section, places in sorted(asked, key=told)}
    return sorted(best.values(), key=told, reverse=True)


def _merged(same: list[tuple[Section, np.ndarray]], axis: str) -> list[tuple[list[pd.DataFrame], str]]:
    """Merge sweeps whose values are all of one engine, by model, place and values, each with what is said of them."""
    groups: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for section, places in same:
        rows = section.rows.iloc[places]
        values, marks = _by_value(rows, axis)
        remark = _absent(values, marks)
        key = (
            str(rows["model"].iloc[0]),
            _where(section, rows),
            _names(values["value"], marks),
            f" {remark}" if remark else "",
        )
        groups.setdefault(key, []).append(rows)
    found = []
    for (model, title, names, remark), group in groups.items():
        together = pd.concat(group)
        varied = [name for name in AXES if name != axis and levels(together, name).nunique() > 1]
        combinations = len(pd.DataFrame({name: levels(together, name) for name in varied}).drop_duplicates())
        what = "values" if len(varied) == 1 else "combinations"
        each = f", with each of {combinations} {what} of {', '.join(varied)}" if varied else ""
        apart = any(len(measurements(rows)) > 1 for rows in group)
        noise = "; differences between their times are noise" if apart else ""
        engines = "engine" if (together["engines"] == 1).all() else "engines"
        found.append((group, f"{model} ({title}): the same {engines} at {axis}={names}{each}{noise}.{remark}"))
    return found


def _varied(rows: pd.DataFrame, axis: str) -> Iterator[np.ndarray]:
    """Return the positions of rows that differ in this axis only, where there are several values of it."""
    using = np.flatnonzero(rows["status"].isin(("ok", "dryrun")) & rows[axis].notna())
    values = rows[axis].to_numpy()[using]
    for places in contexts(rows.iloc[using], axis):
        if len(set(values[places])) > 1:
            yield using[places]


def _answer(section: Section, rows: pd.DataFrame, axis: str, level: int, brief: bool) -> Iterator[Block]:
    """Return a heading, a table of the values and what it says; if brief, one line for what several values share."""
    rows, marks = _by_value(rows, axis)
    start = bases(rows, axis)[0]
    first = rows[rows["value"] == start].iloc[0].to_dict()
    yield Heading(f"{_label(first, axis)} ({_where(section, rows)})", level)
    clock = _clock(rows)
    lines: list[list[str]] = []
    said: list[tuple[str, str]] = []  # values and what is said of them
    once: dict[str, list[dict[Any, Any]]] = {}  # values of one partition, timed once, share a line
    for measurement, row in zip(_measurement(rows), rows.to_dict("records"), strict=True):
        once.setdefault(measurement, []).append(row)
    for content in once.values():
        found = _change(section.scatters[clock], first, content[0])
        if any(row["place"] == first["place"] for row in content) or math.isnan(found[0]):
            change = text.NONE
        else:
            change = SAME if _as_default(first, content[0]) else text.change(*found)
        lines.append([_names([row["value"] for row in content], marks), *_cells(content[0]), change])
        names = [_names([row["value"]], marks) for row in content]
        for name, row in zip(names, content, strict=True):
            if row["value"] != start and (row["value"] in marks or axis == "optimization_level"):
                said.append((name, _sentence(first, row, text.CLOCKS[clock], found)))
    if brief:
        same: dict[str, list[str]] = {}
        for name, sentence in said:
            same.setdefault(sentence, []).append(name)
        said = [(", ".join(names), sentence) for sentence, names in same.items()]
    yield Grid((axis, *COLUMNS[1:]), lines)
    remarks = [f"{axis}={names}: {sentence}" for names, sentence in said]
    absent = _absent(rows, marks)
    yield Bullets([*remarks, absent] if absent else remarks)


def _by_value(rows: pd.DataFrame, axis: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a row for each value of the axis, in order, with its `value` and `place` in the section, and `_marks`."""
    rows = rows[list(NEEDED)].assign(value=levels(rows, axis), place=rows.index)
    rows = rows.sort_values("value", key=lambda column: column.map(order), kind="stable").drop_duplicates("value")
    start = bases(rows, axis)[0]
    return rows, _marks(rows[rows["value"] == start].iloc[0].to_dict(), axis, start)


def _names(values: Iterable[str], marks: dict[str, str]) -> str:
    return ", ".join(f"{value} ({marks[value]})" if value in marks else value for value in values)


def _absent(rows: pd.DataFrame, marks: dict[str, str]) -> str:
    """Say what is known of marked values that none of the rows has, if there are any."""
    missing = _names([value for value in marks if value not in set(rows["value"])], marks)
    return f"Not among these values: {missing}." if missing else ""


def _clock(rows: pd.DataFrame) -> str:
    """Return the clock that these rows are compared by: the GPU's work where all have it by one method."""
    return "gpu_ms" if rows["gpu_ms"].notna().all() and rows["gpu_ms_method"].nunique() == 1 else "latency_ms"


def _label(row: dict[Any, Any], axis: str) -> str:
    return text.label(row, [name for name in LABELLED if name != axis])


def _measurement(rows: pd.DataFrame) -> pd.Series:
    """Return a key that is equal for rows of one partition that were timed once, or not at all."""
    source = rows["timed_with"].where(rows["timed_with"].notna(), rows["point_id"]).where(rows["status"] == "ok", "")
    return rows["partition_id"].fillna(rows["value"]).astype(str) + " " + source.astype(str)


def _change(scatter: Scatter, first: dict[Any, Any], row: dict[Any, Any]) -> tuple[float, float, float]:
    """Return how much more this row takes than the first, with the interval; NaN for the first itself."""
    if row["place"] == first["place"]:
        return math.nan, math.nan, math.nan
    mean = scatter.mean(np.array([first["place"]]), np.array([row["place"]]))
    return mean.value, *mean.interval()


def _cells(row: dict[Any, Any]) -> list[str]:
    operators = text.NONE
    if isinstance(row["engine_ops"], list) and not text.missing(row["ops_total"]):
        operators = f"{sum(row['engine_ops'])}/{row['ops_total']}"
    engine = text.NONE if text.missing(row["engine_id"]) else str(row["engine_id"])[:6]
    return [text.level(row["engines"]), operators, engine, *(text.time(row, clock) for clock in TIMES)]


def _marks(row: dict[Any, Any], axis: str, start: str) -> dict[str, str]:
    """Return what is special about which value: the default, and for `min_block_size` the library's advice.

    Where the default is not among the values, others are compared with `start`.
    """
    advised: dict[str, Any] = {"default": TABLE[axis].default} if axis == "optimization_level" else {}
    if start == text.NONE:
        advised = {"default": text.NONE}
    if axis == "min_block_size":
        advised = {
            "default": row["default_min_block_size"],
            "recommended for fewest segments": row["advised_min_block_size"],
            "recommended as moderate": row["advised_min_block_size_moderate"],
        }
    found: dict[str, list[str]] = {}
    for mark, value in advised.items():
        if not text.missing(value):
            found.setdefault(text.level(value), []).append(mark)
    if start not in found:
        found[start] = ["others are set against this"]
    return {value: ", ".join(marks) for value, marks in found.items()}


def _as_default(default: dict[Any, Any], row: dict[Any, Any]) -> bool:
    """Return whether this row runs the default's engines, byte for byte."""
    return not text.missing(row["engine_id"]) and bool(row["engine_id"] == default["engine_id"])


def _sentence(default: dict[Any, Any], row: dict[Any, Any], what: str, found: tuple[float, float, float]) -> str:
    """Say what this row does differently from the default's."""
    change, low, high = found
    if _as_default(default, row):
        return "the same engines, byte for byte; differences between their times are noise."
    engines = f"{count(row['engines'], 'engine')} instead of {text.level(default['engines'])}"
    if math.isnan(change):
        return f"{engines}; no time was measured."
    speed = "slower" if low > 0 else "faster" if high < 0 else "not told apart"
    return f"{engines}; {what} {text.change(change, low, high)}: {speed}."
