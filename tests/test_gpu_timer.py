"""Check the clocks of a visit and the health of a GPU, on a GPU."""

from __future__ import annotations

import time

import numpy as np
import pynvml
import pytest
import torch

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.machine import devices, nvml
from trt_sweep.measure import health, measurement, timer
from trt_sweep.results import columns, measured

pytestmark = pytest.mark.gpu


def window(call, **settings) -> tuple[measurement.Visit, measured.Timing]:
    device = devices.resolve("cuda")
    found = timer.Timer(call, device, MeasureConfig(**settings)).visit(nvml.monitor(device))
    return found, measurement.Measurement([[found]], 1, 0.0).timing()


def test_three_clocks_agree_on_work_that_hides_the_host():
    """Two dependent products take twice as long as one, by each clock and either method."""
    a = torch.randn(4096, 4096, device="cuda")
    (one, once), (two, twice) = window(lambda: a @ a), window(lambda: a @ (a @ a))
    assert once.clock == "cuda_events" and once.gpu_ms_method == "graph" and once.gpu_ms_reason is None
    assert once.launch_bound is False and once.enqueue_ms < 0.2 * once.gpu_ms
    assert twice.latency_ms / once.latency_ms == pytest.approx(2, rel=0.1)
    for method in columns.METHODS:
        got = [float(np.median(each.gpu_ms[method])) for each in (one, two)]
        assert got[1] / got[0] == pytest.approx(2, rel=0.05) and got[0] == pytest.approx(once.latency_ms, rel=0.05)


def test_gpu_ms_leaves_the_host_out():
    """A host that dawdles between small kernels shows in the latency, not in the GPU's work."""
    x = torch.randn(512, 512, device="cuda")

    def dawdling() -> torch.Tensor:
        y = x @ x
        end = time.perf_counter() + 1e-3
        while time.perf_counter() < end:
            pass
        return y @ x

    found, row = window(dawdling, max_s=1.0)
    assert row.latency_ms > 1 and row.enqueue_ms > 1 and row.launch_bound is True
    assert all(float(np.median(found.gpu_ms[method])) < 0.1 for method in columns.METHODS)


def test_a_call_that_waits_for_the_gpu_has_no_gpu_ms():
    x = torch.randn(64, 64, device="cuda")
    found, row = window(lambda: x.sum().item(), max_s=0.5)
    assert found.gpu_ms == {} and row.gpu_ms is None and row.enqueue_ms is None and row.launch_bound is None
    assert "queued: a call waits for the GPU" in row.gpu_ms_reason and "graph: " in row.gpu_ms_reason
    assert window(lambda: x @ x, max_s=0.5)[1].gpu_ms_method == "graph"  # and the next one is none the worse


def test_more_kernels_than_the_launch_queue_takes():
    x = torch.zeros(8, device="cuda")

    def many() -> None:
        for _ in range(3000):
            x.add_(1)

    found, row = window(many, max_s=1.0)
    assert "queued" not in found.gpu_ms and row.gpu_ms_method == "graph" and "queued: " in row.gpu_ms_reason


def test_a_cold_cache_is_slower():
    x = torch.randn(4 * 1024 * 1024, device="cuda")  # 16 MB, which the L2 cache would hold
    warm, cold = (window(lambda: x.mul_(1.0), cold_cache=cold, max_s=0.5)[1] for cold in (False, True))
    assert cold.gpu_ms > 1.2 * warm.gpu_ms


def test_health_is_read():
    a = torch.randn(4096, 4096, device="cuda")
    found, _ = window(lambda: a @ a, visits=6, max_s=7.2)  # 1.2 s for each visit
    row = health.summary([found.health], 0)
    assert row.health in health.VERDICTS and row.sm_clock_mhz > 100 and row.temperature_c > 0 and row.power_w > 1
    assert row.throttle_reasons is not None and row.foreign_processes is not None and row.energy_mj_per_call > 0


def test_an_unreadable_counter_is_null(monkeypatch):
    def refuses(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", refuses)
    reading = nvml.Monitor(devices.resolve("cuda")).read()
    assert reading.power_w is None and reading.sm_clock_mhz > 100
