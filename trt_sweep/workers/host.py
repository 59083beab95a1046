"""Where a sweep's points run: in a child process that may be lost, or in this one."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.errors import SweepError
from trt_sweep.workers.child import WorkerProcess
from trt_sweep.workers.protocol import OnPhase, WorkerHost


class InProcess:
    """This process: nothing protects it, and no limit holds."""

    def __init__(self, folder: Path, hear: OnPhase, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)  # before CUDA looks
        self.builds = 0
        from trt_sweep.workers.worker import Worker

        self._worker = Worker(folder, hear)

    def call(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        return getattr(self._worker, method)(*arguments)

    def end(self) -> None:
        self._worker.close()
        gc.unfreeze()  # what was there before is not ours


def start(
    mode: str, folder: Path, hear: OnPhase, environment: Mapping[str, str], kept: WorkerProcess | None = None
) -> WorkerHost:
    """A process for points, ready to be called, with this environment on top of ours.

    It is the `kept` one, or else that one is ended. Raises SweepError where none comes up.
    """
    if kept is not None:
        if mode == "worker" and kept.moves(folder, hear, environment):
            return kept
        kept.end()
    if mode == "none":
        return InProcess(folder, hear, environment)
    if not hasattr(os, "pidfd_open"):
        raise SweepError(f"isolation.mode={mode} needs Linux 5.3 or later: use isolation=none")
    child = WorkerProcess(folder, hear, environment)
    child.ready()
    return child
