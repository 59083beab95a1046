"""What Torch-TensorRT would put into engines, by its own partitioner and without building any."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
import operator
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from trt_sweep import torchtrt
from trt_sweep.models import Model
from trt_sweep.records import Partition

FILE = "partition.json"


def plan(
    program: torch.export.ExportedProgram, model: Model, arguments: dict[str, Any]
) -> tuple[Partition, dict[str, Any]]:
    """Partition an exported program, twice: as asked for, and at `min_block_size=1` for the library's advice.

    The advice is computed as `dryrun_stats_display` of torch_tensorrt/dynamo/_DryRunTracker.py does: the operators of
    the largest engine (fewest segments), and the rounded-up mean over the engines (moderate). Returns the fields of
    the row and the content of partition.json.
    """
    default = int(torchtrt.default_of("min_block_size"))
    size = arguments.get("min_block_size", default)
    tracker, graph = _dryrun(program, model, arguments)
    finest = tracker if size == 1 else _dryrun(program, model, {**arguments, "min_block_size": 1})[0]

    engine_ops = [data.subgraph_op_count for data in tracker.per_subgraph_data]
    finest_ops = [data.subgraph_op_count for data in finest.per_subgraph_data]
    advised = max(finest_ops, default=None)
    # The library rounds the mean to two digits before it rounds up.
    moderate = math.ceil(round(sum(finest_ops) / len(finest_ops), 2)) if finest_ops else None
    fallback = _fallback(graph)
    assumed = None if torch.cuda.is_available() else ".".join(map(str, torchtrt.ASSUMED_CAPABILITY))
    partition = Partition(
        ops_total=tracker.total_ops_in_graph,
        ops_supported=tracker.supported_ops_in_graph,
        engines=len(engine_ops),
        engine_ops=engine_ops,
        fallback_ops=len(fallback),
        partition_id=_identity(graph),
        default_min_block_size=default,
        advised_min_block_size=advised,
        advised_min_block_size_moderate=moderate,
        assumed_compute_capability=assumed,
    )
    details = {
        **vars(partition),
        "min_block_size": size,
        "engine_ops_at_min_block_size_1": finest_ops,
        "unsupported_ops": {str(name): count for name, count in tracker.unsupported_ops.items()},
        "fallback": fallback,
    }
    return partition, details


def _dryrun(
    program: torch.export.ExportedProgram, model: Model, arguments: dict[str, Any]
) -> tuple[Any, torch.fx.GraphModule]:
    """The library's own dry run: its tracker, and the partitioned graph whose engines are still graphs."""
    caught: list[Any] = []
    with _planning(caught):
        graph = torchtrt.load().dynamo.compile(
            program, arg_inputs=model.args, kwarg_inputs=model.kwargs, **arguments, dryrun=True
        )
    if not caught:  # no operator of the graph has a converter: the library returns before it partitions
        left = len(_operators(graph))
        nothing = SimpleNamespace(
            total_ops_in_graph=left, supported_ops_in_graph=0, per_subgraph_data=[], unsupported_ops={}
        )
        return nothing, graph
    return caught[0], graph


@contextlib.contextmanager
def _planning(caught: list[Any]) -> Iterator[None]:
    """Receive the tracker in place of the text on stdout; without a GPU, keep fallback modules on the CPU."""
    compiler = importlib.import_module("torch_tensorrt.dynamo._compiler")
    tracker = importlib.import_module("torch_tensorrt.dynamo._DryRunTracker")
    with contextlib.ExitStack() as stack:
        stack.enter_context(torchtrt.assumed_gpu())
        stack.enter_context(
            mock.patch.object(compiler, "dryrun_stats_display", lambda tracker, _: caught.append(tracker))
        )
        # The library's own function takes the innermost module off each node it names, and we want that module.
        stack.enter_context(mock.patch.object(tracker, "get_node_name", lambda node: node.name))
        if not torch.cuda.is_available():
            for module in (
                compiler,
                importlib.import_module("torch_tensorrt.dynamo.lowering._decompositions"),
            ):
                stack.enter_context(mock.patch.object(module, "to_torch_device", lambda _: torch.device("cpu")))
        yield


def _operators(graph: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [node for node in graph.graph.nodes if node.op in ("call_function", "call_method", "call_module")]


def _parts(graph: torch.fx.GraphModule) -> Iterator[tuple[str | None, torch.fx.Node]]:
    """Every operator with the name of its engine, None for those that stay in PyTorch."""
    for node in _operators(graph):
        child = getattr(graph, str(node.target)) if node.op == "call_module" else None
        if isinstance(child, torch.fx.GraphModule):
            engine = str(node.target) if "_run_on_acc" in str(node.target) else None
            yield from ((engine, inner) for inner in _operators(child))
        else:
            yield None, node


def _fallback(graph: torch.fx.GraphModule) -> list[dict[str, str]]:
    """The operators that stay in PyTorch and the module each comes from, in graph order."""
    left = []
    for engine, node in _parts(graph):
        if engine is None and node.target is not operator.getitem:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            left.append({"op": str(node.target), "node": node.name, "module": stack[-1][0] if stack else ""})
    return left


def _identity(graph: torch.fx.GraphModule) -> str:
    rows = []
    for engine, node in _parts(graph):
        value = node.meta.get("val")
        shape = [str(value.dtype), *map(str, value.shape)] if isinstance(value, torch.Tensor) else []
        rows.append([engine, node.name, str(node.target), *shape])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
