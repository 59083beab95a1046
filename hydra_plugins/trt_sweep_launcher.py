"""The sweep launcher as a Hydra plugin; trt_sweep/app/launcher.py does the work.

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
        _compose_once(hydra_context.config_loader)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from trt_sweep.app.launcher import launch

        return launch(self.hydra_context, self.config, job_overrides, initial_job_idx)


def _compose_once(loader: Any) -> None:
    """Hydra's sweepers compose each job to see whether it is legal and throw the result away: the launcher takes it."""
    compose, composed = loader.load_sweep_config, {}

    def load_sweep_config(master_config: DictConfig, sweep_overrides: list[str]) -> Any:
        key = tuple(sweep_overrides)
        if key in composed:
            return composed.pop(key)
        composed[key] = compose(master_config, sweep_overrides)
        return composed[key].copy()  # two jobs may ask for the same, and each is written to

    loader.load_sweep_config = load_sweep_config


ConfigStore.instance().store(group="hydra/launcher", name="trt_sweep", node={"_target_": f"{__name__}.SweepLauncher"})
