"""How the GPU felt while a window was timed, read through NVML; changes nothing on the card."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pynvml
import torch

from trt_sweep.records import CLOCK_RANGE, Health

OK, UNSTABLE, SHARED, THROTTLED = VERDICTS = ("ok", "unstable", "shared", "throttled")  # from good to bad
# Why clocks are lower than they could be. The other bits are no harm to a measurement: an idle GPU, or clocks that
# somebody has set, which hold for all points alike.
REASONS = {
    "sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "hw_slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "sw_thermal_slowdown": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    "hw_thermal_slowdown": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hw_power_brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
}
OURS: set[int] = set()  # processes that build for the same sweep
ENERGY_S = 1.0  # the counter moves every 0.1 s: a shorter time says little


@dataclass(frozen=True)
class Reading:
    """One look at the GPU; None where a counter cannot be read."""

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    reasons: int | None = None


@dataclass
class Watch:
    """What was read over one timed window, and the verdict on it."""

    readings: list[Reading] = field(default_factory=list)
    foreign: int | None = None
    energy_mj: float | None = None  # over energy_s seconds and energy_calls calls
    energy_s: float = 0.0
    energy_calls: int = 0
    problem: str | None = None
    steady: bool = True

    def verdict(self) -> tuple[str | None, str | None]:
        """The verdict, and the numbers behind one that is not ok; (None, why) where NVML says nothing."""
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
            return None, self.problem  # whether it was throttled cannot be told
        return OK, self.problem


def _values(watches: Iterable[Watch], name: str) -> list[float]:
    found = (getattr(reading, name) for watch in watches for reading in watch.readings)
    return [value for value in found if value is not None]


def throttle_reasons(watches: Iterable[Watch]) -> list[str]:
    """The names of `REASONS` that were seen."""
    seen = 0
    for value in _values(watches, "reasons"):
        seen |= int(value)
    return [name for name, bit in REASONS.items() if seen & bit]


def summary(watches: Sequence[Watch], remeasured: int) -> Health:
    """The columns for the windows of a point."""
    if not watches:
        return Health()
    verdicts = [watch.verdict() for watch in watches]
    known = [verdict for verdict in verdicts if verdict[0] is not None] or verdicts
    worst = max(known, key=lambda item: VERDICTS.index(item[0]) if item[0] else -1)

    def middle(name: str) -> float | None:
        values = _values(watches, name)
        return float(np.median(values)) if values else None

    used = [watch for watch in watches if watch.energy_mj is not None]
    enough = sum(watch.energy_s for watch in used) >= ENERGY_S
    energy = sum(watch.energy_mj or 0 for watch in used) / sum(watch.energy_calls for watch in used) if enough else None
    foreign = [watch.foreign for watch in watches if watch.foreign is not None]
    read = bool(_values(watches, "reasons"))
    return Health(
        health=worst[0],
        health_reason=worst[1],
        remeasured=remeasured,
        sm_clock_mhz=middle("sm_clock_mhz"),
        memory_clock_mhz=middle("memory_clock_mhz"),
        temperature_c=max(_values(watches, "temperature_c"), default=None),
        power_w=middle("power_w"),
        throttle_reasons=throttle_reasons(watches) if read else None,
        energy_mj_per_call=energy,
        foreign_processes=max(foreign, default=None),
    )


class Monitor:
    """Reads one GPU. Without NVML, or for a counter that cannot be read (MIG, a vGPU), it reads None."""

    def __init__(self, device: torch.device) -> None:
        self.problem: str | None = None
        self._handle: Any = None
        if device.type != "cuda":
            self.problem = "no GPU"
            return
        try:
            pynvml.nvmlInit()
            self._handle = _handle(device)
        except pynvml.NVMLError as error:
            self.problem = f"NVML: {error}"

    def read(self) -> Reading:
        """A few microseconds: the driver answers from what it knows."""
        if self._handle is None:
            return Reading()
        milliwatts = self._ask(pynvml.nvmlDeviceGetPowerUsage)
        return Reading(
            self._ask(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
            self._ask(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM),
            self._ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
            None if milliwatts is None else milliwatts / 1e3,
            self._ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons),
        )

    def energy_mj(self) -> float | None:
        """The card's counter of energy; some milliseconds."""
        found: float | None = self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption)
        return found

    def foreign_processes(self) -> int | None:
        """Compute processes on the GPU that are not this one.

        Inside a container the list may name processes by numbers that are not known there; one is then taken as it, and
        as many as there are for `OURS`.
        """
        found = self._ask(pynvml.nvmlDeviceGetComputeRunningProcesses)
        if not found:
            return None  # not even this process: the list is hidden
        seen, own = {process.pid for process in found}, {os.getpid(), *OURS}
        return max(len(seen) - len(own), 0) if os.getpid() not in seen else len(seen - own)

    def process_bytes(self) -> int | None:
        """The GPU's memory that this process has, CUDA's context included; None where it is not told from others'.

        Inside a container, where the list may name processes by other numbers, the only one is taken as this one.
        """
        found = self._ask(pynvml.nvmlDeviceGetComputeRunningProcesses) or []
        own = [process for process in found if process.pid == os.getpid()] or (found if len(found) == 1 else [])
        used: int | None = own[0].usedGpuMemory if own else None
        return used

    def _ask(self, query: Callable[..., Any], *arguments: Any) -> Any:
        if self._handle is None:
            return None
        try:
            return query(self._handle, *arguments)
        except pynvml.NVMLError as error:
            self.problem = self.problem or f"NVML: {query.__name__}: {error}"
            return None


def _handle(device: torch.device) -> Any:
    """By UUID, since CUDA may number the GPUs otherwise; a MIG instance has a UUID of its own."""
    uuid = torch.cuda.get_device_properties(device).uuid
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


@functools.cache
def monitor(device: torch.device) -> Monitor:
    """The monitor of a device, made once."""
    return Monitor(device)
