"""Make the report's tables: environment, verdicts, effects, the front of trade-offs, and all points."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.report import pareto, recommend, sentences, text
from trt_sweep.analysis.report.document import Block, Column, Grid, Points, Text
from trt_sweep.analysis.report.effects import METRICS, Effect
from trt_sweep.analysis.report.effects import words as interaction_words
from trt_sweep.analysis.report.pairs import TIMES, levels
from trt_sweep.analysis.report.sections import Section, works
from trt_sweep.analysis.report.verdicts import Verdict
from trt_sweep.results import record
from trt_sweep.results.axes import COMPARABLE, PER_ITEM

ENVIRONMENT = (
    *("gpu_name", "gpu_uuid", "compute_capability", "driver", "cuda", "torch", "torch_tensorrt", "tensorrt"),
    *("tensorrt_flavor", "python", "hostname", "trt_sweep", "git_sha"),
)
VERSIONS = ("torch", "torch_tensorrt", "tensorrt", "tensorrt_flavor")
BECAME = {"ok": "ran", "inaccurate": "ran", "dryrun": "planned", "unsupported": "refused", "interrupted": "cut short"}
HEALTH = {
    "sm_clock_mhz": "MHz",
    "memory_clock_mhz": "MHz",
    "temperature_c": "°C",
    "power_w": "W",
    "foreign_processes": "",
}
FRONT = 40  # rows of a front
FRONTED = "No other point is as good in time, build time, memory and error at once, and better in one of them."
NAMES = {"rel_l2_error": "rel. error", "build_s": "build s", pareto.MEMORY: "memory"}


def environment_grid(rows: pd.DataFrame) -> Grid:
    """Return versions and machines, and the range of what the GPU reported while it was timed."""
    lines = [["sweeps", text.listed([str(name) for name in rows["sweep"].unique()], 10)]]
    lines.append(["recorded", f"{rows['created_utc'].min()} to {rows['created_utc'].max()}"])
    for column in ENVIRONMENT:
        values = [str(value) for value in rows[column].dropna().unique()]
        if values:
            lines.append([column, text.listed(values, 4)])
    for column, unit in HEALTH.items():
        found = rows[column].dropna().astype(float)
        if len(found):
            ends = dict.fromkeys(f"{end:.4g}" for end in (found.min(), found.max()))
            lines.append([column, f"{' to '.join(ends)} {unit}".strip()])
    timed = rows[rows["status"] == "ok"]
    verdicts = timed["health"].fillna("not known").value_counts()
    lines.append(["health", ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items()) or text.NONE])
    return Grid(("", "of these records"), lines)


def versions_grid(rows: pd.DataFrame) -> Grid:
    """Return what ran with which versions, the newest first: points that were timed, planned, refused and failed."""
    known = rows.assign(became=rows["status"].map(BECAME).fillna("failed"), gpu_name=rows["gpu_name"].fillna("no GPU"))
    found = (
        known.fillna(dict.fromkeys(VERSIONS, "")).groupby([*VERSIONS, "gpu_name"])["became"].value_counts().unstack()
    )
    lines = []
    for (torch, library, tensorrt, flavor, gpu), counts in reversed([*found.fillna(0).astype(int).iterrows()]):
        name = f"{library}, {tensorrt} ({flavor})" if library else "none"
        lines.append(
            [name, torch, gpu, *(str(counts.get(name, 0)) for name in ("ran", "planned", "refused", "failed"))]
        )
    return Grid(("Torch-TensorRT, TensorRT", "torch", "GPU", "timed", "planned", "refused", "failed"), lines)


def second_grid(place: Section, advice: recommend.Advice, objective: str) -> list[Block]:
    """Return both figures of each point that was measured again."""
    if advice.second is None:
        return []
    axes = [axis for axis in place.axes if axis in sentences.differing(objective)]
    group = set(advice.second.group["point_id"])
    first = {row["point_id"]: row for row in advice.rows.to_dict("records")}
    lines = []
    for row in advice.second.rows.to_dict("records"):
        ended = str(row["status"]) if row["status"] != "ok" else "may be the best" if row["point_id"] in group else ""
        figures = [sentences.figure(item, objective) for item in (first[row["point_id"]], row)]
        lines.append([text.label(row, axes), *figures, ended])
    return [Grid(("measured again", "at first", "again", ""), lines)]


def verdict_grid(verdicts: list[Verdict]) -> Grid:
    return Grid(("axis", "effect", "evidence"), [[item.axis, item.kind, item.evidence] for item in verdicts])


def effect_grid(place: Section) -> Block:
    """Return a row for each value of an axis, a column for each figure that was measured."""
    lines, metrics = (
        [],
        [name for name in METRICS if any(e.metric == name for axis in place.effects for e in axis.effects)],
    )
    for axis in place.effects:
        for value in dict.fromkeys(effect.level for effect in axis.effects):
            of_value = {effect.metric: effect for effect in axis.effects if effect.level == value}
            first = next(iter(of_value.values()))
            pairs = max(effect.pairs for effect in of_value.values())
            interacting = [
                f"{heading}: {interaction_words(of_value[clock].interactions)}"
                for clock, heading in zip(TIMES, ("GPU", "latency"), strict=True)
                if clock in of_value and of_value[clock].interactions
            ]
            cells = [_change(of_value.get(metric)) for metric in metrics]
            lines.append([axis.title, f"{first.base} → {first.level}", str(pairs), *cells, "; ".join(interacting)])
    if not lines:
        return Text("No two timed points differ in one axis only.")
    return Grid(("axis", "change", "pairs", *(METRICS[name] for name in metrics), "interactions"), lines)


def _change(effect: Effect | None) -> str:
    return text.NONE if effect is None else text.change(effect.value, effect.low, effect.high)


def front_grid(place: Section) -> list[Block]:
    """Return for each piece of work the points that no other beats in everything; a line for each measurement."""
    ok = place.rows[place.rows["status"] == "ok"].assign(build_s=pareto.build_seconds(place.rows))
    if ok.empty:
        return [Text("No point was timed with success.")]
    metrics = pareto.metrics(ok)
    on = ok[fronts(place)[ok.index]]
    axes, several = list(dict.fromkeys(("model", *place.axes))), place.rows["sweep"].nunique() > 1
    lines = []
    for _, group in on.groupby(list(COMPARABLE), dropna=False, sort=False):
        for alike in pareto.measurements(group.sort_values(metrics[0], kind="stable")):
            row = alike.iloc[0].to_dict()
            name = sentences.named(alike, axes) + f" ({row['sweep']})" * several
            lines.append([name, *(_figure(row[metric], metric) for metric in metrics)])
    missing = "" if pareto.MEMORY in metrics else " The GPU's memory was not recorded."
    told = (
        "No other point of the same model and size is as good in all of these and better in one. Two times differ "
        "where that is proved, or where an interval is missing; other figures differ as they are. build s is the "
        f"median of all builds of an engine.{missing}"
    )
    found: list[Block] = [Text(told)]
    found.append(Grid(("point", *(NAMES.get(name, name) for name in metrics)), lines[:FRONT]))
    if len(lines) > FRONT:
        found.append(Text(f"{len(lines) - FRONT} more are marked “front” in the table of points."))
    return found


def _figure(value: float, name: str) -> str:
    if name == pareto.MEMORY and not text.missing(value):
        return f"{value / 2**20:.4g} MiB"
    return text.number(value, ".1e" if name == "rel_l2_error" else ".4g")


def fronts(place: Section) -> pd.Series:
    """Return whether each row is on the front of its piece of work."""
    rows = place.rows.assign(build_s=pareto.build_seconds(place.rows))
    ok = rows[rows["status"] == "ok"]
    found = pd.Series(False, index=rows.index)
    if len(ok):
        metrics = pareto.metrics(ok)
        for _, group in ok.groupby(list(COMPARABLE), dropna=False, sort=False):
            found[group.index] = pareto.front(group, metrics, place.scatters[metrics[0]])
    return found


def _place(folder: Path, point: str) -> str:
    """Return where the files of a point are: in its own folder, or in that of a sweep that is packed."""
    return point if (folder / point).is_dir() else Path(point).parents[1].as_posix()


def points(place: Section, folder: Path, prefix: str, objective: str) -> Points:
    """Return every point with its figures, by model and the objective.

    `prefix` leads from the report to the folder of records, `folder`.
    """
    column, more, unit = recommend.OBJECTIVES[objective]
    rows = place.rows.assign(front=fronts(place))
    rows["value"] = rows[column].astype(float).where(rows["status"] == "ok") * (-1 if more else 1)
    rows = pd.concat([group.sort_values("value", kind="stable") for group in works(rows)])
    content = rows.to_dict("records")
    columns = [
        Column(axis, list(levels(rows, axis)), _numbers(rows[axis]), choices=True)
        for axis in dict.fromkeys(("model", *place.axes))
    ]

    def figures(name: str, column: str, spec: str, main: bool = False) -> None:
        if rows[column].notna().any():
            shown = [text.number(value, spec) for value in rows[column]]
            columns.append(Column(name, shown, _numbers(rows[column]), main=main))

    if column not in TIMES:
        figures(f"{objective} {unit}", column, ".4g", main=True)
    for clock, rank in sorted(zip(TIMES, ("gpu", "latency"), strict=True), key=lambda pair: pair[0] != column):
        if rows[clock].notna().any():
            shown = [text.time(row, clock) for row in content]
            name = f"{clock.replace('_', ' ')} [95 %]"
            columns.append(Column(name, shown, _numbers(rows[clock]), main=clock == column))
        best, worst = rows[f"{rank}_rank"], rows[f"{rank}_rank_worst"]
        if best.notna().any():
            ranks = [_rank(low, high) for low, high in zip(best, worst, strict=True)]
            columns.append(Column(f"{rank} rank", ranks, _numbers(best)))
    if column != "throughput_per_s" and any(rows[name].nunique() > 1 for name in PER_ITEM):
        figures("throughput /s", "throughput_per_s", ".4g")
    figures("vs eager", "speedup", ".2f")
    figures("rel. error", "rel_l2_error", ".1e")
    figures("build s", "build_s", ".1f")
    if rows[pareto.MEMORY].notna().any():
        shown = [_figure(value, pareto.MEMORY) for value in rows[pareto.MEMORY]]
        columns.append(Column("memory", shown, _numbers(rows[pareto.MEMORY])))
    figures("engines", "engines", "d")
    if rows["engine_id"].notna().any():
        ids = [text.level(row["engine_id"])[:6] for row in content]
        columns.append(Column("engine", ids))
    front = ["front" if on else "" for on in rows["front"]]
    columns.append(Column("front", front, choices=True, title=FRONTED))
    for name in ("health", "status"):
        if rows[name].notna().any():
            columns.append(Column(name, [text.level(row[name]) for row in content], choices=True))
    reasons = [text.level(row["reason"]) if row["status"] not in record.SUCCESS[:2] else "" for row in content]
    if any(reasons):
        columns.append(Column("reason", reasons))
    once = rows.groupby([rows["sweep_id"], pareto.sources(rows)], sort=False).ngroup()
    return Points(
        columns, [f"{prefix}/{_place(folder, row['folder'])}/" for row in content], [int(number) for number in once]
    )


def _rank(best: object, worst: object) -> str:
    if text.missing(best):
        return text.NONE
    return str(best) if best == worst else f"{best}–{worst}"


def _numbers(values: pd.Series) -> list[float | None] | None:
    """Return what a column is sorted by; None where it holds no numbers."""
    known = values.dropna()
    if not len(known) or not all(isinstance(value, int | float) for value in known.head(5)):
        return None
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    return [None if not math.isfinite(value) else value for value in numbers]
