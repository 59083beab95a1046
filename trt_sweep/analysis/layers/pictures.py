"""Draw a point's profile as SVG: `layers.svg`, `time.svg` and `engines/<n>/graph.svg`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from trt_sweep.analysis.layers import graph
from trt_sweep.errors import SweepError
from trt_sweep.results import files
from trt_sweep.results.layers import evidence
from trt_sweep.results.layers.profiles import read_json, time_of_call
from trt_sweep.results.record import RECORD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 30  # layers in the box plot
# Okabe and Ito's colours, which colour-blind people tell apart; idle time is grey and hatched.
ENGINES, FALLBACK, IDLE = ("#0072B2", "#56B4E9"), ("#E69F00", "#F0E442"), "#DDDDDD"
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "trt_sweep", "font.size": 9}


def write(folder: Path, table: pd.DataFrame, out: Path | None = None) -> list[Path]:
    """Draw what `load(folder)` gave as `table`, and time.json where there is one; return the paths of the pictures.

    They go into `out`, or into the folder itself where that is null.

    An engine that does not tell its tensors has no graph. Raise SweepError where matplotlib is missing, and for a
    damaged time.json.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise SweepError("matplotlib draws the pictures and is not installed: pip install 'trt-sweep[plots]'") from None
    time = time_of_call(folder)
    row = read_json(folder / RECORD) if files.exists(folder / RECORD) else None
    written = []
    with mpl.rc_context(STYLE):
        figures = {"layers.svg": box_plot(table)} if len(table) else {}
        if time is not None:
            figures["time.svg"] = time_bar(time, row)
        for engine, layers in table.groupby("engine"):
            if layers["output_names"].map(bool).any():
                figures[f"engines/{engine}/graph.svg"] = graph.draw(layers)
        for name, figure in figures.items():
            path = (out or folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
            written.append(path)
    return written


def box_plot(table: pd.DataFrame) -> Figure:
    """Draw the times of the layers that take most, in ms of a call: quartiles, whiskers to 1.5 of their distance."""
    from matplotlib.figure import Figure

    top = table[table["share"] > 0].sort_values("share", ascending=False, kind="stable").head(MOST)
    several = table["engine"].nunique() > 1
    figure = Figure(figsize=(9, 1.2 + 0.27 * len(top)))
    axes = figure.subplots()
    blue, orange = ENGINES[0], FALLBACK[0]
    axes.boxplot(
        list(top["samples"]),
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": ENGINES[1], "edgecolor": blue},
        medianprops={"color": "black"},
        flierprops={"marker": ".", "markeredgecolor": orange},
        whiskerprops={"color": blue},
        capprops={"color": blue},
    )
    labels = []
    for row in top.to_dict("records"):
        place = f"{row['engine']}.{row['index']}" if several else str(row["index"])
        share = "" if math.isnan(row["share"]) else f" · {row['share']:.1%}"
        labels.append(f"{evidence.shown(row['name'], 56)} · #{place}{share}")
    axes.set_yticks(range(1, len(top) + 1), labels)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name may hold dollars
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("time of the layer in a profiled call (ms)")
    axes.set_title(f"{len(top)} of {len(table)} layers, {top['share'].sum():.0%} of the sum of all medians", loc="left")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def time_bar(time: dict[str, Any], row: dict[str, Any] | None = None) -> Figure:
    """Draw where the time of a traced call goes, in ms: engines, operators left in PyTorch, the GPU waiting.

    The parts stand in the order of the call, paler where the GPU waits within one. Where `time` has none, the sums by
    engine and operator stand there. `row` is the point's record, which says what a call takes without the profiler.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    sums = _sums(time)
    colours = _colours(list(sums))
    in_order = bool(time["parts"])
    parts = time["parts"] or [{"name": name, "gpu_ms": ms} for name, ms in sums.items()]
    gaps, within = (sum(part.get(name, 0.0) for part in parts) for name in ("gap_before_ms", "idle_ms"))
    idle = gaps if in_order else float(time["idle_ms"])
    total = (sum(part["gpu_ms"] for part in parts) + idle + within) or 1.0
    figure = Figure(figsize=(9, 2.3 + 0.2 * ((len(sums) + 3) // 2)))
    axes = figure.subplots()

    def bar(left: float, width: float, linewidth: float = 0.0, **style: Any) -> Any:
        return axes.barh(0, width, left=left, height=0.6, linewidth=linewidth, **style)

    behind = bar(0, total, color=IDLE, edgecolor="white", hatch="//")  # what no part covers
    legend: dict[str, tuple[float, Any]] = {}
    left = 0.0
    for part in parts:
        name, width = part["name"], part["gpu_ms"] + part.get("idle_ms", 0.0)
        left += part.get("gap_before_ms", 0.0)
        bar(left, width, color=_pale(colours[name]))
        # With a line around it, lest the slimmest cannot be seen.
        work = bar(left, part["gpu_ms"], 0.8, color=colours[name], edgecolor=colours[name])
        legend.setdefault(name, (sums[name], work))
        text = axes.text(left + width / 2, 0, _inside(name, width / total), ha="center", va="center")
        text.set(
            parse_math=False, color="white" if width == part["gpu_ms"] and colours[name] == ENGINES[0] else "black"
        )
        left += width
    if within:
        legend["paler: idle within a part"] = within, Patch(color=_pale(ENGINES[0]))
    legend["idle between parts" if in_order else "idle"] = idle, behind
    axes.set_yticks([])
    axes.set_xlim(0, total)
    axes.set_xlabel("ms of a traced call, on the GPU" + ": medians of its parts, in order" * in_order)
    axes.set_title(_title(time, row or {}), loc="left", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    labels = [f"{evidence.shown(name, 48)} · {ms:.3g} ms · {ms / total:.0%}" for name, (ms, _) in legend.items()]
    patches, place = [patch for _, patch in legend.values()], (0.5, -0.3)
    shown = axes.legend(patches, labels, loc="upper center", bbox_to_anchor=place, ncols=2, frameon=False, fontsize=8)
    for text in shown.get_texts():
        text.set_parse_math(False)
    return figure


def _title(time: dict[str, Any], row: dict[str, Any]) -> str:
    timed = [f"{name} {row[name]:.3g}" for name in ("latency_ms", "gpu_ms") if isinstance(row.get(name), float)]
    graphs = " and with CUDA graphs" * bool(row.get("cuda_graphs"))
    return (
        f"a traced call (the profiler slows the host): {time['span_ms']:.3g} ms from its first kernel to its last;\n"
        f"the GPU works {time['busy_ms']:.3g} ms and waits {time['idle_ms']:.3g} ms (medians of {time['calls']} calls)"
        + (f"\ntimed without the profiler{graphs}: {', '.join(timed)}" if timed else "")
    )


def _inside(name: str, share: float) -> str:
    """Return what fits into a bar of this share: the name, or an engine's number."""
    text = evidence.shown(name, 48)
    if len(text) <= share * 90:
        return text
    return name.rpartition(" ")[2] if share > 0.015 and name.startswith("engine ") else ""


def _sums(time: dict[str, Any]) -> dict[str, float]:
    """Return the GPU's ms by engine and operator, in the order in which they first come in a call."""
    sums: dict[str, float] = {}
    for item in (*time["engines"], *time["fallback"]):
        name = f"engine {item['engine']}" if "engine" in item else str(item["op"])
        sums[name] = sums.get(name, 0.0) + float(item["gpu_ms"])
    names = dict.fromkeys([*map(str, time["order"]), *sums])
    return {name: sums[name] for name in names if name in sums}


def _colours(names: list[str]) -> dict[str, str]:
    """Return the colours by name; neighbours of a kind have turning shades."""
    engines = [name for name in names if name.startswith("engine ")]
    others = [name for name in names if not name.startswith("engine ")]
    return {
        name: shades[index % 2]
        for kind, shades in ((engines, ENGINES), (others, FALLBACK))
        for index, name in enumerate(kind)
    }


def _pale(colour: str) -> str:
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - 0.35 * (1 - value) for value in to_rgb(colour))
    return to_hex((red, green, blue))
