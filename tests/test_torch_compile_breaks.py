"""Find where torch.compile ends its graphs early, and which operators run beside them, by torch's own counters."""

from __future__ import annotations

import contextlib

import pandas as pd
import pytest
import torch
from conftest import build_group, needs_tensorrt, without_gpu
from test_points_run import FAST
from torch import nn

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.models import torch_compile
from trt_sweep.models.model import Inputs, Model
from trt_sweep.points.plan import effective, point_of
from trt_sweep.results import notes_of_builds, table


class Recurrent(nn.Module):
    """Dynamo leaves the whole forward of this one to Python."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


class Around(nn.Module):
    """Compiled around the part that is left to Python."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.inner = nn.Linear(6, 6), Recurrent()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.before(x).relu()).sigmoid()


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        if y.sum().item() > 1e9:
            return y
        return self.fc(y).relu()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    @torch.compiler.disable
    def wave(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin().cos()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.wave(self.fc(x)) * 2
        y = self.wave(y)
        return self.fc(y)


def described(module: nn.Module) -> dict[str, object]:
    model = Model(module.eval(), Inputs((torch.randn(2, 5, 6),), {}))
    with contextlib.ExitStack() as stack, torch.no_grad():
        return torch_compile.described(torch_compile.compile_model(model, stack, backend="eager"), model)


@pytest.mark.parametrize(
    ("module", "graphs", "breaks", "outside"),
    [
        (nn.Linear(6, 6), 1, 0, None),
        (Recurrent(), 0, 1, {"gru": 1, "linear": 1}),
        (Around(), 2, 1, {"gru": 1, "linear": 1}),
        (Branch(), 2, 1, {"item": 1}),
        (Twice(), 3, 2, {"sin": 2, "cos": 2}),
        (nn.Identity(), 0, 0, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_breaks_are_counted_and_what_runs_beside_the_graphs_is_named(module, graphs, breaks, outside):
    found = described(module)
    assert (found["graphs"], found["graph_breaks"]) == (graphs, breaks)
    if outside is None:
        assert set(found) == {"graphs", "graph_breaks"}
        return
    reasons, names = found["break_reasons"], dict(each.split(":") for each in str(found["ops_outside_names"]).split())
    assert len(reasons) == breaks and all("test_torch_compile_breaks.py:" in why for why in reasons)
    assert {f"aten.{name}": str(number) for name, number in outside.items()}.items() <= names.items()
    assert found["ops_outside"] == sum(map(int, names.values()))


@pytest.mark.parametrize("kind", [Recurrent, Branch])
def test_a_second_module_of_the_class_is_told_the_same(kind):
    """Torch keeps the graphs behind a break, and what it left to Python, for all modules of a class."""
    one = Model(kind().eval(), Inputs((torch.randn(2, 5, 6),), {}))
    with contextlib.ExitStack() as stack, torch.no_grad():
        made = [torch_compile.compile_model(one, stack, backend="eager") for _ in range(2)]
        first, second = (torch_compile.described(each, one) for each in made)
    assert first == second and first["graph_breaks"] == 1


def record(backend: str, folder, **values):
    model = ModelConfig(name="rnn", factory={"_target_": f"{__name__}.Recurrent"}, inputs=[InputConfig([5, 6])])
    (point,) = effective(SweepConfig(model=model, backend=backend, device="cpu", measure=FAST, **values))
    with build_group([point_of(point, SweepOptions())], folder / "points" / point.point_id) as group:
        return group.runs[0].start()


def test_inductor_says_where_nothing_was_compiled(tmp_path):
    found = record("inductor", tmp_path)
    assert (found.status, found.graphs, found.graph_breaks) == ("ok", 0, 1), found.reason
    assert found.ops_outside and "aten.gru:1" in str(found.ops_outside_names)
    (note,) = notes_of_builds.notes(table.load(tmp_path))
    assert note.startswith("rnn inductor: nothing was compiled, and all of it ran in eager PyTorch (") and "GRU" in note


@needs_tensorrt
@without_gpu
def test_no_graph_is_no_plan_for_tensorrt(tmp_path):
    found = record("torch_compile", tmp_path)
    assert (found.status, found.phase, found.ops_total) == ("unsupported", "partition", None)
    for words in ("backend=torch_compile: torch.compile makes no graph of this model", "GRU", "backend=dynamo"):
        assert words in str(found.reason)
    assert record("dynamo", tmp_path / "dynamo").status == "dryrun"


def rows(**values: object) -> pd.DataFrame:
    empty = {"engine_reused_from": None, "dynamic_range": None, "engines_stored": None, "jobs": [0], "merged_axes": []}
    breaks = {"graphs": 2, "graph_breaks": 1, "break_reasons": ["why (a.py:3)"], "ops_outside": 0}
    return pd.DataFrame([{"model": "m", "backend": "inductor", "ops_outside_names": None} | empty | breaks | values])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "m inductor: a call runs 2 graphs, and no operator between them: why (a.py:3)"),
        (
            {"ops_outside": 9, "ops_outside_names": " ".join(f"aten.op{number}:1" for number in range(9))},
            "m inductor: 9 operators of a call run beside its 2 graphs (aten.op0:1, aten.op1:1, aten.op2:1, "
            "aten.op3:1, aten.op4:1, aten.op5:1 and 3 more): why (a.py:3)",
        ),
        (
            {"graphs": 0, "graph_breaks": 0, "break_reasons": None},
            "m inductor: nothing was compiled, and all of it ran in eager PyTorch: the model has no operator",
        ),
    ],
)
def test_notes_on_breaks(values, said):
    assert notes_of_builds.notes(rows(**values)) == [said]


def test_a_model_in_one_graph_needs_no_note():
    assert notes_of_builds.notes(rows(graphs=1, graph_breaks=0, break_reasons=None, ops_outside=None)) == []
