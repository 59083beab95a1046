"""The sweepers one_at_a_time and race as a Hydra plugin; trt_sweep/app has what does the work.

As for the launcher, nothing of trt_sweep is imported before a sweep of ours begins.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


class OneAtATimeSweeper(Sweeper):
    """The defaults, each value alone, then what helped, together."""

    def __init__(
        self, params: dict[str, str] | None = None, together: bool = True, not_tried: list[str] | None = None
    ) -> None:
        from trt_sweep.app.one_at_a_time import OneAtATime

        self._sweeper = OneAtATime(params, together=together, not_tried=not_tried)

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweeper.sweep(arguments)


class RaceSweeper(Sweeper):
    """All combinations, of which those are dropped that are proved worse; trt_sweep's launcher runs the race."""

    def __init__(self, params: dict[str, str] | None = None, **_: Any) -> None:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        self._sweeper = BasicSweeper(max_batch_size=None, params=params)

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweeper.sweep(arguments)


LIMITS = ("max_latency", "percentile", "max_error", "max_memory", "max_build", "budget")
TAKEN = {"params": None, "delta": "2%", **dict.fromkeys(LIMITS), "seed": None}
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="race",
    node={"_target_": f"{__name__}.RaceSweeper", **TAKEN},
)
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="one_at_a_time",
    node={"_target_": f"{__name__}.OneAtATimeSweeper", "params": None, "together": True, "not_tried": None},
)
