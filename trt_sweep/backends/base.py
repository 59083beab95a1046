"""Say what every backend takes and gives back: BuildContext in, Compiled out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from trt_sweep.backends import cuda_graph
from trt_sweep.backends.engine_store import Store
from trt_sweep.backends.tensorrt.layer_timers import LayerTimer
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import Unsupported
from trt_sweep.machine import locks
from trt_sweep.measure import memory
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import DTYPE, Inputs, Model
from trt_sweep.results.columns import Build, Partition

T = TypeVar("T")
Call = Callable[[], Any]


Bind = Callable[[Inputs], Call]
Running = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class BuildContext:
    """Hold what a backend is given beside the model.

    Files go into `folder`. Call `phase` with the name of each phase that begins. Call `keep` with what is known
    already, in case the rest fails. Once it is planned, `reuse` returns what another point has built of the same, or
    None. What must be undone after the point was timed for the last time goes onto `stack`. Engines are taken from
    `store` and put there.
    """

    config: PointConfig
    device: torch.device
    folder: Path
    phase: Callable[[str], None]
    keep: Callable[[Compiled], None]
    stack: contextlib.ExitStack
    cache: ProcessCache = field(default_factory=ProcessCache)
    reuse: Callable[[Compiled], Compiled | None] = lambda planned: None
    store: Store = field(default_factory=Store)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Make something once for all points that share model, backend and precision.

        Where further compilation arguments are given it is made for this point alone: they may change the program.
        """
        config = self.config
        if config.compile:
            return make()
        return self.cache.get_or_make((what, config.backend, config.quantized_key), make)

    def building(self) -> contextlib.AbstractContextManager[None]:
        """Return the context to build engines in: it holds the GPU alone where the build times kernels there."""
        return locks.build_lock(self.device, self.phase)

    @property
    def dtype(self) -> torch.dtype:
        """Return the torch type of the precision; for quantized points the type beside the quantized parts."""
        return DTYPE[self.config.base_precision]


@dataclass(frozen=True)
class Compiled:
    """Hold what a backend gives back: how inputs become a call, and what is known of how it came about.

    `bind` takes FP32 inputs of a size that was built for; it is None where the point was only planned. The bound calls
    are made inside the context `running()`, which sets up what they need and others must not see. `layer_timers` time
    the layers of the engines, in the order of the graph; None where a backend cannot. `module` holds the weights in
    torch, or is None; `held` is the GPU memory that the build holds, once it is made. `another` makes the same with
    execution contexts of its own, for a thread that calls beside others; None where several threads may call `bind`'s.
    """

    bind: Bind | None
    build: Build = field(default_factory=Build)
    partition: Partition = field(default_factory=Partition)
    runtime: str | None = None
    ignored_axes: list[str] = field(default_factory=list)
    running: Running = contextlib.nullcontext
    layer_timers: list[LayerTimer] | None = None
    module: torch.nn.Module | None = None
    build_memory: memory.BuildMemory | None = None
    another: Callable[[], Compiled] | None = None

    def rebound(self, change: Callable[[Bind], Bind]) -> Compiled:
        """Return the same with what `change` makes of `bind`, in every thread."""
        bind, another = self.bind, self.another
        assert bind is not None
        beside = None if another is None else lambda: another().rebound(change)
        return dataclasses.replace(self, bind=change(bind), another=beside)


class Backend(Protocol):
    """Say what a module in backends/paths must have; `trt_sweep.backends` explains each part."""

    AXES: frozenset[str]
    TENSORRT: bool
    DYNAMIC: bool
    STORED: bool

    def effective(self, config: PointConfig) -> PointConfig: ...
    def compile(self, model: Model, context: BuildContext) -> Compiled: ...
    def plan(self, model: Model, context: BuildContext) -> Compiled: ...
    def dry_runs(self, model: Model, context: BuildContext) -> DryRun: ...


def binding(function: Callable[..., Any], context: BuildContext, channels_last: bool = False) -> Bind:
    """Return a function that turns inputs into a call of `function`.

    The inputs are cast to the point's precision. The call is a CUDA graph where the point asks for one.
    """

    def bind(inputs: Inputs) -> Call:
        own = inputs.to(context.dtype, channels_last)
        if context.config.cuda_graphs:
            return cuda_graph.capture(function, own, context.device)
        return lambda: function(*own.args, **own.kwargs)

    return bind


def putting_back(compiled: Compiled, whole: Callable[[Any], Any] | None) -> Compiled:
    """Return a build whose calls give outputs as `whole` makes them, see `tracing.tensors_only`."""
    if whole is None:
        return compiled

    def change(bind: Bind) -> Bind:
        def bound(inputs: Inputs) -> Call:
            call = bind(inputs)
            return lambda: whole(call())

        return bound

    return compiled.rebound(change)


def require_one_thread(context: BuildContext, why: str) -> None:
    """Raise Unsupported where several threads are to call what one alone can."""
    if context.config.streams > 1:
        raise Unsupported(f"streams={context.config.streams}: {why}")


def captured(context: BuildContext) -> str | None:
    """Return the `cuda_graphs_method` of what `binding` made."""
    return "capture" if context.config.cuda_graphs else None


# The library's dry run of one graph: its tracker (None where no operator has a converter, since it then returns before
# it partitions), and the partitioned graph whose engines are still graphs.
GraphDryRun = tuple[Any, torch.fx.GraphModule]
DryRun = Callable[[int], list[GraphDryRun]]  # by min_block_size
