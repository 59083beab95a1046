"""Pictures of a point's profile as SVG: `layers.svg`, `time.svg` and `engines/<n>/graph.svg`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.layers import AGAIN, TIME, evidence, graph, read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 30  # layers in the box plot
# Okabe and Ito's colours, which colour-blind people tell apart; idle time is grey and hatched.
ENGINES, FALLBACK, IDLE = ("#0072B2", "#56B4E9"), ("#E69F00", "#F0E442"), "#DDDDDD"
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "trt_sweep", "font.size": 9}


def write(folder: Path, table: pd.DataFrame) -> list[Path]:
    """Draw what `load(folder)` gave as `table`, and time.json where there is one, into the folder; the files' paths.

    An engine that does not tell its tensors has no graph. Raises SweepError where matplotlib is missing, and for a
    damaged time.json.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise SweepError("matplotlib draws the pictures and is not installed: pip install 'trt-sweep[plots]'") from None
    time = _time(folder / TIME) if (folder / TIME).exists() else None
    written = []
    with mpl.rc_context(STYLE):
        figures = {"layers.svg": box_plot(table)} if len(table) else {}
        if time is not None:
            figures["time.svg"] = time_bar(time)
        for engine, layers in table.groupby("engine"):
            if layers["output_names"].map(bool).any():
                figures[f"engines/{engine}/graph.svg"] = graph.draw(layers)
        for name, figure in figures.items():
            figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
            written.append(folder / name)
    return written


def box_plot(table: pd.DataFrame) -> Figure:
    """Times of the layers that take most, in ms of a call: quartiles, whiskers to 1.5 of their distance, and beyond."""
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


def time_bar(time: dict[str, Any]) -> Figure:
    """Where the time of a call goes, in ms: engines, operators left in PyTorch, and the GPU idle between kernels."""
    from matplotlib.figure import Figure

    parts = _parts(time)
    figure = Figure(figsize=(9, 2.2 + 0.2 * ((len(parts) + 1) // 2)))
    axes = figure.subplots()
    left = 0.0
    total = sum(value for _, value, _ in parts)
    for name, value, colour in parts:
        share = value / total if total > 0 else 0.0
        hatch = "//" if colour == IDLE else None
        style: dict[str, Any] = {"color": colour, "edgecolor": "white", "linewidth": 0.6, "hatch": hatch}
        axes.barh(0, value, left=left, height=0.6, label=f"{name} · {value:.3g} ms · {share:.0%}", **style)
        inside = ""
        if share > 0.08:
            inside = evidence.shown(name, int(share * 90))
        elif share > 0.02 and colour in ENGINES:
            inside = name.rpartition(" ")[2]  # the engine's number
        text = axes.text(left + value / 2, 0, inside, ha="center", va="center")
        text.set(parse_math=False, color="white" if colour == ENGINES[0] else "black")
        left += value
    axes.set_yticks([])
    axes.set_xlim(0, left or 1)
    axes.set_xlabel("ms of a call, on the GPU")
    axes.set_title(
        f"a call: {time['span_ms']:.3g} ms from its first kernel to its last; the GPU works {time['busy_ms']:.3g} ms "
        f"and waits {time['idle_ms']:.3g} ms (medians of {time['calls']})",
        loc="left",
        fontsize=9,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _parts(time: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Name, ms and colour of the bar's parts, in the order of the call; neighbours of a kind in turning shades."""
    engines = {f"engine {item['engine']}": float(item["gpu_ms"]) for item in time["engines"]}
    fallback: dict[str, float] = {}
    for item in time["fallback"]:
        fallback[str(item["op"])] = fallback.get(str(item["op"]), 0.0) + float(item["gpu_ms"])
    names = dict.fromkeys([*map(str, time["order"]), *engines, *fallback])
    parts: list[tuple[str, float, str]] = []
    for name in names:
        if name in engines or name in fallback:
            shades, value = (ENGINES, engines[name]) if name in engines else (FALLBACK, fallback[name])
            alike = sum(colour in shades for _, _, colour in parts)
            parts.append((evidence.shown(name, 48), value, shades[alike % 2]))
    return [*parts, ("idle", float(time["idle_ms"]), IDLE)]


def _time(path: Path) -> dict[str, Any]:
    time: dict[str, Any] = read_json(path)
    try:
        parts = [*time["engines"], *time["fallback"]]
        numbers = [time[name] for name in ("span_ms", "busy_ms", "idle_ms")] + [part["gpu_ms"] for part in parts]
        whole = all(math.isfinite(number) and number >= 0 for number in numbers) and {"calls", "order"} <= time.keys()
        whole = whole and all("engine" in part or "op" in part for part in parts) and isinstance(time["order"], list)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise SweepError(f"{path} is damaged (times are missing): {AGAIN}")
    return time
