"""Print layers, parts of a call and comparisons as tables with notes."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from trt_sweep.analysis.layers import compare as comparing
from trt_sweep.errors import printable
from trt_sweep.results.layers import evidence
from trt_sweep.results.layers.profiles import TIMES, WORK, precisions

TACTIC = 10


COMPARISON = 80  # columns that a comparison takes beside the names of two layers


PARTS = 60  # of a call, at most, unless all are asked for


LAYER = 26, 60  # fewest and most characters of a layer's name


def render(table: pd.DataFrame, top: int | None, width: int) -> Table:
    """Return a table of the `top` layers that take most (all where None), the longest first.

    Names take what `width` leaves; inputs' shapes are left out where that is too little.
    """
    longest = table.sort_values("median_ms", ascending=False, kind="stable").head(
        top if top is not None else len(table)
    )
    rows = longest.to_dict("records")
    columns = {
        "#": [f"{row['engine']}.{row['index']}" for row in rows],
        "layer": [],
        "type": [row["type"] for row in rows],
        "shapes": [_shapes(row, inputs=True) for row in rows],
        "precision": [row["precision"] for row in rows],
        "tactic": [_tactic(row["tactic"]) for row in rows],
        "median ms [95 %]": [_time(row) for row in rows],
        "share": [None if math.isnan(row["share"]) else f"{row['share']:.1%}" for row in rows],
    }
    names = [len(evidence.shown(row["name"], LAYER[0])) for row in rows]
    if _room(columns, width) < max(names, default=0):
        columns["shapes"] = [_shapes(row, inputs=False) for row in rows]
    room = min(max(_room(columns, width), LAYER[0]), LAYER[1])
    columns["layer"] = [evidence.shown(row["name"], room) for row in rows]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        shown.add_column(name, justify="right" if name in ("median ms [95 %]", "share") else "left", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        shown.add_row(*map(_plain, cells))
    return shown


def _room(columns: dict[str, list[str | None]], width: int) -> int:
    """Return what is left of `width` beside these columns and the two spaces between any two."""
    taken = sum(max(len(name), *(len(cell or "–") for cell in cells), 0) for name, cells in columns.items() if cells)
    return width - taken - 2 * (len(columns) - 1) - 2


def _plain(cell: object) -> Text:
    """Return a text that is printed as it is; a dash for what is not known."""
    return Text("\n".join(map(printable, "–" if cell is None else str(cell).split("\n"))))


def _shapes(row: dict[Hashable, Any], inputs: bool) -> str | None:
    if row["outputs"] is None:
        return None
    sides = []
    for tensors in (row["inputs"] if inputs else [], row["outputs"]):
        more = f" +{len(tensors) - 1}" if len(tensors) > 1 else ""
        sides.append(tensors[0].split(" ")[0] + more if tensors else "")
    return " → ".join(dict.fromkeys(side for side in sides if side)) or None


def _tactic(tactic: object) -> str | None:
    """Return the tactic without what the layer's name says already: the kernel 0xd267… of `__myl_Tran_0xd267…`."""
    if not isinstance(tactic, str):
        return None
    head, _, kernel = tactic.rpartition("_0x")
    text = f"0x{kernel[:6]}…" if head.startswith("__myl_") else tactic
    return evidence.shown(text.removeprefix("__myelin_"), TACTIC)


def _time(row: dict[Hashable, Any]) -> str:
    interval = "" if math.isnan(row["ci_low"]) else f" [{row['ci_low']:.4f}, {row['ci_high']:.4f}]"
    return f"{row['median_ms']:.4f}{interval}"


def notes(table: pd.DataFrame, top: int | None) -> list[str]:
    """Return the sums below the table, and what its reader must know."""
    profile = table.attrs["profile"]
    total = table["median_ms"].sum()
    found = [
        f"{len(table)} layers, engines: {profile['engines']}, sum of medians: {total:.4g} ms (calls: "
        f"{profile.get('calls')}, runtime: {profile.get('runtime')}); the profiler slows what it watches"
    ]
    if top is not None and len(table) > top:
        rest = table["median_ms"].sort_values(ascending=False).iloc[top:].sum()
        found.append(f"{len(table) - top} shorter layers not shown, {rest:.4g} ms together: --all")
    if table["moves"].notna().any():
        share = table.loc[table["moves"].fillna(False), "share"].sum()
        found.append(f"{int(table['moves'].sum())} layers only move or convert data: {share:.1%} of the time")
    counts = ", ".join(f"{name} {count}" for name, count in precisions(table).items())
    if counts:
        found.append(f"precision of the layers that do arithmetic: {counts}")
    blind = table.loc[table["type"].isna(), "engine"]
    silent = blind.isin(table.attrs["silent"])
    reasons = {"was built to tell names only": blind[~silent], "tells nothing of its layers": blind[silent]}
    for reason, engines in reasons.items():
        if len(engines):
            numbers = ", ".join(map(str, engines.unique()))
            found.append(f"engine {numbers} {reason}: no types, tensors or precision")
    if table["ci_low"].isna().any():
        found.append("fewer than six independent samples give no interval")
    return found


