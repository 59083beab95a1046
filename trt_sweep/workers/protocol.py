"""Name what passes between a sweep and a worker beside its answers: phases, records, and the news that it is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trt_sweep.config.options import SweepOptions
from trt_sweep.results.record import Record

OnPhase = Callable[[str], None]
OnRecord = Callable[[Record], None]


@dataclass(frozen=True)
class Assignment:
    """Whom a worker works for: a sweep's folder and options, and who hears of phases and takes records."""

    folder: Path
    options: SweepOptions
    on_phase: OnPhase
    on_record: OnRecord


class WorkerLost(Exception):
    """The worker is gone, and what it had in hand with it: the `status`, `phase` and `reason` of the row it leaves."""

    def __init__(self, status: str, phase: str | None, reason: str) -> None:
        super().__init__(reason)
        self.status, self.phase, self.reason = status, phase, reason
