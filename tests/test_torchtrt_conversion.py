"""Ask a dry run what a build would say: what a converter refuses, and what becomes of odd outputs."""

from __future__ import annotations

import importlib
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import build_group, needs_tensorrt, without_gpu
from test_points_run import FAST
from torch import nn
from torch.utils import _pytree as pytree

from trt_sweep.backends.torchtrt import build_errors, conversion, loading, partitioner
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import Unsupported
from trt_sweep.models import tracing
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Inputs, Model
from trt_sweep.points.plan import effective
from trt_sweep.points.point import Point
from trt_sweep.results.record import Record

pytestmark = [needs_tensorrt, without_gpu]


class Rows(nn.Module):
    """Write rows into a table: the converter takes it for two samples, and not for one."""

    def forward(self, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        written = table.clone()
        written[..., torch.arange(2, device=table.device) + 1, :] = rows
        return written + 1


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = self.fc(x)
        return {"loss": None, "parts": (y, ["text", {"relu": y.relu()}]), "scale": 0.5, "count": 3}


ROWS = ModelConfig(
    name="rows", factory={"_target_": f"{__name__}.Rows"}, inputs=[InputConfig([3, 10, 6]), InputConfig([3, 2, 6])]
)
NESTED = ModelConfig(name="nested", factory={"_target_": f"{__name__}.Nested"}, inputs=[InputConfig([8])])


def dry_run(model: ModelConfig, folder, *, cache: ProcessCache | None = None, **values: Any) -> Record:
    settings = {"backend": "dynamo", "batch_size": 1, "min_block_size": 1, "device": "cpu"} | values
    (point,) = effective(SweepConfig(model=model, measure=FAST, dryrun=True, **settings))
    with build_group([Point(point, [0])], folder, cache=cache) as group:
        return group.runs[0].start()


@pytest.mark.parametrize("backend", ["dynamo", "torch_compile"])
def test_what_a_converter_refuses_is_said_with_the_operator_and_the_way_out(backend, tmp_path):
    refused = dry_run(ROWS, tmp_path / "one", backend=backend)
    assert (refused.status, refused.phase, refused.engines) == ("unsupported", "build", 1)
    assert refused.reason is not None and "\n" not in refused.reason
    for words in (f"backend={backend}: torch-tensorrt", "Cannot broadcast", "converting aten.index_put.default"):
        assert words in refused.reason
    left = dry_run(ROWS, tmp_path / "two", backend=backend, compile={"torch_executed_ops": ["aten.index_put.default"]})
    assert left.status == "dryrun", left.reason
    assert left.fallback_ops == 1 and left.engines >= 1


def test_another_batch_size_is_tried_for_itself(tmp_path):
    shared = ProcessCache()
    statuses = [dry_run(ROWS, tmp_path / str(size), cache=shared, batch_size=size).status for size in (1, 2)]
    assert statuses == ["unsupported", "dryrun"]


def test_no_engine_no_refusal(tmp_path):
    assert dry_run(ROWS, tmp_path, min_block_size=9).status == "dryrun"


def test_a_partition_is_converted_once(tmp_path):
    shared = ProcessCache()
    with mock.patch.object(conversion, "_network", wraps=conversion._network) as network:
        rows = [dry_run(NESTED, tmp_path / str(size), cache=shared, min_block_size=size) for size in (1, 2)]
        refused = [dry_run(ROWS, tmp_path / f"r{size}", cache=shared, min_block_size=size) for size in (1, 2)]
    assert rows[0].partition_id == rows[1].partition_id and network.call_count == 2
    assert {row.status for row in refused} == {"unsupported"} and refused[0].reason == refused[1].reason


def test_the_words_are_those_of_the_build(tmp_path):
    """Until a converter refuses, the library's own compile needs no GPU."""
    inputs = (torch.randn(1, 3, 10, 6), torch.randn(1, 3, 2, 6))
    program = torch.export.export(Rows().eval(), inputs)
    said = build_errors.explained("backend=dynamo")
    with torch.no_grad(), partitioner.trackers(), pytest.raises(Unsupported) as built, said:
        loading.load().dynamo.compile(program, arg_inputs=inputs, min_block_size=1)
    assert str(built.value) == dry_run(ROWS, tmp_path).reason


def test_a_network_that_cannot_be_made_here_leaves_the_plan(tmp_path):
    with mock.patch.object(conversion, "_network", side_effect=RuntimeError("Found no NVIDIA driver on your system")):
        record = dry_run(NESTED, tmp_path)
    assert (record.status, record.engines) == ("dryrun", 1)


def same(one: Any, other: Any) -> bool:
    (these, structure), (those, wanted) = map(pytree.tree_flatten, (one, other))
    equal = (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(these, those, strict=True))
    return structure == wanted and all(equal)


class Engine(nn.Module):
    """Stands where an engine would: runs the same part of the graph in PyTorch."""

    def __init__(self, part: torch.fx.GraphModule) -> None:
        super().__init__()
        self.part = part

    def set_output_tensors_as_unowned(self, unowned: bool) -> None:
        pass

    def forward(self, *args: torch.Tensor) -> Any:
        return self.part(*args)


def test_outputs_that_are_no_tensors_are_taken_out_for_the_library_and_put_back():
    module, x = Nested().eval(), torch.randn(2, 8)
    program = tracing.export(Model(module, Inputs((x,), {})))

    def compiled() -> Any:
        compiler = importlib.import_module(partitioner.COMPILER)
        engine = mock.patch.object(compiler, "convert_module", lambda part, *_, **__: Engine(part))
        with torch.no_grad(), partitioner.trackers(), engine:
            return loading.load().dynamo.compile(program, arg_inputs=(x,), min_block_size=1)

    with pytest.raises(AttributeError, match="target"):  # what the library does with them, so that this is needed
        compiled()
    whole = tracing.tensors_only(program)
    assert whole is not None
    with torch.no_grad():
        assert same(whole(compiled()(x)), module(x)) and same(whole(program.module()(x)), module(x))
    assert tracing.tensors_only(program) is None


@pytest.mark.parametrize("backend", ["dynamo", "torch_compile", "onnx"])
def test_a_model_with_such_outputs_is_planned_and_says_what_becomes_of_them(backend, tmp_path):
    if backend == "onnx":
        pytest.importorskip("onnxscript")
    record = dry_run(NESTED, tmp_path, backend=backend)
    assert (record.status, record.engines) == ("dryrun", 1), record.reason
    (note,) = record.model_notes or []
    assert "output parts.1.0, scale, count is no tensor" in note and "keeps its value" in note


def test_a_graph_without_an_operator_is_no_plan(tmp_path):
    identity = ModelConfig(name="identity", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig([8])])
    for backend in ("dynamo", "torch_compile"):
        record = dry_run(identity, tmp_path / backend, backend=backend)
        assert record.status == "unsupported" and "no operator" in str(record.reason), record.reason
