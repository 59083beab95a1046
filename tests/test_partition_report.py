"""`trt-sweep partition`: the real partitioner behind a report whose figures are known otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EXAMPLE, needs_tensorrt, without_gpu
from test_partition import torchvision

from trt_sweep.analysis.partition import show
from trt_sweep.analysis.partition.report import Found, steps
from trt_sweep.app import partition as cli
from trt_sweep.backends.torchtrt import loading, partitioner
from trt_sweep.results.cells import size

OWN = '''
import torch

class Forked(torch.nn.Module):
    """A convolution's output goes through a pooling that has no converter, and around it; and out."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 1)
        self.pool = torch.nn.MaxPool2d(3, 1, 1, ceil_mode=True)

    def forward(self, x):
        around = self.first(x).relu()
        return self.second(self.pool(around)).relu() + around, around

class Breaks(torch.nn.Module):
    """Two graphs for torch.compile."""

    def __init__(self):
        super().__init__()
        self.one, self.two = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    def forward(self, x):
        y = self.one(x).relu()
        torch._dynamo.graph_break()
        return self.two(y).relu()

class Counts(torch.nn.Module):
    """Its output has as many rows as the data decide."""

    def forward(self, x):
        return torch.nonzero(x) * 2, torch.linalg.svd(x)[1].exp()

class Inverts(torch.nn.Module):
    """Nothing of it has a converter."""

    def forward(self, x):
        return torch.linalg.inv(x)
