"""Count where the time of a sweep goes."""

from __future__ import annotations

import time

from trt_sweep.points.phases import HARNESS, START


def clock(seconds: float) -> str:
    """Return seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class PhaseTimes:
    """Count the seconds of each phase, from now on or from `since` (of `time.monotonic`).

    Those between phases count as `HARNESS`.
    """

    def __init__(self, since: float | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._phase, self._since = START, time.monotonic() if since is None else since

    def enter(self, phase: str) -> None:
        """Begin a phase, and end the one before."""
        now = time.monotonic()
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase.partition(" ")[0], now  # "waiting for …" is one phase

    def summary(self) -> str:
        """Return all phases on a line, the longest first."""
        self.enter(HARNESS)
        parts = sorted(self.seconds.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts if seconds >= 0.05)
        return f"took {clock(sum(self.seconds.values()))}; seconds in {shown}"
