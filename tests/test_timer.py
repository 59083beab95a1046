"""The figures of a row from its windows, and when a window on the CPU begins and ends."""

from __future__ import annotations

import dataclasses
import gc
import math
import time

import numpy as np
import pytest
import torch

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.machine.nvml import Monitor
from trt_sweep.measure import timer
from trt_sweep.measure.health import WindowHealth
from trt_sweep.measure.measurement import Measurement, Window
from trt_sweep.results.stats import samples

pytestmark = pytest.mark.xdist_group("timing")
CPU = torch.device("cpu")
FAST = MeasureConfig(target=0.5, min_samples=10, min_s=0.0, max_s=0.3, warmup_s=0.0, rounds=1)


def busy(seconds: float):
    def call() -> str:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return "done"

    return call


def windows(*latencies, **values) -> list[Window]:
    plain = {"enqueue_ms": None, "gpu_ms": {}, "captures_ms": [], "gpu_reason": None, "clock": "wall"}
    plain |= {"stopped_by": "target", "warmup_s": 0.1, "health": WindowHealth()} | values
    return [Window(np.array(latency), **plain) for latency in latencies]


def window(call, settings: MeasureConfig = FAST, phase=lambda name: None) -> Window:
    return timer.Timer(call, CPU, settings).window(Monitor(CPU), phase)


