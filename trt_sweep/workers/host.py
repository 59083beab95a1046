"""Start the worker that a sweep's points run in: a process that may be lost, or this one."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.errors import SweepError
from trt_sweep.workers.child import WorkerProcess
from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.protocol import Assignment


class InProcess(WorkerClient):
    """A worker in this process: nothing protects it, and no limit holds."""

    def __init__(self, assignment: Assignment, environment: Mapping[str, str]) -> None:
        super().__init__(assignment)
        os.environ.update(environment)  # before CUDA looks
        from trt_sweep.workers.worker import Worker

        self._worker = Worker(assignment.folder, assignment.options, assignment.on_phase, assignment.on_record)

    def _ask(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        return getattr(self._worker, method)(*arguments)

    def end(self) -> None:
        self._worker.close()
        gc.unfreeze()  # what was there before is not ours


def start(assignment: Assignment, environment: Mapping[str, str], standby: WorkerProcess | None = None) -> WorkerClient:
    """Return a worker that is ready, with this environment on top of ours.

    It is the one on `standby`, or else that one is ended. Raises SweepError where none comes up.
    """
    mode = assignment.options.isolation.mode
    if standby is not None:
        if mode == "worker" and standby.move(assignment, environment):
            return standby
        standby.end()
    if mode == "none":
        return InProcess(assignment, environment)
    if not hasattr(os, "pidfd_open"):
        raise SweepError(f"isolation.mode={mode} needs Linux 5.3 or later: use isolation=none")
    process = WorkerProcess(assignment, environment)
    process.ready()
    return process
