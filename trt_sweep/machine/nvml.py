"""Read a GPU's clocks, temperature, power, energy and processes through NVML, NVIDIA's management library."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml
import torch

BUILDER_PIDS: set[int] = set()  # processes that build engines for the same sweep


@dataclass(frozen=True)
class Reading:
    """Hold what one look at the GPU found; None where a counter cannot be read."""

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    reasons: int | None = None


class Monitor:
    """Read the counters of one GPU.

    A counter is None without NVML, or where it cannot be read (MIG, a vGPU). `problem` says why.
    """

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
        """Read clocks, temperature, power and the reasons for low clocks; takes a few microseconds."""
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
        """Read the GPU's energy counter, in millijoules; takes some milliseconds."""
        found: float | None = self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption)
        return found

    def foreign_processes(self) -> int | None:
        """Count the compute processes on the GPU that are not this sweep's.

        Inside a container the list may name processes by numbers that are unknown there. One of them is then taken for
        this process, and one for each of `BUILDER_PIDS`.
        """
        found = self._ask(pynvml.nvmlDeviceGetComputeRunningProcesses)
        if not found:
            return None  # not even this process: the list is hidden
        seen, own = {process.pid for process in found}, {os.getpid(), *BUILDER_PIDS}
        return max(len(seen) - len(own), 0) if os.getpid() not in seen else len(seen - own)

    def process_bytes(self) -> int | None:
        """Return the bytes of GPU memory that this process uses, CUDA's context included.

        None where they cannot be told from those of others. Inside a container the list may name processes by other
        numbers: a process that is alone there is taken for this one.
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
    """Find the GPU by its UUID, since CUDA may number GPUs otherwise. A MIG instance has a UUID of its own."""
    uuid = torch.cuda.get_device_properties(device).uuid
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


@functools.cache
def monitor(device: torch.device) -> Monitor:
    """Return the monitor of a device, which is made once."""
    return Monitor(device)