def render_parts(parts: list[dict[str, Any]], most: int | None) -> Table:
    """Return a table of engines, and operators left in PyTorch, in the order of a call, with the GPU's waits.

    It has at most `most` of them (all where None), those that take the longest.
    """
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("part", no_wrap=True)
    for name in ("GPU ms", "kernels", "launching ms", "idle before ms", "idle within ms"):
        shown.add_column(name, justify="right", no_wrap=True)
    longest = sorted(range(len(parts)), key=lambda number: -_takes(parts[number]))[:most]
    for part in (parts[number] for number in sorted(longest)):
        times = [f"{part[name]:g}" if name == "kernels" else f"{part[name]:.4f}" for name in TIMES]
        shown.add_row(*map(_plain, [evidence.shown(part["name"], LAYER[1]), *times]))
    return shown


def _takes(part: dict[str, Any]) -> float:
    return float(part["gpu_ms"] + part["gap_before_ms"] + part["idle_ms"])


def parts_notes(parts: list[dict[str, Any]], calls: int, most: int | None) -> list[str]:
    """Say what the parts of a call add up to, and what their reader must know."""
    work, before, within = (sum(part[name] for part in parts) for name in ("gpu_ms", "gap_before_ms", "idle_ms"))
    found = [
        f"{len(parts)} parts of a traced call, in its order, medians of {calls} calls: {work:.3g} ms of GPU work, "
        f"{before:.3g} ms idle between parts, {within:.3g} ms within; the profiler slows the host: without it "
        "launching and idle times are shorter"
    ]
    if most is not None and len(parts) > most:
        found.append(f"{len(parts) - most} shorter parts not shown: --all")
    return found


def render_comparison(
    here: pd.DataFrame, there: pd.DataFrame, comparison: pd.DataFrame, top: int | None, width: int
) -> Table:
    """Return a table of the groups of layers whose times differ most, proved ones first; `width` is in columns."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("change", "here", "there"):
        shown.add_column(name)
    for name in ("here ms", "there ms", "difference", "proved"):
        shown.add_column(name, justify="right", no_wrap=True)
    order = comparison.assign(size=comparison["difference_ms"].abs())
    order = order[(order["size"] > 0) | (order["change"] != comparing.UNCHANGED)]
    order = order.sort_values(["proved", "size"], ascending=False, kind="stable")
    for row in order.head(top if top is not None else len(order)).to_dict("records"):
        change = row["change"]
        if change == comparing.PRECISION:
            change += f"\n{row['precision_here']} to {row['precision_there']}"
        room = max(16, min(60, (width - COMPARISON) // 2))
        sides = [_names(table, row[side], room) for table, side in ((here, "here"), (there, "there"))]
        times = [f"{row['here_ms']:.4f}", f"{row['there_ms']:.4f}", f"{row['difference_ms']:+.4f}"]
        shown.add_row(*map(_plain, [change, *sides, *times, "yes" if row["proved"] else "no"]))
    return shown


def _names(table: pd.DataFrame, rows: list[int], room: int) -> str | None:
    """Return the layers by the first module behind them, or by their own name."""
    lines = []
    for row in table.iloc[rows].to_dict("records"):
        name = row["modules"][0] if row["modules"] else row["name"]
        lines.append(f"{row['engine']}.{row['index']} {evidence.shown(name, room)}")
    return "\n".join(lines) or None


def render_sums(comparison: pd.DataFrame) -> Table:
    """Return a table of groups, layers and times by change, with the totals of either side."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    sums = comparing.sums(comparison)
    specs = {name: ".4f" if name.endswith("_ms") else ".0f" for name in map(str, sums)} | {"difference_ms": "+.4f"}
    shown.add_column("change", footer="all")
    for name, spec in specs.items():
        shown.add_column(name.replace("_", " "), justify="right", footer=format(sums[name].sum(), spec))
    for change, row in sums.iterrows():
        shown.add_row(str(change), *(format(row[name], spec) for name, spec in specs.items()))
    return shown


def comparison_notes(here: pd.DataFrame, there: pd.DataFrame, comparison: pd.DataFrame) -> list[str]:
    """Say what the comparison can and cannot tell."""
    work = [(name, here.attrs["work"][name], there.attrs["work"][name]) for name in WORK]
    unlike = [
        f"{name} ({one} here, {other} there)" for name, one, other in work if one != other and None not in (one, other)
    ]
    found = [f"the points differ in {', '.join(unlike)}: layers side by side may do other work"] if unlike else []
    found.append("faster, slower, fused and so on as seen from here to there, unchanged where no difference is proved")
    told = comparison.attrs
    if told["same_engine"]:
        found.append("both are profiles of one engine: differences between them are of the runs, and none is claimed")
    elif told["controls"]:
        found.append(
            f"{told['controls']} layers that are alike in both moved by {told['run_spread'] * math.sqrt(2):.0%} "
            "between the runs, which is allowed for"
        )
    else:
        found.append(
            f"too few layers are alike in both to see what moved between the runs: {comparing.RUN_SPREAD:.0%} of each "
            "time is allowed for"
        )
    if told["unlike"]:
        found.append(f"{told['unlike']} groups read other shapes here than there, or do not tell them: not judged")
    if told["calls"] < 6:
        found.append(f"{told['calls']} calls prove nothing: profile six at least")
    return found
