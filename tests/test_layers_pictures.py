"""The pictures of a profile: what is drawn where, that names of layers do no harm, and what stands in the way."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from recorded_layers import ENGINE_ID, info, point, put

from trt_sweep.analysis.layers import graph, pictures
from trt_sweep.app import layers as command
from trt_sweep.errors import SweepError
from trt_sweep.results.layers import profiles

SVG = "{http://www.w3.org/2000/svg}"
TIME = {
    "calls": 20,
    "span_ms": 2.1,
    "busy_ms": 0.42,
    "idle_ms": 1.68,
    "engines": [
        {"engine": number, "name": f"_run_on_acc_{number}", "gpu_ms": ms, "kernels": 12, "enqueue_ms": 0.3}
        for number, ms in enumerate((0.15, 0.1, 0.12))
    ],
    "fallback": [
        {"op": "aten::max_pool2d", "gpu_ms": 0.03, "kernels": 3, "enqueue_ms": 0.1},
        {"op": "aten::convolution", "gpu_ms": 0.02, "kernels": 1, "enqueue_ms": 0.1},
    ],
    "order": ["aten::convolution", "engine 0", "aten::max_pool2d", "engine 1", "aten::max_pool2d", "engine 2"],
}
PARTS = [
    {"name": name, "gpu_ms": ms, "kernels": 1, "enqueue_ms": 0.3, "gap_before_ms": gap, "idle_ms": idle}
    for name, ms, gap, idle in zip(
        TIME["order"],
        (0.02, 0.15, 0.01, 0.1, 0.01, 0.12),
        (0.0, 0.1, 0.1, 0.1, 0.1, 0.1),
        (0.0, 0.2, 0.0, 0.2, 0.0, 0.2),
        strict=True,
    )
]


def drawn(path: Path) -> list[str]:
    """The texts of a picture, which must be whole XML with text as text."""
    return [
        text for element in ElementTree.parse(path).iter(f"{SVG}text") for text in element.itertext() if text.strip()
    ]


def write(folder: Path) -> list[str]:
    written = pictures.write(folder, profiles.load(folder))
    return [str(path.relative_to(folder)) for path in written]


def test_every_picture_is_written(tmp_path):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    graphs = [f"engines/{number}/graph.svg" for number in range(3)]
    assert write(folder) == ["layers.svg", *graphs]
    put(folder / profiles.TIME, TIME)
    assert write(folder) == ["layers.svg", "time.svg", *graphs]
    before = {name: (folder / name).read_bytes() for name in ["layers.svg", "time.svg", *graphs]}
    write(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before  # and the same each time


def test_box_plot_has_the_layers_that_take_most(tmp_path):
    folder = point(tmp_path, "vit_b_16-cpp")
    write(folder)
    texts = drawn(folder / "layers.svg")
    assert texts[0] != ""
    labels = [text for text in texts if " · #" in text]
    assert len(labels) == 30
    assert labels[0] == "conv_proj/convolution · #1 · 12.4%"
    assert "time of the layer in a profiled call (ms)" in texts
    assert "30 of 149 layers, 50% of the sum of all medians" in texts


def test_layers_of_several_engines_are_told_apart(tmp_path):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    write(folder)
    labels = [text for text in drawn(folder / "layers.svg") if text.startswith("Move ·")]
    assert sorted(label.split(" · ")[1] for label in labels) == ["#0.0", "#1.0", "#2.0"]


def test_bar_of_a_call(tmp_path):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    put(folder / profiles.TIME, TIME)
    write(folder)
    texts = drawn(folder / "time.svg")
    assert [text for text in texts if text.count(" · ") == 2] == [
        "aten::convolution · 0.02 ms · 1%",
        "engine 0 · 0.15 ms · 7%",
        "aten::max_pool2d · 0.03 ms · 1%",
        "engine 1 · 0.1 ms · 5%",
        "engine 2 · 0.12 ms · 6%",
        "idle · 1.68 ms · 80%",
    ]
    assert "ms of a traced call, on the GPU" in texts  # of no order
    assert any(text.startswith("a traced call (the profiler slows the host): 2.1 ms from its first") for text in texts)
    assert not any("without the profiler" in text for text in texts)
    idle, *bars = pictures.time_bar(profiles.time_of_call(folder)).axes[0].patches
    assert (idle.get_x(), idle.get_width()) == (0, pytest.approx(2.1))
    assert [round(bar.get_x(), 6) for bar in bars[1::2]] == [0, 0.02, 0.17, 0.2, 0.3]
    assert len({bar.get_facecolor() for bar in bars[3::4]}) == 2  # engines that follow each other differ


def test_bar_of_a_call_in_its_order(tmp_path):
    """What recurs is drawn where it recurs, and the GPU's waits where they are."""
    folder = point(tmp_path, "squeezenet1_1-cpp")
    put(folder / profiles.TIME, TIME | {"parts": PARTS})
    put(folder / "record.json", {"latency_ms": 0.912, "gpu_ms": 0.4, "cuda_graphs": None})
    write(folder)
    texts = drawn(folder / "time.svg")
    assert "ms of a traced call, on the GPU: medians of its parts, in order" in texts
    assert "timed without the profiler: latency_ms 0.912, gpu_ms 0.4" in texts
    assert {"paler: idle within a part · 0.6 ms · 40%", "idle between parts · 0.5 ms · 33%"} <= set(texts)
    _, *bars = pictures.time_bar(profiles.time_of_call(folder)).axes[0].patches
    starts = [round(bar.get_x(), 6) for bar in bars]
    assert starts[::2] == starts[1::2] == [0, 0.12, 0.57, 0.68, 1.08, 1.19]
    assert [round(bar.get_width(), 6) for bar in bars] == [
        *(0.02, 0.02, 0.35, 0.15, 0.01, 0.01, 0.3, 0.1, 0.01, 0.01, 0.32, 0.12)  # with its waits, and the work alone
    ]  # fmt: skip