'''
SHAPES = {"Forked": [3, 9, 9], "Breaks": [8], "Counts": [4, 4], "Inverts": [4, 4]}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A --config-dir with models of our own, at a path that must be quoted."""
    folder = tmp_path_factory.mktemp("one's [own], $models")
    (folder / "model").mkdir()
    (folder / "partition_report_models.py").write_text(OWN)
    for name, shape in SHAPES.items():
        text = f"name: {name}\nfactory: {{_target_: partition_report_models.{name}}}\ninputs: [{{shape: {shape}}}]\n"
        (folder / "model" / f"{name}.yaml").write_text(text)
    return folder


def reported(folder: Path, *arguments: str) -> dict[str, Any]:
    """The report as data."""
    path = folder / "partition.json"
    assert cli.main([*arguments, "--out", str(path.parent)]) == 0
    return json.loads(path.read_text())


def true_engines(program: torch.export.ExportedProgram, args: tuple[Any, ...], size: int) -> int:
    """The engines at a min_block_size, counted in the graph that the library gives back."""
    with partitioner.trackers():
        graph = loading.load().dynamo.compile(program, arg_inputs=args, min_block_size=size, dryrun=True)
    return sum("_run_on_acc" in name for name, _ in graph.named_children())


@needs_tensorrt
@pytest.mark.parametrize(
    ("name", "expected", "advised", "values"),
    [
        (
            "googlenet",
            {(1, 4): 11, (5, 5): 10, (6, 8): 8, (9, 25): 6, (26, 45): 3, (46, None): 0},
            (45, 22),
            (7,),  # for others see test_partition.py
        ),
        (
            "squeezenet1_1",
            {(1, 2): 4, (3, 14): 3, (15, 32): 1, (33, None): 0},
            (32, 16),
            (1, 2, 3, 14, 15, 32, 33),
        ),
    ],
)
def test_breakpoints_are_where_the_engines_change(name, expected, advised, values, own):
    data = reported(own, f"model={name}")
    found = {(step["least"], step["most"]): step["found"] for step in data["steps"]}
    assert {values: len(each["engine_ops"]) for values, each in found.items()} == expected
    assert len({each["partition_id"] for each in found.values()}) == len(found)
    of = data["partition"]
    assert (of["advised_min_block_size"], of["advised_min_block_size_moderate"]) == advised

    model = torchvision(name)
    program = torch.export.export(model.module, model.inputs.args)
    for value in values:
        (engines,) = [count for (least, most), count in expected.items() if least <= value <= (most or value)]
        assert true_engines(program, model.inputs.args, value) == engines, value

    parts = [part for graph in data["graphs"] for part in graph["parts"]]
    assert sum(len(part["operators"]) for part in parts) == of["ops_total"]
    assert [len(part["operators"]) for part in parts if part["engine"]] == of["engine_ops"]
    assert sum(len(part["inputs"]) for part in parts if part["engine"]) == of["engine_inputs"]
    assert data["never_converted"] == {"aten.max_pool2d.default": of["ops_total"] - of["ops_supported"]}


@needs_tensorrt
def test_one_engine_has_no_boundary_but_input_and_output(tmp_path, capsys):
    data = reported(tmp_path, "model=resnet18")
    (graph,) = data["graphs"]
    (part,) = graph["parts"]
    assert part["name"] == "engine 0" and len(part["operators"]) == 89 and part["modules"][0] == "conv1"
    assert [(each["source"], each["users"], each["tensors"], each["bytes"]) for each in graph["boundaries"]] == [
        ("input", ["engine 0"], 1, 4 * 3 * 224 * 224),
        ("engine 0", ["output"], 1, 4 * 1000),
    ]
    assert [(step["least"], step["most"]) for step in data["steps"]] == [(1, 89), (90, None)]
    assert data["steps"][0]["found"]["tensors_between"] == data["steps"][0]["found"]["bytes_between"] == 0
    out = capsys.readouterr().out
    assert "All 89 operators can go into engines." in out
    assert "min_block_size changes nothing up to 89: 1 engine with 89 operators." in out


@needs_tensorrt
@pytest.mark.parametrize("arguments", [["batch_size=2"], ["batch_size=2", "+compile.use_fast_partitioner=false"]])
def test_what_crosses_a_known_boundary(own, tmp_path, arguments):
    data = reported(
        tmp_path, "--config-dir", str(own), "model=Forked", "precision=fp16", "min_block_size=1", *arguments
    )
    (graph,) = data["graphs"]
    inside = 2 * 4 * 9 * 9 * 2  # batch, channels, height, width, bytes of FP16
    assert [(each["source"], each["users"], each["tensors"], each["bytes"]) for each in graph["boundaries"]] == [
        ("input", ["engine 0"], 1, 2 * 3 * 9 * 9 * 2),
        ("engine 0", ["PyTorch 0", "engine 1", "output"], 1, inside),
        ("PyTorch 0", ["engine 1"], 1, inside),
        ("engine 1", ["output"], 1, inside),
    ]
    engine, pool, last = graph["parts"]
    assert pool["operators"] == {next(iter(pool["operators"])): "aten.max_pool2d.default"} and pool["modules"] == [
        "pool"
    ]
    assert [tensor["shape"] for tensor in last["inputs"]] == [[2, 4, 9, 9]] * 2
    assert {tensor["dtype"] for part in graph["parts"] for tensor in part["outputs"]} == {"float16"}
    assert (len(engine["operators"]), len(last["operators"])) == (2, 3)
    assert data["steps"][0]["found"]["bytes_between"] == 2 * inside
    assert [(step["least"], step["most"]) for step in data["steps"]] == [(1, 2), (3, 3), (4, None)]


@needs_tensorrt
def test_what_is_too_small_is_told_from_what_has_no_converter(own, tmp_path, capsys):
    data = reported(tmp_path, "--config-dir", str(own), "model=Forked", "min_block_size=3", "batch_size=[2,4,8]")
    (graph,) = data["graphs"]
    assert data["too_small"] == {"PyTorch 0": {"aten.convolution.default": 1, "aten.relu.default": 1}}
    assert graph["boundaries"][0]["bytes"] == 4 * 4 * 3 * 9 * 9  # at the size that is optimized for
    out = capsys.readouterr().out
    assert "1 max_pool2d + 2 too few for an engine" in out and "Sizes are those at batch 4" in out
    assert "1 of 6 operators stays in PyTorch at any min_block_size; no converter takes it: 1 aten.max_pool2d" in out
    assert "leaves 5 operators to PyTorch whose engines would be smaller than that: no engines instead of 2." in out
    rows = [line.split() for line in out.splitlines() if "/6" in line]
    assert [row[:3] for row in rows] == [["1-2", "2", "5/6"], ["3", "1", "3/6"], [">=4", "0", "0/6"]]
    assert " ".join(rows[1]).endswith("3: this report, advised for fewest segments")
    assert " ".join(rows[2]).endswith("5: default")
    assert "-m min_block_size=1,3 times each partition" in out


@needs_tensorrt
def test_graphs_of_torch_compile(own, tmp_path, capsys):
    arguments = ("--config-dir", str(own), "model=Breaks", "backend=torch_compile", "min_block_size=1")
    data = reported(tmp_path, *arguments)
    assert [[part["name"] for part in graph["parts"]] for graph in data["graphs"]] == [["engine 0"], ["engine 1"]]
    # The weights are passed in: 8 x 8 and 8 numbers, beside one row of 8.
    assert [(each["source"], each["tensors"], each["bytes"]) for each in data["graphs"][1]["boundaries"]] == [
        ("input", 3, 4 * (64 + 8 + 8)),
        ("engine 1", 1, 4 * 8),
    ]
    out = capsys.readouterr().out
    assert "graph 2 of 2" in out and "passes the weights in" in out


@needs_tensorrt
def test_sizes_that_the_data_decide_are_not_invented(own, tmp_path, capsys):
    data = reported(tmp_path, "--config-dir", str(own), "model=Counts", "min_block_size=300")
    (graph,) = data["graphs"]
    assert graph["boundaries"][-1]["bytes"] is None
    assert [None, 3] in [tensor["shape"] for tensor in graph["parts"][-1]["outputs"]]
    assert "A size of ? is decided by the data." in capsys.readouterr().out


@needs_tensorrt
def test_a_model_without_an_operator_to_convert(own, tmp_path, capsys):
    data = reported(tmp_path, "--config-dir", str(own), "model=Inverts")
    assert [(step["least"], step["most"]) for step in data["steps"]] == [(1, None)]
    assert {part["name"] for graph in data["graphs"] for part in graph["parts"]} == {"PyTorch 0"}
    assert "goes into an engine, whatever min_block_size is." in capsys.readouterr().out


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it, so that all that libraries print counts."""
    command = [sys.executable, "-m", "trt_sweep", "partition", "--config-dir", str(EXAMPLE), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


@needs_tensorrt
@without_gpu
def test_nothing_else_is_printed(tmp_path):
    done = run(tmp_path, "model=scale")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("scale dynamo fp32 1x8, min_block_size=5: ")
    assert done.stdout.splitlines()[-1] == "· There is no GPU here: compute capability 9.0 is assumed."
    assert not list(tmp_path.iterdir())


@needs_tensorrt
def test_what_cannot_be_exported_is_one_line(tmp_path):
    done = run(tmp_path, "model=data_dependent")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("error: data_dependent cannot be partitioned: GuardOnDataDependentSymNode: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["min_block_size=1,5"], "min_block_size=1,5 asks for several points"),
        (["-m", "model=googlenet"], "--multirun asks for several points"),
        (["+sweep=min_block_size"], "a sweep= asks for several points"),
        (["model=nope"], "model=nope is not known: use one of "),
        (["min_block_size=0"], "min_block_size=0 is not allowed: use an integer of at least 1"),
        (["min_block=1"], "min_block is not known: did you mean min_block_size"),
        (["min_block_size=[1"], "min_block_size=[1 cannot be read: "),
        (["--engines"], "unrecognized arguments: --engines"),
        (["--config-dir", "nowhere"], "--config-dir=nowhere is not a folder"),
        (
            ["backend=eager"],
            "backend=eager has no partition that Torch-TensorRT could be asked for: use backend=dynamo or",
        ),
        (["backend=onnx"], "backend=onnx has no partition"),
        (["model.name=resnet"], "model.name=resnet is not a model of torchvision: did you mean resnet50"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, capfd):
    usage = arguments[0] in ("-m", "--engines")
    assert cli.main(arguments) == (2 if usage else 1)
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"error: {said}") and err.count("\n") == 1, err


@needs_tensorrt
def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "below" / "partition.json"
    assert cli.main(["--config-dir", str(EXAMPLE), "model=scale", "--out", str(place.parent)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("scale dynamo fp32") and f"error: {place} cannot be written: " in err


def test_ranges_are_halved_where_the_library_counts_otherwise():
    def asked(value: int) -> Found:
        """Engines of 4 and 9 operators by our count; by the library's one of 6, and one that goes at no value."""
        left = [9] if value > 6 else [4, 9]
        return Found(str(left), left, 0, 0)

    assert [(step.least, step.most, step.found.engine_ops) for step in steps(asked, [4, 9], 13)] == [
        (1, 6, [4, 9]),
        (7, None, [9]),
    ]


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        ([], "–"),
        (["fc"], "fc"),
        (["conv1", "bn1", "layer1.0"], "conv1 … layer1"),
        (["features.3.squeeze", "features.3.expand", "features.4"], "features.3 … features.4"),
        (["inception3b.branch4.1", "inception3b"], "inception3b"),
        (["a.x", "b", "a.y"], "a … b"),
    ],
)
def test_modules_are_named_in_short(paths, shown):
    assert show.modules(paths) == shown


def test_bytes_are_shown_in_the_unit_that_suits_them():
    shown = [size(number) for number in (0, 1000, 1024, 1536, 784 * 1024, 3 << 20, 5 << 30, None)]
    assert shown == ["0 B", "1000 B", "1 KiB", "1.5 KiB", "784 KiB", "3 MiB", "5 GiB", "?"]