def test_statistics():
    latency = [4.0, 1.0, 2.0, 3.0, 10.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    listed = windows(latency, latency, enqueue_ms=np.array([1.0, 3.0, 2.0]), clock="cuda_events")
    found = Measurement([listed], 11, 99.0).timing()
    assert (found.clock, found.stopped_by, found.samples, found.first_call_ms) == ("cuda_events", "target", 20, 99.0)
    assert (found.rounds, found.builds, found.latency_ms_between_rounds) == (2, 1, 0.0)
    assert found.latency_ms == pytest.approx(5.5) and found.latency_ms_ci_low < 5.5 < found.latency_ms_ci_high
    assert (found.latency_ms_min, found.latency_ms_mean, found.enqueue_ms) == (1.0, 5.5, 2.0)
    assert found.latency_ms_std == pytest.approx(math.sqrt(165 / 19))
    assert (found.latency_ms_p90, found.latency_ms_p99) == pytest.approx((9.1, 10.0))
    assert found.throughput_per_s == pytest.approx(11 / 5.5e-3)
    assert (found.gpu_ms, found.gpu_ms_method, found.launch_bound) == (None, None, None)


def test_one_method_for_all_windows():
    both = {"graph": np.array([1.0, 1.0]), "queued": np.array([1.2, 1.2])}
    listed = windows([2.0] * 9, [2.0] * 9, gpu_ms=both, captures_ms=[1.0, 1.02], enqueue_ms=np.array([0.9]))
    measurement = Measurement([listed], 1, 0.0)
    assert measurement.methods == ["graph", "queued"]
    graph, queued = measurement.timing(), measurement.timing("queued")
    assert (graph.gpu_ms, graph.gpu_ms_method, graph.gpu_ms_captures) == (pytest.approx(1.0), "graph", 2)
    assert graph.gpu_ms_between_captures == pytest.approx(math.log(1.02) / math.sqrt(2))
    assert (queued.gpu_ms, queued.gpu_ms_method, queued.gpu_ms_captures) == (pytest.approx(1.2), "queued", None)
    assert queued.gpu_ms_between_captures is None
    assert (graph.launch_bound, queued.launch_bound) == (True, False)  # 0.9 is above 0.8 of one, not of the other
    # What captures differ by counts for the graph alone; a latency that the host bounds is known to drift.
    assert graph.gpu_ms_ci_high / graph.gpu_ms > queued.gpu_ms_ci_high / queued.gpu_ms
    assert graph.latency_ms_ci_high > queued.latency_ms_ci_high
    mixed = Measurement([[*listed, *windows([2.0] * 9, gpu_ms={"queued": np.array([1.2, 1.2])})]], 1, 0.0)
    assert mixed.methods == ["queued"]


def test_what_cudnn_chose_widens_both_intervals():
    listed = windows([2.0] * 9, [2.0] * 9, gpu_ms={"queued": np.array([1.2, 1.2])}, enqueue_ms=np.array([0.1]))
    plain, chosen = (Measurement([listed], 1, 0.0, cudnn_benchmark=flag).timing() for flag in (False, True))
    for clock in ("latency_ms", "gpu_ms"):
        narrow, wide = (getattr(found, f"{clock}_ci_high") / getattr(found, clock) for found in (plain, chosen))
        assert narrow < 1.02 and wide > 1.2


def test_until_the_target():
    phases = []
    settings = dataclasses.replace(FAST, target=0.2, min_samples=50, max_s=60.0, min_s=0.1)
    start = time.perf_counter()
    found = window(busy(1e-3), settings, phases.append)
    assert 0.1 <= time.perf_counter() - start < 30
    assert (found.stopped_by, found.clock, found.enqueue_ms, found.gpu_ms) == ("target", "wall", None, {})
    assert phases == ["warmup", "timing"]
    assert len(found.latency_ms) >= 50
    assert found.latency_ms.min() >= 1.0
    low, high = samples.median_interval(found.latency_ms)
    assert (high - low) / 2 <= 0.2 * np.median(found.latency_ms)


def test_until_the_time_is_up():
    settings = dataclasses.replace(FAST, min_samples=10**6, max_s=0.9, rounds=3)
    start = time.perf_counter()
    found = window(busy(2e-3), settings)
    assert 0.3 <= time.perf_counter() - start < 10  # a round has its share
    assert found.stopped_by == "max_s"
    assert 2 <= len(found.latency_ms) < 10**6


def test_a_call_slower_than_the_time_gives_two_samples_after_one():
    calls = []
    found = window(lambda: (calls.append(1), busy(0.15)()), dataclasses.replace(FAST, max_s=0.01, warmup_s=5.0))
    assert (found.stopped_by, len(found.latency_ms), len(calls)) == ("max_s", 2, 3)
    measurement = Measurement([[found]], 1, 0.0)
    assert measurement.slow(0.01) and not measurement.slow(1.0)
    row = measurement.timing()
    assert row.latency_ms >= 150
    assert math.isnan(row.latency_ms_ci_low)


@pytest.fixture
def processor_time(monkeypatch):
    """Measure by the processor's time, which other work on this machine does not change."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


@pytest.mark.usefixtures("processor_time")
def test_the_warm_up_lasts_until_calls_have_stopped_changing():
    """Calls that get faster and faster from 100 to 4 ms, then stay."""
    calls, warm = [], []

    def settling() -> None:
        calls.append(1)
        busy(max(0.1 * 0.7 ** (len(calls) - 1), 0.004))()

    found = window(settling, dataclasses.replace(FAST, target=0.01), lambda name: warm.append(len(calls)))
    assert found.health.steady and warm[1] > 9
    assert 4 <= np.median(found.latency_ms) < 6


@pytest.mark.usefixtures("processor_time")
def test_a_warm_up_that_does_not_end_is_unsteady():
    """A call that takes four times as long every tenth of a second."""
    began: list[float] = []

    def slower() -> None:
        began.append(time.perf_counter())
        busy(min(1e-3 * 4 ** ((began[-1] - began[0]) / 0.1), 0.1))()

    found = window(slower, dataclasses.replace(FAST, target=0.01, warmup_max_s=0.3, max_s=0.01))
    assert not found.health.steady and found.health.verdict()[0] == "unstable"


def test_the_warm_up_lasts_at_least_so_long():
    at_timing = []
    window(busy(1e-3), dataclasses.replace(FAST, warmup_s=0.3), lambda name: at_timing.append(time.perf_counter()))
    assert at_timing[1] - at_timing[0] >= 0.3


@pytest.mark.parametrize("at", [1, 30])
def test_errors_pass_through(at):
    calls = []

    def call():
        calls.append(1)
        if len(calls) == at:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match=r"^boom$"):
        window(call)
    assert len(calls) == at
    assert gc.isenabled()


def test_no_collection_while_timing():
    seen = set()
    window(lambda: seen.add(gc.isenabled()))
    assert seen == {False}
    assert gc.isenabled()


def test_first_call():
    result, took = timer.Timer(busy(0.01), CPU, FAST).first()
    assert result == "done"
    assert 10 <= took < 5000
