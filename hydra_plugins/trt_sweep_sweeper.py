"""The sweeper one_at_a_time as a Hydra plugin; trt_sweep/app/one_at_a_time.py does the work.

As for the launcher, nothing of trt_sweep is imported before a sweep of ours begins.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


class OneAtATimeSweeper(Sweeper):
    """The defaults, each value alone, then what helped, together."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        from trt_sweep.app.one_at_a_time import OneAtATime

        self._sweeper = OneAtATime(max_batch_size=None, params=params)

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self._sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweeper.sweep(arguments)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="one_at_a_time",
    node={"_target_": f"{__name__}.OneAtATimeSweeper", "params": None},
)
