"""The verdict on a window from what was read, and what is read where NVML says little."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pynvml
import pytest
import torch

from trt_sweep.machine import nvml
from trt_sweep.machine.nvml import Monitor, Reading
from trt_sweep.measure import health
from trt_sweep.measure.health import WindowHealth
from trt_sweep.results import measured

CUDA = torch.device("cuda", 0)
POWER_CAP = pynvml.nvmlClocksEventReasonSwPowerCap


@pytest.mark.parametrize(
    ("watch", "verdict", "words"),
    [
        (WindowHealth([Reading(sm_clock_mhz=1980, reasons=0)], foreign=0), "ok", None),
        (WindowHealth([Reading(sm_clock_mhz=1980, reasons=pynvml.nvmlClocksEventReasonGpuIdle)]), "ok", None),
        (
            WindowHealth([Reading(sm_clock_mhz=1980), Reading(sm_clock_mhz=1800)]),
            "unstable",
            "between 1800 and 1980 MHz",
        ),
        (WindowHealth([Reading(sm_clock_mhz=1980)], steady=False), "unstable", "measure.warmup_max_s"),
        (WindowHealth([Reading(sm_clock_mhz=1980)], foreign=2), "shared", "2 foreign compute processes"),
        (WindowHealth([Reading(sm_clock_mhz=1800, reasons=POWER_CAP)]), "throttled", "sw_power_cap at 1800 MHz"),
        (
            WindowHealth([Reading(sm_clock_mhz=1800, reasons=POWER_CAP)], foreign=1),
            "throttled",
            "1 foreign compute process on",
        ),
        (WindowHealth([Reading()], problem="NVML: Driver Not Loaded"), None, "Driver Not Loaded"),
    ],
)
def test_verdicts(watch, verdict, words):
    found, reason = watch.verdict()
    assert found == verdict
    assert reason is None if words is None else words in reason


def test_summary_takes_the_worst_verdict_and_the_median_readings():
    good = WindowHealth(
        [Reading(1980, 3201, 40, 300.0, 0)] * 3, foreign=0, energy_mj=600.0, energy_s=0.6, energy_calls=300
    )
    bad = WindowHealth(
        [Reading(1800, 3201, 50, 500.0, POWER_CAP)], foreign=0, energy_mj=400.0, energy_s=0.6, energy_calls=100
    )
    found = health.summary([good, bad, good], remeasured=1)
    assert (found.health, found.health_reason) == ("throttled", "sw_power_cap at 1800 MHz")
    assert (found.sm_clock_mhz, found.temperature_c, found.power_w) == (1980, 50, 300.0)
    assert (found.throttle_reasons, found.foreign_processes, found.remeasured) == (["sw_power_cap"], 0, 1)
    assert found.energy_mj_per_call == pytest.approx(1600 / 700)
    assert health.summary([good], 0).energy_mj_per_call is None  # too short for a counter that moves every 0.1 s
    assert health.summary([], 0) == measured.Health()


def test_without_a_gpu_there_is_no_verdict():
    monitor = Monitor(torch.device("cpu"))
    assert monitor.read() == Reading() and monitor.energy_mj() is None and monitor.foreign_processes() is None
    found = health.summary([WindowHealth([monitor.read()], problem=monitor.problem)], 0)
    assert (found.health, found.health_reason, found.throttle_reasons) == (None, "no GPU", None)


def test_without_nvml_the_reason_is_kept(monkeypatch):
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    monitor = Monitor(CUDA)
    assert monitor.problem == "NVML: NVML Shared Library Not Found" and monitor.read() == Reading()


@pytest.fixture
def card(monkeypatch):
    """A card whose power cannot be read, as on a MIG instance; this process is one of its processes."""

    def refuses(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    refuses.__name__ = "nvmlDeviceGetPowerUsage"
    processes = [SimpleNamespace(pid=os.getpid())]
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(nvml, "_handle", lambda device: "card")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", refuses)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lambda handle, which: 1980 - which)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda handle, which: 41)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons", lambda handle: 0)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: processes)
    return processes


def test_an_unreadable_counter_is_null_and_named(card):
    monitor = Monitor(CUDA)
    found = monitor.read()
    assert (found.power_w, found.temperature_c, found.reasons) == (None, 41, 0) and found.sm_clock_mhz > 1900
    assert monitor.problem == "NVML: nvmlDeviceGetPowerUsage: Not Supported"
    # What a verdict needs could be read; why a column is null is said all the same.
    assert WindowHealth([found], problem=monitor.problem).verdict() == ("ok", monitor.problem)
    blind = Reading(sm_clock_mhz=1980.0)
    assert WindowHealth([blind], problem="NVML: Not Supported").verdict() == (None, "NVML: Not Supported")


def test_foreign_processes(card):
    monitor = Monitor(CUDA)
    assert monitor.foreign_processes() == 0
    card.append(SimpleNamespace(pid=1))
    assert monitor.foreign_processes() == 1
    card.pop(0)  # in a container this process goes by a number that it does not know
    assert monitor.foreign_processes() == 0
    card.clear()
    assert monitor.foreign_processes() is None


def test_memory_of_this_process(card):
    monitor = Monitor(CUDA)
    card[0].usedGpuMemory = 600
    card.append(SimpleNamespace(pid=1, usedGpuMemory=200))
    assert monitor.process_bytes() == 600
    card.pop(0)  # in a container: the only one is this one
    assert monitor.process_bytes() == 200
    card.append(SimpleNamespace(pid=2, usedGpuMemory=100))
    assert monitor.process_bytes() is None  # and of several none can be told
    card[:] = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)]
    assert monitor.process_bytes() is None
    assert Monitor(torch.device("cpu")).process_bytes() is None