def test_bar_beside_a_row_with_cuda_graphs():
    figure = pictures.time_bar(TIME | {"parts": PARTS}, {"latency_ms": 0.3, "cuda_graphs": True})
    assert "timed without the profiler and with CUDA graphs: latency_ms 0.3" in figure.axes[0].get_title("left")


def test_graph_follows_the_tensors(tmp_path):
    table = profiles.load(point(tmp_path, "squeezenet1_1-cpp"))
    found = graph.edges(table[table["engine"] == 0])
    assert set(found.edges) == {(0, 1), (1, 3), (1, 5), (3, 8), (5, 8), (8, 10), (8, 13), (10, 11), (13, 14)}
    where = graph.places(found)
    levels = {}
    for layer, (_, y) in where.items():
        levels.setdefault(y, []).append(layer)
    assert [levels[y] for y in sorted(levels, reverse=True)] == [[0], [1], [3, 5], [8], [10, 13], [11, 14]]
    assert len(set(where.values())) == len(where)


GOOGLENET = [(0, 3), (0, 6), (0, 11), (8, 9), (3, 4), (6, 7), (4, 15), (7, 15), (9, 15), (11, 15)]


@pytest.mark.parametrize(
    "edges",
    [
        GOOGLENET,
        [*zip(range(6), range(1, 7), strict=True), (0, 2), (0, 3), (0, 6), (1, 6), (2, 6), (3, 5)],
        [(0, row) for row in range(1, 6)] + [(row, row + 5) for row in range(1, 6)] + [(0, 11), (6, 11), (1, 11)],
    ],
)
def test_lines_of_the_graph_pass_the_layers_between_and_each_other(edges):
    found = nx.DiGraph(edges)
    where = graph.places(found)
    lines = graph.routes(found, where)
    assert set(lines) == set(edges)
    lanes = []
    for (source, target), line in lines.items():
        assert line[0][1] == pytest.approx(where[source][1] - graph.BOX[1] / 2)
        assert line[-1][1] == pytest.approx(where[target][1] + graph.BOX[1] / 2)
        for (x, y), (end_x, end_y) in itertools.pairwise(line):
            for part in np.linspace(0, 1, 101):
                point = x + part * (end_x - x), y + part * (end_y - y)
                inside = [
                    np.abs(np.subtract(point, centre)) < np.array(graph.BOX) / 2 - 1e-9 for centre in where.values()
                ]
                assert not any(map(all, inside)), (source, target)
        lanes += [(round(x, 6), round(y, 6)) for x, y in line[1:-1]]
    assert len(lanes) == len(set(lanes)) > 0


def test_graph_of_a_single_layer(tmp_path):
    table = profiles.load(point(tmp_path, "squeezenet1_1-cpp"))
    assert len(graph.draw(table.iloc[:1]).axes[0].patches) == 1


def test_graph_of_many_layers_is_tall_and_complete(tmp_path):
    folder = point(tmp_path, "vit_b_16-cpp")
    write(folder)
    path = folder / "engines/0/graph.svg"
    boxes = [text for text in drawn(path) if text.startswith("#")]
    assert [int(text[1:].split()[0]) for text in boxes] == list(range(149))
    assert boxes[1] == "#1  0.2109 ms  1x768x14x14 Half"
    assert "engine 0: median time of a layer in a call (ms)" in drawn(path)
    size = {key: float(value.removesuffix("pt")) for key, value in ElementTree.parse(path).getroot().items()
            if key in ("width", "height")}  # fmt: skip
    assert size["height"] > 5 * size["width"]


