"""Print the report on a partition as tables for a terminal and a few sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table

from trt_sweep.analysis.partition.flow import Graph, Part, Tensor
from trt_sweep.analysis.partition.report import Report, Step
from trt_sweep.results.cells import size
from trt_sweep.results.console import Console

NAMES = 3  # kinds of operators that a row names


def show(report: Report, console: Console) -> None:
    """Print the tables; wider than the terminal rather than cut where there is none."""
    for number, graph in enumerate(report.graphs, 1):
        if len(report.graphs) > 1:
            console.print(f"graph {number} of {len(report.graphs)}")
        console.print(_parts(report, graph))
        console.print(_boundaries(graph))
    console.print(_steps(report))


def _table(columns: Mapping[str, str]) -> Table:
    """Return an empty table; `columns` says how each is justified."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in columns.items():
        shown.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    return shown


def _parts(report: Report, graph: Graph) -> Table:
    shown = _table(dict.fromkeys(("part", "operators", "modules", "inputs", "outputs"), "left"))
    for part in graph.parts:
        what = str(len(part.operators)) if part.engine else _in_pytorch(part, report.too_small[part.name])
        shown.add_row(part.name, what, modules(part.modules), _shapes(part.inputs), _shapes(part.outputs))
    return shown


def _in_pytorch(part: Part, too_small: dict[str, int]) -> str:
    """Say which operators these are: by name where they are in no engine at any min_block_size."""
    never = Counter(part.operators.values()) - Counter(too_small)
    few = sum(too_small.values())
    return " + ".join([*([_counted(never)] if never else []), *([f"{few} too few for an engine"] if few else [])])


def _counted(operators: Mapping[str, int], most: int = NAMES, full: bool = False) -> str:
    ranked = sorted(operators.items(), key=lambda item: -item[1])
    named = [f"{count} {name if full else short(name)}" for name, count in ranked[:most]]
    rest = sum(count for _, count in ranked[most:])
    return ", ".join([*named, *([f"{rest} others"] if rest else [])])


def short(operator: str) -> str:
    """Return an operator without what all have in common: `max_pool2d` of `aten.max_pool2d.default`."""
    return operator.removeprefix("aten.").removesuffix(".default")


def modules(paths: Iterable[str]) -> str:
    """Return the module that all these paths are in, or the first and the last of those inside it."""
    split = [path.split(".") for path in paths]
    if not split:
        return "–"
    common = 0
    while all(len(parts) > common and parts[common] == split[0][common] for parts in split):
        common += 1
    if any(len(parts) == common for parts in split):
        return ".".join(split[0][:common])
    inside = list(dict.fromkeys(".".join(parts[: common + 1]) for parts in split))
    return f"{inside[0]} … {inside[-1]}"


def _shapes(tensors: list[Tensor]) -> str:
    if len(tensors) != 1:
        return f"{len(tensors)} tensors"
    return "×".join("?" if size is None else str(size) for size in tensors[0].shape) or "a number"


def _boundaries(graph: Graph) -> Table:
    shown = _table({"from": "left", "tensors": "right", "size": "right", "to": "left"})
    for boundary in graph.boundaries:
        shown.add_row(boundary.source, str(boundary.tensors), size(boundary.bytes), ", ".join(boundary.users))
    return shown


def _steps(report: Report) -> Table:
    names = ("min_block_size", "engines", "operators", "tensors between", "size", "partition")
    shown = _table({**dict.fromkeys(names, "right"), "": "left"})
    for step in report.steps:
        found = step.found
        shown.add_row(
            values(step),
            str(len(found.engine_ops)),
            f"{_operators(step)}/{report.partition.ops_total}",
            str(found.tensors_between),
            size(found.bytes_between),
            found.partition_id[:6],
            ", ".join(_marks(report, step)),
        )
    return shown


def values(step: Step) -> str:
    """Return the values of a step: `1-4`, `5`, or `>=46`."""
    if step.most is None:
        return f">={step.least}"
    return str(step.least) if step.least == step.most else f"{step.least}-{step.most}"


def _marks(report: Report, step: Step) -> list[str]:
    """Say what is special about values of this step."""
    fewest, moderate = _advised(report)
    marks = {
        "this report": report.min_block_size,
        "default": report.partition.default_min_block_size,
        "advised for fewest segments": fewest,
        "advised as moderate": moderate,
    }
    by_value: dict[int, list[str]] = {}
    for mark, value in marks.items():
        if value is not None and step.holds(value):
            by_value.setdefault(value, []).append(mark)
    return [f"{value}: {', '.join(said)}" for value, said in sorted(by_value.items())]


def words(report: Report) -> list[str]:
    """Say what stays in PyTorch and why, what the library's default does, and what its advice would change."""
    partition = report.partition
    with_engines = [step for step in report.steps if step.found.engine_ops]
    if not with_engines:
        return [f"None of the {partition.ops_total} operators goes into an engine, whatever min_block_size is."]
    finest, several = with_engines[0], len(with_engines) > 1
    said = [_never(report)]
    if not several:
        upto = "" if finest.most is None else f" up to {finest.most}"
        said.append(f"min_block_size changes nothing{upto}: {_in_engines(finest)}.")
    default = _at(report, partition.default_min_block_size)
    if default is not None and default is not finest:
        fewer = _operators(finest) - _operators(default)
        said.append(
            f"The library's default, min_block_size={partition.default_min_block_size}, leaves {fewer} operators to "
            "PyTorch whose engines would be smaller than that: "
            f"{engines(len(default.found.engine_ops))} instead of {len(finest.found.engine_ops)}."
        )
    return [*said, _advice(report, with_engines)] if several else said


def _advice(report: Report, with_engines: list[Step]) -> str:
    effects = [
        f"{value} {what} ({_in_engines(step)})"
        for what, value in zip(("for the fewest segments", "for moderate segmentation"), _advised(report), strict=True)
        for step in report.steps
        if step.holds(value)
    ]
    return (
        f"It recommends min_block_size={' or '.join(effects)}. That is about segments and not about speed: "
        f"-m min_block_size={','.join(str(step.least) for step in with_engines)} times each partition."
    )


def _advised(report: Report) -> tuple[int | None, int | None]:
    """Return the library's advice for the fewest segments, and for moderate segmentation where that is another one."""
    fewest, moderate = report.partition.advised_min_block_size, report.partition.advised_min_block_size_moderate
    return fewest, moderate if moderate != fewest else None


def _never(report: Report) -> str:
    total = report.partition.ops_total
    never, without = sum(report.never_converted.values()), sum(report.unsupported_ops.values())
    if not never:
        return f"All {total} operators can go into engines."
    names = _counted(report.never_converted, most=6, full=True)
    stay, them = ("stays", "it") if never == 1 else ("stay", "them")
    which = them if without == never else f"{without} of them"
    return f"{never} of {total} operators {stay} in PyTorch at any min_block_size; no converter takes {which}: {names}."


def _at(report: Report, value: int | None) -> Step | None:
    return next((step for step in report.steps if step.holds(value)), None)


def _operators(step: Step) -> int:
    return sum(step.found.engine_ops)


def _in_engines(step: Step) -> str:
    return f"{engines(len(step.found.engine_ops))} with {_operators(step)} operators"


def engines(number: int) -> str:
    """Return a number of engines in words."""
    return "1 engine" if number == 1 else f"{number or 'no'} engines"
