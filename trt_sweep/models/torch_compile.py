"""Compile modules by torch.compile so that several can be in use at a time."""

from __future__ import annotations

import collections
import contextlib
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trt_sweep.errors import Unsupported, one_line
from trt_sweep.models.model import Model

GRAPH = "trt_sweep: a graph of torch.compile"  # as the profiler shows it


@dataclass(frozen=True)
class CompiledGraphs:
    """Hold what torch.compile made of a module: a callable, and the number of graphs.

    `breaks` are the lines at which a graph ends early, or none begins, each with the reason in torch's words. `skipped`
    counts the graphs that inductor did not put into CUDA graphs.
    """

    call: Callable[..., Any]
    graphs: int
    breaks: list[str]
    skipped: int

    @property
    def why_none(self) -> str:
        """Return a sentence on why there is no graph at all."""
        return "torch.compile makes no graph of this model: " + ("; ".join(self.breaks) or "it has no operator")


_alive = 0  # callables of torch.compile that are still in use


def _release() -> None:
    global _alive  # noqa: PLW0603
    _alive -= 1
    if not _alive:
        torch.compiler.reset()


def without_recompiling() -> contextlib.AbstractContextManager[Any]:
    """Make calls fail that torch.compile would have to compile again, since their times would be wrong."""
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("fail_on_recompile")
    return stance


def _in_own_frame(module: torch.nn.Module) -> Callable[..., Any]:
    """Wrap the module in a function with a code object of its own.

    torch.compile keeps its results by the code object of the outermost frame, which all modules of a class share.
    Several of them would find each other's graphs, or reach the limit of compilations of one code object.
    """

    def forward(*args: Any, **kwargs: Any) -> Any:
        return module(*args, **kwargs)

    return types.FunctionType(forward.__code__.replace(), globals(), "forward", None, forward.__closure__)


@dataclass
class _Counts:
    """Hold what torch's own counters and its list of breaks have grown by."""

    graphs: int = 0
    skipped: int = 0
    reasons: tuple[str, ...] = ()


@contextlib.contextmanager
def _counted() -> Iterator[_Counts]:
    counters, listed = torch._dynamo.utils.counters, torch._dynamo.utils.graph_break_reasons
    before, known = {name: counter.copy() for name, counter in counters.items()}, len(listed)
    found = _Counts()
    yield found
    grown = {name: counter - before.get(name, collections.Counter()) for name, counter in counters.items()}

    def number(group: str, name: str) -> int:
        return grown[group][name] if group in grown else 0

    found.graphs, found.skipped = number("stats", "unique_graphs"), number("inductor", "cudagraph_skips")
    # A break is listed for the frame that it lies in, and for each that calls that one.
    breaks = [(_headline(each.reason), each.user_stack) for each in listed[known:]]
    places = [f"{why} ({Path(stack[-1].filename).name}:{stack[-1].lineno})" if stack else why for why, stack in breaks]
    left = {_headline(why) for why in grown.get("unimplemented", ())} - {why for why, _ in breaks}
    found.reasons = (*dict.fromkeys(places), *sorted(left))


def _headline(reason: str) -> str:
    """Return the first sentence of torch's on a break."""
    words = reason.partition("\n\n")[2] if reason.startswith("Encountered graph break") else reason
    return one_line(Unsupported(words.strip().partition("\n")[0]), 200)


def compile_model(model: Model, stack: contextlib.ExitStack, calls: int = 1, **how: Any) -> CompiledGraphs:
    """Return `torch.compile(module, **how)` after the `calls` calls that compile it; usable until `stack` ends."""
    global _alive  # noqa: PLW0603
    _alive += 1
    stack.callback(_release)
    for key, axes in model.dynamic.items():
        tensor = model.inputs.args[key] if isinstance(key, int) else model.inputs.kwargs[key]
        for axis, found in axes.items():
            torch._dynamo.mark_dynamic(tensor, axis, min=found.min, max=found.max)
    module = torch.compile(_in_own_frame(model.module), **how)
    # After a graph break the module's own frames go on, and all modules of a class share those.
    with torch._dynamo.config.patch(recompile_limit=2**16, accumulated_recompile_limit=2**20), _counted() as counts:
        for _ in range(calls):
            module(*model.inputs.args, **model.inputs.kwargs)
    return CompiledGraphs(module, counts.graphs, [*counts.reasons], counts.skipped)


def described(made: CompiledGraphs, model: Model) -> dict[str, Any]:
    """Return the columns on graphs; where there are breaks the model is compiled and called again to know them.

    Only then are all graphs counted: behind a break torch.compile takes those that another module of the class has.
    """
    if not made.breaks:
        return {"graphs": made.graphs, "graph_breaks": 0}
    graphs, outside = _looked_into(model)
    return {
        "graphs": graphs,
        "graph_breaks": len(made.breaks),
        "break_reasons": made.breaks,
        "ops_outside": outside.total(),
        "ops_outside_names": " ".join(f"{name}:{number}" for name, number in outside.most_common()) or None,
    }


def _looked_into(model: Model) -> tuple[int, collections.Counter[str]]:
    """Return the number of graphs, and how often a call runs each operator outside of them.

    PyTorch runs the graphs here, and the profiler tells what it runs beside them.
    """
    graphs: list[torch.fx.GraphModule] = []

    def marked(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)

        def run(*args: Any) -> Any:
            with torch.profiler.record_function(GRAPH):
                return graph(*args)

        return run

    with contextlib.ExitStack() as stack:
        call = compile_model(model, stack, backend=marked).call
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
            call(*model.inputs.args, **model.inputs.kwargs)
    found: collections.Counter[str] = collections.Counter()
    for event in trace.events() or ():
        if _operator(event.name) and not any(each == GRAPH or _operator(each) for each in _around(event)):
            found[event.name.replace("::", ".")] += 1
    return len(graphs), found


def _operator(name: str) -> bool:
    return re.fullmatch(r"\w+::\w+", name) is not None


def _around(event: Any) -> Iterator[str]:
    while (event := event.cpu_parent) is not None:
        yield event.name


def check_first_call(call: Callable[[], Any]) -> Callable[[], Any]:
    """Wrap a call so that its first time raises Unsupported if torch.compile needs another graph for it."""
    checked: list[bool] = []

    def guarded() -> Any:
        if checked:
            return call()
        try:
            result = call()
        except RuntimeError as error:
            if "recompil" not in str(error):
                raise
            raise Unsupported(
                "torch.compile's graph for the range does not hold at this size (it treats 0 and 1 apart): give this "
                f"size a point of its own ({one_line(error, 200)})"
            ) from error
        checked.append(True)
        return result

    return guarded