def test_colours_follow_the_times(tmp_path):
    table = profiles.load(point(tmp_path, "resnet18-cpp"))
    figure = graph.draw(table)
    boxes = [patch for patch in figure.axes[0].patches if hasattr(patch, "get_boxstyle")]
    times = table.set_index("index")["median_ms"][list(graph.places(graph.edges(table)))].tolist()
    green = [box.get_facecolor()[1] for box in boxes]  # rises all along viridis
    by_time = [green[box] for box in sorted(range(len(boxes)), key=times.__getitem__)]
    assert by_time == sorted(green)
    assert len(set(green)) > 10
    assert "12 without tensors left out" in figure.axes[1].get_title()


@pytest.mark.parametrize(
    "name",
    ["</text><script>alert(1)</script>", "$\\frac{1}{$", "a$b$c", "x\x1f\x00\x1b[31m--><!--", "\udcff\u202e", "&amp;"],
)
def test_names_do_no_harm(tmp_path, name):
    folder = point(tmp_path, "resnet18-cpp")
    made = info("resnet18-cpp")[:2]
    made[1]["Name"], made[1]["Outputs"][0]["Dimensions"] = name, [f"{name} "]
    put(folder / "engines/0" / profiles.INFO, {"Layers": made})
    put(folder / "engines/0" / profiles.LATENCY, {layer["Name"]: [0.5, 0.6] for layer in made})
    put(folder / profiles.TIME, TIME | {"fallback": [{"op": name, "gpu_ms": 1.0}], "order": [name]})
    assert write(folder) == ["layers.svg", "time.svg", "engines/0/graph.svg"]
    expected = "".join(character if character.isprintable() else "�" for character in name)
    for picture in ("layers.svg", "time.svg", "engines/0/graph.svg"):
        assert any(expected in text for text in drawn(folder / picture)), picture
        assert not list(ElementTree.parse(folder / picture).iter(f"{SVG}script"))


def test_engines_without_tensors_have_no_graph(tmp_path):
    folder = point(tmp_path, "squeezenet1_1-cpp")
    (folder / "engines/1" / profiles.INFO).unlink()
    assert write(folder) == ["layers.svg", "engines/0/graph.svg", "engines/2/graph.svg"]


def test_a_point_without_engines_has_its_time_only(tmp_path):
    (tmp_path / "engines").mkdir()
    put(tmp_path / "engines" / profiles.PROFILE, {"engine_id": ENGINE_ID, "engines": 0, "calls": 50, "runtime": "cpp"})
    put(tmp_path / profiles.TIME, TIME | {"engines": [], "order": []})
    assert write(tmp_path) == ["time.svg"]
    put(tmp_path / profiles.TIME, TIME | {"engines": [], "fallback": [], "order": [], "idle_ms": 0.0})
    assert write(tmp_path) == ["time.svg"]


@pytest.mark.parametrize(
    "content",
    ['{"calls": 20, "sp', "[]", "{}", json.dumps(TIME | {"idle_ms": None}), json.dumps(TIME | {"span_ms": math.inf}),
     json.dumps(TIME | {"engines": [{"gpu_ms": 1.0}]}), json.dumps(TIME | {"fallback": [{"op": "x"}]}),
     json.dumps(TIME | {"parts": [{"name": "engine 0"}]}), json.dumps(TIME | {"parts": [PARTS[0] | {"name": "x"}]}),
     json.dumps(TIME | {"parts": 3}), json.dumps(TIME | {"busy_ms": -1}), json.dumps(TIME | {"order": 3})],
)  # fmt: skip
def test_damaged_times(tmp_path, content):
    folder = point(tmp_path, "resnet18-cpp")
    (folder / profiles.TIME).write_text(content)
    with pytest.raises(SweepError, match=r"time\.json is damaged \(.*\): run the point again with profile=true"):
        write(folder)
    assert not (folder / "layers.svg").exists()


def test_matplotlib_is_missing(tmp_path, monkeypatch, capsys):
    folder = point(tmp_path, "resnet18-cpp")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command.main([str(folder), "--out", str(folder)]) == 1
    assert capsys.readouterr().err == (
        "error: matplotlib draws the pictures and is not installed: pip install 'trt-sweep[plots]'\n"
    )


def test_main_draws_without_a_display(tmp_path):
    folder = point(tmp_path, "resnet18-cpp")
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-m", "trt_sweep", "layers", str(folder), "--out", str(folder)],
        env=environment | {"MPLBACKEND": "tkagg"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"written: {folder / 'layers.svg'}, {folder / 'engines/0/graph.svg'}" in done.stdout


def test_no_layers_make_no_box_plot(tmp_path):
    table = pd.DataFrame(columns=list(profiles.COLUMNS))
    assert pictures.write(tmp_path, table) == []
