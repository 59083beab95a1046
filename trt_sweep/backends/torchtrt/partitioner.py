"""Find what Torch-TensorRT would put into engines, by its own partitioner and without building any."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import importlib
import inspect
import json
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch

from trt_sweep.backends.base import DryRun, GraphDryRun
from trt_sweep.backends.torchtrt import installed, loading
from trt_sweep.errors import Unsupported
from trt_sweep.results.columns import Partition

FILE = "partition.json"
COMPILER = "torch_tensorrt.dynamo._compiler"
Once = Callable[[str, Callable[[], list[int]]], list[int]]


def plan(dry_run: DryRun, size: int, once: Once, frontend: str = "dynamo") -> tuple[Partition, dict[str, Any]]:
    """Return the partition of a model as asked for, and the library's advice at `min_block_size=1`.

    `dry_run(min_block_size)` returns the partitioned graphs. The advice does not depend on `size`; `once` keeps it for
    other points of the model. It is computed as `dryrun_stats_display` of torch_tensorrt/dynamo/_DryRunTracker.py does:
    the operators of the largest engine (fewest segments), and the rounded-up mean over the engines (moderate). Return
    the fields of the row and the content of partition.json.
    """
    graphs = dry_run(size)
    found_ops = engine_ops(graphs)
    finest_ops = once("finest", lambda: found_ops if size == 1 else engine_ops(dry_run(1)))
    # The library rounds the mean to two digits before it rounds up.
    moderate = math.ceil(round(sum(finest_ops) / len(finest_ops), 2)) if finest_ops else None
    unsupported: dict[str, int] = {}
    total = supported = 0
    for tracker, graph in graphs:
        total += len(_operators(graph)) if tracker is None else tracker.total_ops_in_graph
        if tracker is not None:
            supported += tracker.supported_ops_in_graph
            for name, count in tracker.unsupported_ops.items():
                unsupported[str(name)] = unsupported.get(str(name), 0) + count
    if not total:
        raise Unsupported(
            "nothing reaches TensorRT: the lowered graph of this model has no operator; use backend=eager"
        )
    fallback = [item for _, graph in graphs for item in _fallback(graph)]
    partition = Partition(
        ops_total=total,
        ops_supported=supported,
        engines=len(found_ops),
        engine_ops=found_ops,
        engine_inputs=sum(map(_engine_inputs, (graph for _, graph in graphs))),
        fallback_ops=len(fallback),
        partition_id=identity([graph for _, graph in graphs]),
        default_min_block_size=installed.torch_tensorrt().parameters(frontend)["min_block_size"].default,
        advised_min_block_size=max(finest_ops, default=None),
        advised_min_block_size_moderate=moderate,
        assumed_compute_capability=None
        if torch.cuda.is_available()
        else ".".join(map(str, loading.ASSUMED_CAPABILITY)),
    )
    details = {
        **vars(partition),
        "min_block_size": size,
        "engine_ops_at_min_block_size_1": finest_ops,
        "unsupported_ops": unsupported,
        "fallback": fallback,
    }
    return partition, details


def partitioned(graph: torch.fx.GraphModule) -> bool:
    """Return whether the library partitioned a graph, which it does unless no operator has a converter."""
    return any(isinstance(child, torch.fx.GraphModule) for child in graph.children())


def engine_ops(graphs: list[GraphDryRun]) -> list[int]:
    """Return the number of operators of each engine, in graph order."""
    return [data.subgraph_op_count for tracker, _ in graphs if tracker for data in tracker.per_subgraph_data]


@contextlib.contextmanager
def trackers() -> Iterator[list[Any]]:
    """Collect the trackers of dry runs instead of their text on stdout; without a GPU, keep modules on the CPU."""
    loading.load()
    caught: list[Any] = []
    compiler = importlib.import_module(COMPILER)
    tracker = importlib.import_module("torch_tensorrt.dynamo._DryRunTracker")
    with contextlib.ExitStack() as stack:
        stack.enter_context(loading.assumed_gpu())
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
        yield caught


class _Caught(Exception):
    """End a compilation where it would partition, and hold what it would do that with."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments


