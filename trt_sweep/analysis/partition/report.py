"""Find which values of min_block_size would make another partition, and what the present one is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trt_sweep.analysis.partition.flow import Graph, flow, total_bytes
from trt_sweep.backends.base import DryRun, GraphDryRun
from trt_sweep.backends.torchtrt.partitioner import engine_ops, identity, plan
from trt_sweep.results.columns import Partition


@dataclass(frozen=True)
class Found:
    """Hold a partition in short: the operators of its engines, and what passes between its parts.

    `bytes_between` is None where the data decide one of the sizes.
    """

    partition_id: str
    engine_ops: list[int]
    tensors_between: int
    bytes_between: int | None


@dataclass(frozen=True)
class Step:
    """Hold the values of min_block_size from `least` to `most`, None for all above, which lead to one partition."""

    least: int
    most: int | None
    found: Found

    def holds(self, value: int | None) -> bool:
        """Return whether this value of min_block_size is one of them; False for None."""
        return value is not None and self.least <= value and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Report:
    """Hold a model's partition at `min_block_size`, and what other values would change.

    `never_converted` counts the operators that are in no engine at any value, by name, and `unsupported_ops` those that
    no converter takes, as the library counts them. `too_small` counts by part which operators are in PyTorch only since
    their engine would have fewer than `min_block_size`.
    """

    min_block_size: int
    partition: Partition
    graphs: list[Graph]
    steps: list[Step]
    never_converted: dict[str, int]
    unsupported_ops: dict[str, int]
    too_small: dict[str, dict[str, int]]


def report(dry_run: DryRun, size: int, frontend: str) -> Report:
    """Return the report of the graphs that `dry_run` partitions, for min_block_size=`size`.

    It partitions at 1, at `size`, and at both ends of each range of values that it tells of. Raise what `dry_run`
    raises.
    """
    finest = dry_run(1)
    graphs = finest if size == 1 else dry_run(size)
    seen = {1: _found(finest), size: _found(graphs)}

    def asked(value: int) -> Found:
        if value not in seen:
            seen[value] = _found(dry_run(value))
        return seen[value]

    partition, details = plan({1: finest, size: graphs}.__getitem__, size, lambda _, make: make(), frontend)
    flows = flow(graph for _, graph in graphs)
    # What a node is called does not depend on min_block_size.
    never = [
        {node: op for part in graph.parts if not part.engine for node, op in part.operators.items()}
        for graph in flow(graph for _, graph in finest)
    ]
    too_small = {
        part.name: dict(Counter(op for node, op in part.operators.items() if node not in names))
        for names, graph in zip(never, flows, strict=True)
        for part in graph.parts
        if not part.engine
    }
    return Report(
        min_block_size=size,
        partition=partition,
        graphs=flows,
        steps=steps(asked, engine_ops(finest), partition.ops_total or 0),
        never_converted=dict(Counter(op for names in never for op in names.values())),
        unsupported_ops=details["unsupported_ops"],
        too_small=too_small,
    )


def steps(asked: Callable[[int], Found], engine_ops: Iterable[int], ops_total: int) -> list[Step]:
    """Return all ranges of min_block_size with the partition of each, by as few partitions as prove it.

    An engine goes to PyTorch where it would have fewer operators than min_block_size. So a range can end at the size of
    one of the engines that there are at 1, `engine_ops`. Values between two that lead to one partition lead to it too.
    Where the ends of a range differ after all, as the library may count other operators than we do, it is halved.
    """
    ends = sorted(set(engine_ops))
    least, ranges = 1, []
    above = max(ends, default=0) + 1
    if asked(above).engine_ops:
        ends.append(max(ops_total, above))
    for most in ends:
        ranges += _halved(asked, least, most)
        least = most + 1
    ranges.append((least, least))  # no engine is left, or min_block_size does not count
    found: list[tuple[int, int]] = []
    for least, most in ranges:
        if found and asked(found[-1][0]).partition_id == asked(least).partition_id:
            found[-1] = (found[-1][0], most)
        else:
            found.append((least, most))
    last = found[-1][0]
    return [Step(least, None if least == last else most, asked(least)) for least, most in found]


def _halved(asked: Callable[[int], Found], least: int, most: int) -> list[tuple[int, int]]:
    """Split a range of values into pieces at whose ends one and the same partition is found."""
    if asked(least).partition_id == asked(most).partition_id:
        return [(least, most)]
    middle = (least + most) // 2
    return [*_halved(asked, least, middle), *_halved(asked, middle + 1, most)]


def _found(graphs: list[GraphDryRun]) -> Found:
    between = [tensor for graph in flow(graph for _, graph in graphs) for tensor in graph.between]
    return Found(
        partition_id=identity([graph for _, graph in graphs]),
        engine_ops=engine_ops(graphs),
        tensors_between=len(between),
        bytes_between=total_bytes(tensor.bytes for tensor in between),
    )
