"""Compile modules by torch.compile so that several can be in use at a time."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from trt_sweep.errors import Unsupported, one_line
from trt_sweep.models.model import Model


@dataclass(frozen=True)
class CompiledGraphs:
    """Hold what torch.compile made of a module: a callable, and the numbers of graphs and of breaks between them.

    `skipped` counts the graphs that inductor did not put into CUDA graphs.
    """

    call: Callable[..., Any]
    graphs: int
    graph_breaks: int
    skipped: int


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


def _counts() -> tuple[int, int]:
    counters = torch._dynamo.utils.counters
    return counters["stats"]["unique_graphs"], counters["inductor"]["cudagraph_skips"]


def compile_model(model: Model, stack: contextlib.ExitStack, calls: int = 1, **how: Any) -> CompiledGraphs:
    """Return `torch.compile(module, **how)` after the `calls` calls that compile it; usable until `stack` ends."""
    global _alive  # noqa: PLW0603
    _alive += 1
    stack.callback(_release)
    before = _counts()
    for key, axes in model.dynamic.items():
        tensor = model.inputs.args[key] if isinstance(key, int) else model.inputs.kwargs[key]
        for axis, found in axes.items():
            torch._dynamo.mark_dynamic(tensor, axis, min=found.min, max=found.max)
    module = torch.compile(_in_own_frame(model.module), **how)
    # After a graph break the module's own frames go on, and all modules of a class share those.
    with torch._dynamo.config.patch(recompile_limit=2**16, accumulated_recompile_limit=2**20):
        for _ in range(calls):
            module(*model.inputs.args, **model.inputs.kwargs)
    graphs, skipped = (after - earlier for after, earlier in zip(_counts(), before, strict=True))
    return CompiledGraphs(module, graphs, max(graphs - 1, 0), skipped)


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
