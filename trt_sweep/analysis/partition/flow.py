"""Find the parts of a partitioned graph, engines and what stays in PyTorch, and the tensors that cross."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from trt_sweep.backends.torchtrt.partitioner import inside, is_engine, module_of

INPUT, OUTPUT = "input", "output"  # of a graph, as if they were parts of it
ENGINE, PYTORCH = "engine", "PyTorch"


@dataclass(frozen=True)
class Tensor:
    """Hold a tensor that one part makes and others take; a size that is passed along counts as an INT64 scalar.

    `source` and `users` are names of parts. A dynamic dimension has the size that it is optimized for. A size that the
    data decide is None in `shape`, and `bytes` then too.
    """

    name: str
    source: str
    users: list[str]
    dtype: str
    shape: list[int | None]
    bytes: int | None


@dataclass(frozen=True)
class Part:
    """Hold an engine, or the operators between two engines that stay in PyTorch.

    `name` is "engine 0" or "PyTorch 0", counted over all graphs of a model, engines as in a point's folder. `operators`
    says what each node computes, in graph order; `modules` are those that the nodes were called in.
    """

    name: str
    engine: bool
    operators: dict[str, str]
    modules: list[str]
    inputs: list[Tensor]
    outputs: list[Tensor]


@dataclass(frozen=True)
class Boundary:
    """Hold what a part, or the input, hands on to later ones: each tensor once, however many take it.

    `bytes` is None where the data decide one of the sizes.
    """

    source: str
    users: list[str]
    tensors: int
    bytes: int | None


@dataclass(frozen=True)
class Graph:
    """Hold a graph's parts in their order, and the boundaries behind its input and behind each part."""

    parts: list[Part]
    boundaries: list[Boundary]

    @property
    def between(self) -> list[Tensor]:
        """Return the tensors that one part makes and another takes."""
        made = [tensor for part in self.parts for tensor in part.outputs]
        return [tensor for tensor in made if set(tensor.users) - {OUTPUT}]


def flow(graphs: Iterable[GraphModule]) -> list[Graph]:
    """Return what is in the partitioned graphs of one model, and where its tensors go."""
    counts: Counter[str] = Counter()
    return [_Walk(graph, counts).graph() for graph in graphs]


def total_bytes(sizes: Iterable[int | None]) -> int | None:
    """Return the sum of the tensors' bytes, None where one of them is."""
    known = list(sizes)
    return None if None in known else sum(size for size in known if size is not None)


class _Walk:
    """Go through a graph node by node.

    `_made` holds for each node where its value comes from: an operator or an input; for a submodule one for each
    output; nothing for weights, which do not cross.
    """

    def __init__(self, graph: GraphModule, counts: Counter[str]) -> None:
        self._counts = counts
        self._made: dict[Node, Any] = {}
        self._source: dict[Node, str] = {}
        self._users: dict[Node, dict[str, None]] = {}
        self._members: dict[str, list[Node]] = {}
        for node in graph.graph.nodes:
            child = inside(graph, node)
            if child is not None:
                self._enter(node, child)
            elif node.op == "placeholder":
                self._made[node], self._source[node] = node, INPUT
            elif node.target is operator.getitem and not isinstance(self._made[node.args[0]], Node):
                self._made[node] = self._made[node.args[0]][node.args[1]]  # one of a submodule's outputs
            elif node.op == "output":
                self._take(node, OUTPUT)
            else:
                self._visit(node, None)

    def graph(self) -> Graph:
        """Return what was found."""
        crossing = {node: _tensors(node, self._source[node], list(users)) for node, users in self._users.items()}
        parts = [self._part(name, crossing) for name in self._members]
        boundaries = []
        for source in (INPUT, *self._members):
            made = [tensor for tensors in crossing.values() for tensor in tensors if tensor.source == source]
            users = dict.fromkeys(user for tensor in made for user in tensor.users)
            in_order = [name for name in (*self._members, OUTPUT) if name in users]
            boundaries.append(Boundary(source, in_order, len(made), total_bytes(tensor.bytes for tensor in made)))
        return Graph(parts, boundaries)

    def _enter(self, node: Node, child: GraphModule) -> None:
        """Enter a submodule: its placeholders stand for what it is given, and it for what it returns."""
        engine = self._begin(ENGINE) if is_engine(str(node.target)) else None
        given = iter(node.args)
        for inner in child.graph.nodes:
            if inner.op == "placeholder":
                self._made[inner] = map_arg(next(given), self._made.__getitem__)
            elif inner.op == "output":
                self._made[node] = map_arg(inner.args[0], self._made.__getitem__)
            else:
                self._visit(inner, engine)

    def _visit(self, node: Node, engine: str | None) -> None:
        if node.op == "get_attr":
            self._made[node] = ()
            return
        part = engine or self._in_pytorch()
        self._take(node, part)
        self._made[node], self._source[node] = node, part
        self._members[part].append(node)

    def _take(self, node: Node, part: str) -> None:
        for argument in node.all_input_nodes:
            for made in pytree.tree_leaves(self._made[argument]):
                if isinstance(made, Node) and self._source[made] != part:
                    self._users.setdefault(made, {})[part] = None

    def _in_pytorch(self) -> str:
        """Return the part that is open where it is in PyTorch, or else a new one."""
        last = next(reversed(self._members), "")
        return last if last.startswith(PYTORCH) else self._begin(PYTORCH)

    def _begin(self, kind: str) -> str:
        name = f"{kind} {self._counts[kind]}"
        self._counts[kind] += 1
        self._members[name] = []
        return name

    def _part(self, name: str, crossing: dict[Node, list[Tensor]]) -> Part:
        nodes = self._members[name]
        tensors = [tensor for made in crossing.values() for tensor in made]
        return Part(
            name,
            engine=name.startswith(ENGINE),
            operators={node.name: _operation(node) for node in nodes},
            modules=list(dict.fromkeys(module for module in map(module_of, nodes) if module)),
            inputs=[tensor for tensor in tensors if name in tensor.users],
            outputs=[tensor for tensor in tensors if tensor.source == name],
        )


def _operation(node: Node) -> str:
    """Return what a node computes, as torch names it: `aten.relu.default`, or `getitem` for a function of Python's."""
    if isinstance(node.target, str | torch._ops.OperatorBase):
        return str(node.target)
    return getattr(node.target, "__name__", str(node.target))


def _tensors(node: Node, source: str, users: list[str]) -> list[Tensor]:
    """Return what a node's value is made of; constants of Python's do not count."""
    found = []
    for value in pytree.tree_leaves(node.meta.get("val")):
        if isinstance(value, torch.Tensor):
            shape = [_size(size) for size in value.shape]
            numbers = None if None in shape else math.prod(size for size in shape if size is not None)
            size_bytes = None if numbers is None else numbers * value.dtype.itemsize
            dtype = str(value.dtype).removeprefix("torch.")
            found.append(Tensor(node.name, source, users, dtype, shape, size_bytes))
        elif isinstance(value, torch.SymInt):
            found.append(Tensor(node.name, source, users, "int64", [], 8))
    return found


def _size(size: int | torch.SymInt) -> int | None:
    """Return a size, or the one that a symbol was traced with; None where the data decide it."""
    found = size.node.hint if isinstance(size, torch.SymInt) else size
    return found if isinstance(found, int) else None
