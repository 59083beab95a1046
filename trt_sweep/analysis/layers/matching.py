"""Match the layers of two profiles that do the same work: by their PyTorch modules, then by what they do, in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable
from difflib import SequenceMatcher
from typing import Any

import networkx as nx
import pandas as pd

from trt_sweep.results.layers import evidence

Layer = dict[Hashable, Any]  # a row of the table
Group = tuple[list[int], list[int]]  # rows here, and rows there
# What a layer does, by its type, its name and its nodes; the first that is found is its family. What TensorRT folds
# into weights (scale, bias, batch normalization) is left out: frontends differ in it.
WORK = {
    "attention": re.compile(r"mha|attention"),
    "convolution": re.compile(r"corr|conv(?!ert)"),
    "matmul": re.compile(r"gemm|linear|mat_?mul|matrix_multiply|addmm|__myl_fc"),
    "pooling": re.compile(r"pool"),
    "softmax": re.compile(r"softmax"),
    "normalization": re.compile(r"(layer|group|instance)_?norm|normalization"),
    "reduction": re.compile(r"mean|reduce"),
    "relu": re.compile(r"relu"),
    "gelu": re.compile(r"gelu|erf"),
    "sigmoid": re.compile(r"sigm|silu|swish"),
}


def groups(here: pd.DataFrame, there: pd.DataFrame) -> list[Group]:
    """Return positions of layers that do the same work here and there; one side is empty where nothing corresponds.

    In this order, each step for what the ones before have left:

    1. one to one, in order: the same modules, operations and shapes
    2. layers that share a module, few or many, where that has a single known node in either profile. A module that is
       called several times (a ReLU that a block shares) cannot tell its calls apart, nor a parent its operations
    3. one to one, in order: the same operations and shapes, then less and less of these. Layers whose modules are known
       on both sides, and differ, are never matched so
    4. layers that hold no work, in order
    """
    layers = [table.to_dict("records") for table in (here, there)]
    pairing = _Pairing(layers)
    pairing.align(lambda layer: (tuple(layer["modules"]), _by_operations(layer)) if layer["modules"] else None)
    pairing.share_modules()
    for key in (_by_operations, _by_work, _by_family_and_shapes, _by_family_and_outputs):
        pairing.align(key)
    pairing.align(lambda layer: layer["type"], idle=True)
    alone: list[Group] = [([row], []) for row in pairing.left(0)] + [([], [row]) for row in pairing.left(1)]
    return sorted(pairing.found + alone, key=lambda group: (not group[0], group))


class _Pairing:
    """Hold the groups found so far, and what is left to match."""

    def __init__(self, layers: list[list[Layer]]) -> None:
        self.layers = layers
        self.found: list[Group] = []

    def left(self, side: int) -> list[int]:
        taken = {row for group in self.found for row in group[side]}
        return [row for row in range(len(self.layers[side])) if row not in taken]

    def _left(self, side: int, idle: bool) -> list[int]:
        return [row for row in self.left(side) if (self.layers[side][row]["type"] in evidence.SYNC) == idle]

    def align(self, key: Callable[[Layer], Hashable], idle: bool = False) -> None:
        """Pair layers of equal keys, keeping the order of either side; a key of null matches nothing."""
        rows, keys = [], []
        for side, layers in enumerate(self.layers):
            keyed = [(row, key(layers[row])) for row in self._left(side, idle)]
            rows.append([row for row, value in keyed if value is not None])
            keys.append([value for _, value in keyed if value is not None])
        for block in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks():
            for step in range(block.size):
                one, other = rows[0][block.a + step], rows[1][block.b + step]
                modules = set(self.layers[0][one]["modules"] or []), set(self.layers[1][other]["modules"] or [])
                if not all(modules) or modules[0] & modules[1]:
                    self.found.append(([one], [other]))

    def share_modules(self) -> None:
        """Group what modules connect, where that joins layers of both sides."""
        several: set[str] = set()
        for layers in self.layers:
            nodes = {(node, path) for layer in layers for node, path in (layer["nodes"] or {}).items() if path}
            several |= {path for path, count in Counter(path for _, path in nodes).items() if count > 1}
        graph = nx.Graph()
        for side in (0, 1):
            for row in self._left(side, idle=False):
                paths = set(self.layers[side][row]["modules"] or []) - several
                graph.add_edges_from(((side, row), path) for path in paths)
        for members in nx.connected_components(graph):
            here, there = (sorted(node[1] for node in members if node[0] == side) for side in (0, 1))
            if here and there:
                self.found.append((here, there))


def _shapes(tensors: list[str] | None) -> tuple[str, ...]:
    """Return shapes without the format, which a change of precision changes."""
    return tuple(text.split(" ")[0] for text in tensors or [])


def _work(layer: Layer) -> tuple[str, ...]:
    told = f"{layer['type']} {layer['name']}"
    if not evidence.operations(layer["name"]):
        for node in layer["nodes"] or []:  # without the modules' paths, which may be called anything
            name = node.rpartition("/")[2]
            told = f"{told.replace(node, name)} {name}"
    return tuple(work for work, form in WORK.items() if form.search(told.lower())) or ("other",)


def _by_operations(layer: Layer) -> Hashable:
    return tuple(evidence.operations(layer["name"])), _by_work(layer)


def _by_work(layer: Layer) -> Hashable:
    return _work(layer), _shapes(layer["inputs"]), _shapes(layer["outputs"])


def _by_family_and_shapes(layer: Layer) -> Hashable:
    return _work(layer)[0], frozenset(_shapes(layer["inputs"])), _shapes(layer["outputs"])


def _by_family_and_outputs(layer: Layer) -> Hashable:
    return _work(layer)[0], _shapes(layer["outputs"])
