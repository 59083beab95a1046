"""Hold the limits of a call to a worker against the phases that it goes through."""

from __future__ import annotations

import time

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.points import phases

START_S = 600.0  # to import everything, on a slow disk, and for all that belongs to no point


class Limits:
    """The limits of one call; `START_S` in all where the call belongs to no point."""

    def __init__(self, limits: LimitsConfig | None) -> None:
        self._of_point = limits is not None
        self._limits = limits or LimitsConfig(total_s=START_S)
        self.phase: str | None = None
        self._entered = time.monotonic()
        self._spent: dict[str, float] = {"total_s": 0.0}

    def _counting(self) -> list[str]:
        if self.phase is not None and self.phase.startswith(phases.WAITING):
            return []
        own = phases.limit(self.phase)
        return ["total_s", own] if own else ["total_s"]

    def enter(self, phase: str) -> None:
        """Note that a phase begins."""
        now = time.monotonic()
        for name in self._counting():
            self._spent[name] = self._spent.get(name, 0.0) + now - self._entered
        if phase == "warmup":
            self._spent["timing_s"] = 0.0  # a window of its own
        self.phase, self._entered = phase, now

    def _over(self) -> tuple[float, str]:
        """Return the seconds until the first limit is reached, and its name."""
        here = time.monotonic() - self._entered
        limits = [(getattr(self._limits, name), name) for name in self._counting()]
        left = [(limit - self._spent.get(name, 0.0) - here, name) for limit, name in limits if limit is not None]
        return min(left, default=(float("inf"), ""))

    def left(self) -> float | None:
        """Return the seconds that are left, None where no limit holds."""
        seconds, name = self._over()
        return max(seconds, 0.0) if name else None

    def reason(self) -> str:
        """Return why a call that is over its time was ended."""
        _, name = self._over()
        if not self._of_point:
            return f"the process did not answer for {START_S:g} s"
        return f"{self.phase or 'the start'} ran into limits.{name}={getattr(self._limits, name):g}"
