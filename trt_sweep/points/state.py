"""Hold what a point has reached so far, and what the points of one build have in common."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from trt_sweep.backends.base import Compiled
from trt_sweep.backends.engine_store import Store
from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.measure.health import WindowHealth
from trt_sweep.measure.measurement import Measurement
from trt_sweep.measure.outputs import Leaf
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Quantization
from trt_sweep.results.measured import Accuracy, Memory, Profile
from trt_sweep.results.record import Record


@dataclass
class BuildResult:
    """Hold what one build leaves to the points that are timed on it; `error` is why it failed, if it did."""

    point_id: str
    model: Model
    compiled: Compiled
    error: Exception | None = None
    phase: str = "model"


@dataclass
class PointState:
    """Hold how far a point has come. Its record can be made of it at any time."""

    phase: str = "model"
    status: str = "interrupted"
    reason: str | None = None
    created_utc: str | None = None
    device: torch.device | None = None
    compiled: Compiled = field(default_factory=lambda: Compiled(None))
    first_call: bool = True  # whether the build's first call is this point's
    quantization: Quantization = field(default_factory=Quantization)
    accuracy: Accuracy = field(default_factory=Accuracy)
    memory: Memory = field(default_factory=Memory)
    outputs: list[Leaf] = field(default_factory=list)
    measurement: Measurement | None = None
    window_health: list[WindowHealth] = field(default_factory=list)
    remeasured: int = 0
    interleaved: bool | None = None
    profile: Profile | None = None
    enough: bool | None = None  # whether a race has seen enough of it; null outside of a race, where `measure` decides

    def take_over(self, other: PointState, point_id: str, timed_with: str) -> str:
        """Take over what the calls of another point have shown, and its windows to come: one list for both."""
        assert other.measurement is not None
        self.phase, self.accuracy = "timing", other.accuracy
        self.memory, self.outputs = other.memory, other.outputs
        self.measurement = dataclasses.replace(
            other.measurement, first_call_ms=None, timed_with=timed_with, point_id=point_id
        )
        return "ok"

    def restart(self, visit_group: str) -> None:
        """Begin the visits anew, as one of another group; not where enough is seen."""
        if self.measurement is not None and not self.enough:
            self.measurement.restart(visit_group)

    def rounds(self, measure: MeasureConfig) -> int:
        """Return how many visits follow the first: none where the point is not ranked, or a call is slow."""
        call_s = self.measurement.call_s if self.measurement is not None else None
        return measure.visits_of(call_s) if self.status == "ok" and call_s is not None else 0

    def timed(self, measure: MeasureConfig) -> bool:
        """Return whether the last visit is done."""
        if self.enough is not None:
            return self.enough
        made = len(self.measurement.windows[0]) if self.measurement is not None else 0
        return made > self.rounds(measure)

    def final(self, measure: MeasureConfig) -> bool:
        """Return whether nothing more is to be timed."""
        return self.status != "interrupted" and (self.status != "ok" or self.timed(measure))


@dataclass
class GroupContext:
    """Hold what the points of one build share.

    `on_phase` hears what is being done, `on_record` takes each record as it stands. `visit_group` names all points that
    are visited in turn. Those that are `racing` are visited until they are told that it is enough. `cache` is what all
    builds of the process have in common; engines are taken from `store`. `stack` undoes what the backends set up.
    """

    sweep_id: str
    options: SweepOptions
    on_phase: Callable[[str], None]
    on_record: Callable[[Record], None]
    cache: ProcessCache
    store: Store
    visit_group: str = "alone"
    racing: bool = False
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    builds: list[BuildResult] = field(default_factory=list)
