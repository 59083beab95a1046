"""TODO."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml
import torch

BUILDER_PIDS: set[int] = set()  # processes that build for the same sweep


@dataclass(frozen=True)
class Reading:
    """One look at the GPU; None where a counter cannot be read."""

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    reasons: int | None = None


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
        as many as there are for `BUILDER_PIDS`.
        """
        found = self._ask(pynvml.nvmlDeviceGetComputeRunningProcesses)
        if not found:
            return None  # not even this process: the list is hidden
        seen, own = {process.pid for process in found}, {os.getpid(), *BUILDER_PIDS}
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
