"""Judge whether the GPU was undisturbed while a window was timed; changes nothing on the GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pynvml

from trt_sweep.machine.nvml import Reading
from trt_sweep.results.measured import Health
from trt_sweep.results.record import CLOCK_RANGE

OK, UNSTABLE, SHARED, THROTTLED = VERDICTS = ("ok", "unstable", "shared", "throttled")  # from good to bad
# Why clocks are lower than they could be. NVML's other reasons do no harm to a measurement: an idle GPU, or clocks that
# somebody has set, which are the same for all points.
REASONS = {
    "sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "sw_thermal_slowdown": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "hw_thermal_slowdown": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hw_power_brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
}
ENERGY_S = 1.0  # the least time to derive energy from, since the counter moves every 0.1 s


@dataclass
class WindowHealth:
    """Hold what was read from the GPU over one timed window."""

    readings: list[Reading] = field(default_factory=list)
    foreign: int | None = None
    energy_mj: float | None = None  # over energy_s seconds and energy_calls calls
    energy_s: float = 0.0
    energy_calls: int = 0
    problem: str | None = None
    steady: bool = True

    def verdict(self) -> tuple[str | None, str | None]:
        """Return the verdict on the window, and the numbers behind it where it is not ok.

        Returns (None, why) where NVML says nothing.
        """
        reasons, clocks = throttle_reasons([self]), _values([self], "sm_clock_mhz")
        found: list[tuple[str, str]] = []
        if not self.steady:
            found.append((UNSTABLE, "the warm-up reached measure.warmup_max_s while calls still changed"))
        if clocks and max(clocks) > min(clocks) * (1 + CLOCK_RANGE):
            found.append((UNSTABLE, f"the SM clock moved between {min(clocks):.0f} and {max(clocks):.0f} MHz"))
        if self.foreign:
            found.append((SHARED, f"{self.foreign} foreign compute process{'es' * (self.foreign > 1)} on the GPU"))
        if reasons:
            found.append((THROTTLED, f"{', '.join(reasons)} at {min(clocks, default=0):.0f} MHz"))
        if found:
            worst = max(found, key=lambda item: VERDICTS.index(item[0]))[0]
            return worst, "; ".join(text for _, text in found)
        if self.problem and not _values([self], "reasons"):
            return None, self.problem  # nothing tells whether the GPU was throttled
        return OK, self.problem


def _values(windows: Iterable[WindowHealth], name: str) -> list[float]:
    found = (getattr(reading, name) for window in windows for reading in window.readings)
    return [value for value in found if value is not None]


def throttle_reasons(windows: Iterable[WindowHealth]) -> list[str]:
    """Return the names of `REASONS` that were seen in these windows."""
    seen = 0
    for value in _values(windows, "reasons"):
        seen |= int(value)
    return [name for name, bit in REASONS.items() if seen & bit]


def summary(windows: Sequence[WindowHealth], remeasured: int) -> Health:
    """Return the health columns of a point from all its windows: the worst verdict, and median readings."""
    if not windows:
        return Health()
    verdicts = [window.verdict() for window in windows]
    known = [verdict for verdict in verdicts if verdict[0] is not None] or verdicts
    worst = max(known, key=lambda item: VERDICTS.index(item[0]) if item[0] else -1)

    def middle(name: str) -> float | None:
        values = _values(windows, name)
        return float(np.median(values)) if values else None

    used = [window for window in windows if window.energy_mj is not None]
    enough = sum(window.energy_s for window in used) >= ENERGY_S
    energy = (
        sum(window.energy_mj or 0 for window in used) / sum(window.energy_calls for window in used) if enough else None
    )
    foreign = [window.foreign for window in windows if window.foreign is not None]
    read = bool(_values(windows, "reasons"))
    return Health(
        health=worst[0],
        health_reason=worst[1],
        remeasured=remeasured,
        sm_clock_mhz=middle("sm_clock_mhz"),
        memory_clock_mhz=middle("memory_clock_mhz"),
        temperature_c=max(_values(windows, "temperature_c"), default=None),
        power_w=middle("power_w"),
        throttle_reasons=throttle_reasons(windows) if read else None,
        energy_mj_per_call=energy,
        foreign_processes=max(foreign, default=None),
    )