class Lowered:
    """Hold a model's graph as the library hands it to its partitioner, which is ten times as fast as lowering.

    `compile` must call `torch_tensorrt.dynamo.compile` with dryrun=True. Raise what that raises before it partitions.
    """

    def __init__(self, compile: Callable[[], object]) -> None:
        loading.load()
        compiler = importlib.import_module(COMPILER)
        self._partition = compiler.compile_module
        signature = inspect.signature(self._partition)

        def caught(*args: Any, **kwargs: Any) -> None:
            raise _Caught(signature.bind(*args, **kwargs).arguments)

        try:
            with trackers(), mock.patch.object(compiler, "compile_module", caught):
                compile()
        except _Caught as end:
            self._arguments = end.arguments
        else:
            raise RuntimeError(f"this torch_tensorrt partitions elsewhere than in compile_module of {COMPILER}")

    def dry_run(self, size: int) -> list[GraphDryRun]:
        """Partition it for min_block_size=`size`."""
        graph = self._arguments["gm"]
        settings = dataclasses.replace(self._arguments["settings"], min_block_size=size)
        # The library takes weights off the graph that it is given: that gets one with the same weights.
        fresh = torch.fx.GraphModule(graph, copy.deepcopy(graph.graph))
        fresh.meta = dict(graph.meta)  # what is complex, and gets operators of its own around the engines
        with trackers() as found:
            partitioned = self._partition(**self._arguments | {"gm": fresh, "settings": settings})
        return [(found[0] if found else None, partitioned)]


def _operators(graph: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [node for node in graph.graph.nodes if node.op in ("call_function", "call_method", "call_module")]


def inside(graph: torch.fx.GraphModule, node: torch.fx.Node) -> torch.fx.GraphModule | None:
    """Return the graph that a node of a partitioned graph stands for, None where it is an operator."""
    child = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    return child if isinstance(child, torch.fx.GraphModule) else None


def is_engine(name: str) -> bool:
    """Return whether the library would build an engine from the submodule of this name."""
    return "_run_on_acc" in name


def module_of(node: torch.fx.Node) -> str:
    """Return the path of the innermost module that an operator was called in; "" for the model itself or if unknown."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _parts(graph: torch.fx.GraphModule) -> Iterator[tuple[str | None, torch.fx.Node]]:
    """Return every operator with the name of its engine, None for those that stay in PyTorch."""
    for node in _operators(graph):
        child = inside(graph, node)
        if child is not None:
            engine = str(node.target) if is_engine(str(node.target)) else None
            yield from ((engine, inner) for inner in _operators(child))
        else:
            yield None, node


def _engine_inputs(graph: torch.fx.GraphModule) -> int:
    inputs = 0
    for name, child in graph.named_children():
        if is_engine(name) and isinstance(child, torch.fx.GraphModule):
            inputs += sum(node.op == "placeholder" for node in child.graph.nodes)
    return inputs


def _fallback(graph: torch.fx.GraphModule) -> list[dict[str, str]]:
    """Return the operators that stay in PyTorch and the module each comes from, in graph order."""
    left = []
    for engine, node in _parts(graph):
        if engine is None and node.target is not operator.getitem:
            left.append({"op": str(node.target), "node": node.name, "module": module_of(node)})
    return left


def identity(graphs: list[torch.fx.GraphModule]) -> str:
    """Return `partition_id`: 16 hexadecimal digits for which operator of which shape and type lies in which engine."""
    rows = []
    for graph in graphs:
        for engine, node in _parts(graph):
            value = node.meta.get("val")
            shape = [str(value.dtype), *map(str, value.shape)] if isinstance(value, torch.Tensor) else []
            rows.append([engine, node.name, str(node.target), *shape])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
