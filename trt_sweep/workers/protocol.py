"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from trt_sweep.config.groups import LimitsConfig

OnPhase = Callable[[str], None]


class WorkerLost(Exception):
    """The process is gone, and what it had in hand with it: the `status` and `reason` of the row it leaves."""

    def __init__(self, status: str, phase: str | None, reason: str) -> None:
        super().__init__(reason)
        self.status, self.phase, self.reason = status, phase, reason


class WorkerHost(Protocol):
    """Runs the methods of a `worker.Worker`; `builds` counts those that it was given."""

    builds: int

    def call(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        """The method's result, or what it raised; raises WorkerLost. `log` is the file that it writes to."""

    def end(self) -> None:
        """Leave nothing running, and nothing on the GPU."""
