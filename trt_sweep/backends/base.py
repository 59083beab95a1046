"""TODO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from trt_sweep.backends import cuda_graph
from trt_sweep.backends.engine_store import Store
from trt_sweep.backends.tensorrt.layer_timers import LayerTimer
from trt_sweep.config.sweep import SweepConfig
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
    """What a backend is given beside the model.

    Files go into `folder`. `phase` hears which phase begins, `keep` what is known already, should the rest fail;
    `reuse` gives what another point has built of the same partition, if any, once it is planned.
    What must be undone when the point has been timed for the last time goes onto `stack`. Engines are taken from
    `store` and put there.
    """

    config: SweepConfig
    device: torch.device
    folder: Path
    phase: Callable[[str], None]
    keep: Callable[[Compiled], None]
    stack: contextlib.ExitStack
    shared: ProcessCache = field(default_factory=ProcessCache)
    reuse: Callable[[Compiled], Compiled | None] = lambda planned: None
    store: Store = field(default_factory=Store)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Something that the exported model, the backend and the precision decide alone, made once for all points.

        Where further compilation arguments are given it is made for this point alone: they may change the program.
        """
        config = self.config
        if config.compile:
            return make()
        return self.shared.once((what, config.backend, config.quantized_key), make)

    def building(self) -> contextlib.AbstractContextManager[None]:
        """What a build of engines needs around it: the GPU to itself, where it times kernels there."""
        return locks.building(self.device, self.phase)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the precision, or the one beside quantized parts."""
        return DTYPE[self.config.base_precision]


@dataclass(frozen=True)
class Compiled:
    """What a backend gives back: how inputs become a call, and what is known of how it came about.

    `bind` takes FP32 inputs of a size that was built for; null where the point was planned only. `running` gives a
    context in which the bound calls are made: what they need set up, and others must not see. `layer_timers` look into the
    engines, in the order of the graph; null where a backend has none, or keeps them to itself. `module` is what holds
    weights in torch, null where nothing does; `held` what the build holds on the GPU, once it is made.
    """

    bind: Bind | None
    build: Build = field(default_factory=Build)
    partition: Partition = field(default_factory=Partition)
    runtime: str | None = None
    ignored_axes: list[str] = field(default_factory=list)
    running: Running = contextlib.nullcontext
    layer_timers: list[LayerTimer] | None = None
    module: torch.nn.Module | None = None
    held: memory.Build | None = None


class Backend(Protocol):
    AXES: frozenset[str]
    TENSORRT: bool
    DYNAMIC: bool
    STORED: bool

    def effective(self, config: SweepConfig) -> SweepConfig: ...
    def compile(self, model: Model, settings: BuildContext) -> Compiled: ...
    def plan(self, model: Model, settings: BuildContext) -> Compiled: ...
    def dry_runs(self, model: Model, settings: BuildContext) -> DryRun: ...


def binding(function: Callable[..., Any], settings: BuildContext, channels_last: bool = False) -> Bind:
    """How inputs become a call of `function`: cast to the point's precision, and as a CUDA graph where it asks so."""

    def bind(inputs: Inputs) -> Call:
        own = inputs.to(settings.dtype, channels_last)
        if settings.config.cuda_graphs:
            return cuda_graph.capture(function, own, settings.device)
        return lambda: function(*own.args, **own.kwargs)

    return bind


def captured(settings: BuildContext) -> str | None:
    """The `cuda_graphs_method` of what `binding` made."""
    return "capture" if settings.config.cuda_graphs else None


# The library's dry run of one graph: its tracker (None where no operator has a converter, since it then returns before
# it partitions), and the partitioned graph whose engines are still graphs.
GraphDryRun = tuple[Any, torch.fx.GraphModule]


DryRun = Callable[[int], list[GraphDryRun]]  # by min_block_size
