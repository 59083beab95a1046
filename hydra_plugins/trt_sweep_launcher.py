"""The sweep launcher as a Hydra plugin; trt_sweep/launcher.py does the work.

Hydra takes plugins from this namespace package only, and every Hydra application of the environment imports it: so
nothing of trt_sweep, and no torch, is imported before a sweep of ours is launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig


class SweepLauncher(Launcher):
    """Checks every job before it runs the first, and runs them one after another in this process."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from trt_sweep.launcher import launch

        return launch(self.hydra_context, self.config, job_overrides, initial_job_idx)


ConfigStore.instance().store(group="hydra/launcher", name="trt_sweep", node={"_target_": f"{__name__}.SweepLauncher"})
