"""Draw the graph of an engine: its layers from top to bottom, coloured by the time they take."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd

from trt_sweep.errors import printable
from trt_sweep.results.layers import evidence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.9, 0.62  # inches that a layer takes, its gap included
BOX = (3.6, 0.40)
LANE = 0.09  # inches between two lines that pass a layer
Point = tuple[float, float]
LUMA = (0.2126, 0.7152, 0.0722)  # how bright red, green and blue are to the eye (ITU-R BT.709)


def edges(layers: pd.DataFrame) -> nx.DiGraph:
    """Return which later layer reads which layer's output, by tensor names; nodes are positions in the engine.

    Layers without tensors (signal, wait) are left out.
    """
    graph = nx.DiGraph()
    writers: dict[str, list[int]] = {}
    for row in layers.to_dict("records"):
        inputs, outputs = row["input_names"] or [], row["output_names"] or []
        if inputs or outputs:
            graph.add_node(row["index"])
        graph.add_edges_from((writer, row["index"]) for name in inputs for writer in writers.get(name, []))
        for name in outputs:
            writers.setdefault(name, []).append(row["index"])
    return graph


def places(graph: nx.DiGraph) -> dict[int, Point]:
    """Return where each layer stands: below all that it reads from, beside others of its level."""
    found = {}
    for level, members in enumerate(nx.topological_generations(graph)):
        for rank, layer in enumerate(sorted(members)):
            found[layer] = ((rank - (len(members) - 1) / 2) * WIDTH, -level * HEIGHT)
    return found


def routes(graph: nx.DiGraph, where: dict[int, Point]) -> dict[tuple[int, int], list[Point]]:
    """Return the corners of each edge's line, which passes the layers between its ends rather than run behind them."""
    taken: dict[float, list[Point]] = {}  # by level: what a line must keep away from, and how far
    for x, y in where.values():
        taken.setdefault(y, []).append((x, BOX[0] / 2 + LANE))
    found = {}
    for source, target in graph.edges:
        (x, y), (end_x, end_y) = where[source], where[target]
        passed: list[Point] = []
        for level in sorted((level for level in taken if end_y < level < y), reverse=True):
            lane = _free(x + (end_x - x) * (y - level) / (y - end_y), taken[level])
            taken[level].append((lane, LANE))
            passed += [(lane, level + (BOX[1] + LANE) / 2), (lane, level - (BOX[1] + LANE) / 2)]
        start, end = (_beside(passed[0][0], x), _beside(passed[-1][0], end_x)) if passed else (x, end_x)
        found[source, target] = [(start, y - BOX[1] / 2), *passed, (end, end_y + BOX[1] / 2)]
    return found


def _free(x: float, taken: list[Point]) -> float:
    """Return the nearest place to `x` that is far enough from all that is taken."""
    places = (x + side * step * LANE / 3 for step in itertools.count() for side in (1, -1))
    return next(place for place in places if all(abs(place - other) >= far for other, far in taken))


def _beside(x: float, middle: float) -> float:
    """Return the place of a box around `middle` that is nearest to `x`, its corners left out."""
    reach = BOX[0] / 2 - LANE
    return min(max(x, middle - reach), middle + reach)


def draw(layers: pd.DataFrame) -> Figure:
    """Draw the graph of one engine, whose rows of the table are `layers`; colours are ms of a call (median)."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path as PlotPath

    graph = edges(layers)
    where = places(graph)
    rows: dict[int, dict[Hashable, Any]] = {row["index"]: row for row in layers.to_dict("records")}
    lines = routes(graph, where)
    reach = [abs(x) + WIDTH / 2 for x, _ in where.values()] + [abs(x) for line in lines.values() for x, _ in line]
    wide = 2 * max(reach) + 1.2
    deep = -min(y for _, y in where.values()) + HEIGHT
    figure = Figure(figsize=(wide, deep + 1.2))
    axes = figure.add_axes((0, 0, 1, deep / (deep + 1.2)))
    axes.set(xlim=(-wide / 2, wide / 2), ylim=(-deep + HEIGHT / 2, HEIGHT / 2))
    axes.axis("off")
    colours = mpl.colormaps["viridis"]
    scale = PowerNorm(0.5, 0, max(float(layers["median_ms"].max()), 1e-9))  # small layers beside a single large one
    style: dict[str, Any] = {"color": "#666666", "linewidth": 0.9, "mutation_scale": 9}
    for line in lines.values():
        axes.add_patch(FancyArrowPatch(path=PlotPath(line), arrowstyle="-|>", zorder=1, **style))
    for layer, (x, y) in where.items():
        row = rows[layer]
        colour = colours(scale(float(row["median_ms"])))
        corner = (x - BOX[0] / 2, y - BOX[1] / 2)
        box = FancyBboxPatch(corner, *BOX, boxstyle="round,pad=0,rounding_size=0.06", zorder=2)
        box.set(facecolor=colour, edgecolor="#444444", linewidth=0.5)
        axes.add_patch(box)
        output = printable(row["outputs"][0]) if row["outputs"] else ""
        label = f"{evidence.shown(row['name'], 46)}\n#{layer}  {row['median_ms']:.4g} ms  {output}"
        text = axes.text(x, y, label, ha="center", va="center", fontsize=7, zorder=3, linespacing=1.3)
        text.set(parse_math=False, color="black" if np.dot(colour[:3], LUMA) > 0.46 else "white")
    bar = figure.add_axes((0.1, (deep + 0.55) / (deep + 1.2), 0.8, 0.16 / (deep + 1.2)))
    figure.colorbar(ScalarMappable(scale, colours), cax=bar, orientation="horizontal")
    engine, left_out = layers["engine"].iloc[0], len(layers) - len(graph)
    title = f"engine {engine}: median time of a layer in a call (ms)"
    bar.set_title(title + (f"; {left_out} without tensors left out" if left_out else ""), fontsize=9)
    return figure
