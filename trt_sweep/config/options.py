"""The options of a sweep: how its points are run. They change nothing of what a point is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from trt_sweep.config.checks import require_choice
from trt_sweep.config.groups import IsolationConfig, LimitsConfig
from trt_sweep.errors import require

# What a job returns to Hydra's sweepers, by the column that it is read from.
OBJECTIVES = {
    "latency": "latency_ms",
    "gpu": "gpu_ms",
    "throughput": "throughput_per_s",
    "energy": "energy_mj_per_call",
}
GPU = "gpu is gpu_ms, the GPU's own work"
FAILURES = ("unsupported", "build_failed", "run_failed", "out_of_memory", "timeout", "crashed", "inaccurate")


@dataclass
class SweepOptions:
    """Say how the points of a sweep are run; one set of options holds for all of them.

    `plan` shows what the sweep would do, and does none of it. `resume` is the folder of a sweep whose points without a
    final record are to be done, and those whose status `retry` names. It is refused where code, versions or GPU are
    others than the records', unless `allow_changed`. With `reuse` points that lead to one engine build it once. Built
    engines are kept in `cache_dir` and taken from there, and `build_workers` processes build ahead of the one that
    times. `profile` looks into the engines of each point once it has been timed. `objective` is what a job returns to
    Hydra. Without `baselines` no eager ones are added.
    """

    limits: LimitsConfig = field(default_factory=LimitsConfig)
    isolation: IsolationConfig = field(default_factory=IsolationConfig)
    plan: bool = False
    resume: str | None = None
    retry: list[str] = field(default_factory=list)
    allow_changed: bool = False
    reuse: bool = True
    cache_dir: str | None = None
    build_workers: int = 0
    profile: bool = False
    objective: str = "latency"
    baselines: bool = True

    def __post_init__(self) -> None:
        for status in self.retry:
            require_choice("retry", status, FAILURES)
        require_choice("objective", self.objective, tuple(OBJECTIVES))
        require(self.build_workers >= 0, "build_workers", self.build_workers, "an integer of at least 0")


OPTION_NAMES = tuple(item.name for item in dataclasses.fields(SweepOptions))
