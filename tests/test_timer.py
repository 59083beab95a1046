"""The figures of a row from its visits, and what a visit on the CPU does."""

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
from trt_sweep.measure.measurement import Measurement, Visit

pytestmark = pytest.mark.xdist_group("timing")
CPU = torch.device("cpu")
FAST = MeasureConfig(visits=6, max_s=0.06, settle_s=0.0, warmup_s=0.0)


def busy(seconds: float):
    def call() -> str:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return "done"

    return call


def windows(*latencies, **values) -> list[Visit]:
    plain = {"enqueue_ms": None, "gpu_ms": {}, "gpu_reason": None, "clock": "wall"}
    plain |= {"warmup_s": 0.1, "health": WindowHealth()} | values
    return [Visit(np.array(latency), **({"wall_ms": sum(latency)} | plain)) for latency in latencies]


@pytest.fixture
def processor_time(monkeypatch):
    """Measure by the processor's time, which other work on this machine does not change."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)


def window(call, settings: MeasureConfig = FAST, phase=lambda name: None) -> Visit:
    return timer.Timer(call, CPU, settings).visit(Monitor(CPU), 0, phase)


def test_statistics():
    first, *later = windows([99.0], *([float(number)] * 3 for number in range(1, 25)), clock="cuda_events")
    found = Measurement([[first, *later]], 11, 99.0, visit_group="g").timing()
    assert (found.clock, found.samples, found.first_call_ms) == ("cuda_events", 72, 99.0)
    assert (found.rounds, found.builds, found.visit_group) == (24, 1, "g")
    assert found.latency_ms_visits == [pytest.approx(number) for number in range(1, 25)]  # the first does not count
    assert found.latency_ms == pytest.approx(6.75)  # the lower quartile, numpy's
    assert (found.latency_ms_ci_low, found.latency_ms_ci_high) == pytest.approx((2.0, 11.0))
    assert found.throughput_per_s == pytest.approx(11 / 6.75e-3)
    assert found.host_slow_share == pytest.approx(16 / 24) and found.host_slow_factor == pytest.approx(16.5 / 6.75)
    assert (found.gpu_ms, found.gpu_ms_method, found.launch_bound) == (None, None, None)


def test_a_visit_with_slow_calls_counts_as_much_as_any_other():
    listed = windows([9.0], [1.0] * 90, [10.0] * 10, enqueue_ms=np.array([1.0, 3.0, 2.0]))
    found = Measurement([listed], 1, 0.0).timing()
    assert (found.latency_ms_min, found.latency_ms_mean, found.enqueue_ms) == (1.0, pytest.approx(5.5), 2.0)
    assert found.latency_ms_std == pytest.approx(4.5)
    assert (found.latency_ms_p90, found.latency_ms_p99) == (10.0, 10.0)


def test_a_latency_never_lies_below_the_work_of_the_gpu():
    found = Measurement([windows([2.0], *[[2.0]] * 12, gpu_ms={"graph": np.array([2.5])})], 1, 0.0).timing()
    assert (found.latency_ms, found.latency_ms_ci_low) == pytest.approx((2.5, 2.5))
    assert found.latency_ms_ci_high == found.gpu_ms_ci_high > 2.5
    assert found.latency_ms_min == 2.0 and found.latency_ms_visits == pytest.approx([2.0] * 12)


def test_one_method_for_all_builds():
    both = {"graph": np.array([1.0, 1.0]), "queued": np.array([1.2, 1.2])}
    more = {"graph": np.array([1.02])}
    listed = windows([2.0] * 9, gpu_ms=both, enqueue_ms=np.array([0.9])) + windows([2.0] * 9, gpu_ms=more)
    measurement = Measurement([listed], 1, 0.0)
    assert measurement.methods == ["graph", "queued"]
    graph, queued = measurement.timing(), measurement.timing("queued")
    assert (graph.gpu_ms, graph.gpu_ms_method, graph.gpu_ms_captures) == (pytest.approx(1.02**0.5), "graph", 2)
    assert graph.gpu_ms_between_captures == pytest.approx(math.log(1.02) / math.sqrt(2))
    assert (queued.gpu_ms, queued.gpu_ms_method, queued.gpu_ms_captures) == (pytest.approx(1.2), "queued", 1)
    assert queued.gpu_ms_between_captures is None and queued.gpu_ms_ci_low is None  # once tells no scatter
    assert (graph.launch_bound, queued.launch_bound) == (True, False)  # 0.9 is above 0.8 of one, not of the other
    other = windows([2.0] * 9, gpu_ms={"queued": np.array([1.2, 1.2])})
    assert Measurement([listed, other], 1, 0.0).methods == ["queued"]


@pytest.mark.usefixtures("processor_time")
def test_a_visit_takes_its_share_of_the_time():
    phases = []
    timed = timer.Timer(busy(1e-3), CPU, dataclasses.replace(FAST, max_s=0.6))
    first = timed.visit(Monitor(CPU), 0, phases.append)
    start = time.perf_counter()
    later = timed.visit(Monitor(CPU), 1, phases.append)
    assert 0.05 <= time.perf_counter() - start < 0.2
    assert phases == ["warmup", "timing", "timing"]
    assert (later.clock, later.enqueue_ms, later.gpu_ms) == ("wall", None, {})
    for found in (first, later):
        assert 50 <= len(found.latency_ms) <= 100 and found.latency_ms.min() >= 1.0


@pytest.mark.usefixtures("processor_time")
def test_calls_that_settle_do_not_count():
    calls = []
    timed = timer.Timer(lambda: (calls.append(1), busy(1e-3)()), CPU, dataclasses.replace(FAST, settle_s=0.02))
    timed.visit(Monitor(CPU))
    before = len(calls)
    found = timed.visit(Monitor(CPU), 1)
    assert len(calls) - before - len(found.latency_ms) >= 5


def test_a_call_slower_than_its_time_is_made_once_after_two():
    calls = []
    found = window(lambda: (calls.append(1), busy(0.15)()), dataclasses.replace(FAST, max_s=0.01, warmup_s=5.0))
    assert (len(found.latency_ms), len(calls)) == (1, 3)
    measurement = Measurement([[found]], 1, 0.0)
    assert measurement.call_s >= 0.15
    row = measurement.timing()
    assert row.latency_ms >= 150 and row.latency_ms_visits is None
    assert row.latency_ms_ci_low is None


@pytest.mark.parametrize("took", [math.nan, -1.0, 0.0])
def test_what_is_no_time_is_an_error(took, monkeypatch):
    monkeypatch.setattr(timer.clocks, "time_by_wall_clock", lambda call, size: (np.full(size, took), took))
    with pytest.raises(RuntimeError, match=r"a call was timed as .* ms: the clock is broken, or went backwards"):
        window(busy(1e-3))


@pytest.mark.usefixtures("processor_time")
def test_the_warm_up_lasts_until_calls_have_stopped_changing():
    """Calls that get faster and faster from 100 to 4 ms, then stay."""
    calls, warm = [], []

    def settling() -> None:
        calls.append(1)
        busy(max(0.1 * 0.7 ** (len(calls) - 1), 0.004))()

    found = window(settling, dataclasses.replace(FAST, max_s=0.6), lambda name: warm.append(len(calls)))
    assert found.health.steady and warm[1] > 9
    assert 4 <= np.median(found.latency_ms) < 6


@pytest.mark.usefixtures("processor_time")
def test_a_first_call_that_compiles_makes_no_call_slow():
    """Neither in the warm-up, nor where a later visit sets things up anew."""
    calls = []
    slow = {1}

    def compiling() -> None:
        calls.append(1)
        busy(0.2 if len(calls) in slow else 1e-3)()

    timed = timer.Timer(compiling, CPU, dataclasses.replace(FAST, max_s=0.12, settle_s=0.02))
    assert len(timed.visit(Monitor(CPU)).latency_ms) >= 5
    slow.add(len(calls) + 1)
    assert len(timed.visit(Monitor(CPU), 1).latency_ms) >= 5


@pytest.mark.usefixtures("processor_time")
def test_a_warm_up_that_does_not_end_is_unsteady():
    """A call that takes four times as long every tenth of a second."""
    began: list[float] = []

    def slower() -> None:
        began.append(time.perf_counter())
        busy(min(1e-3 * 4 ** ((began[-1] - began[0]) / 0.1), 0.1))()

    found = window(slower, dataclasses.replace(FAST, warmup_max_s=0.3, max_s=0.01))
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
        window(call, dataclasses.replace(FAST, max_s=60))  # in which there are as many, however slow they are
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
    assert took >= 10
