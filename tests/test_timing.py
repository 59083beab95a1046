"""The interval of the median, and when a measurement on the CPU ends."""

from __future__ import annotations

import gc
import math
import time

import numpy as np
import pytest
import torch

from trt_sweep import timing
from trt_sweep.config import MeasureConfig

CPU = torch.device("cpu")


def busy(seconds: float):
    def call() -> str:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return "done"

    return call


# With n samples, P(X <= k) of a binomial(n, 1/2) must be at most 2.5 % on either side: of 10, (1 + 10) / 1024 leaves
# out one on each end, and (1 + 10 + 45) / 1024 would be too much; of 6, 1 / 64 leaves out none.
@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15)])
def test_interval_by_hand(n, low, high):
    samples = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert timing.median_interval(samples) == (low, high)


def test_interval_of_too_few_samples():
    assert all(map(math.isnan, timing.median_interval(np.arange(5.0))))


def test_interval_at_another_level():
    samples = np.arange(1.0, 101.0)
    wide, narrow = timing.median_interval(samples, 0.99), timing.median_interval(samples, 0.5)
    assert wide[0] < narrow[0] < 50.5 < narrow[1] < wide[1]


def test_interval_covers_the_median_of_a_skewed_distribution():
    rng = np.random.default_rng(0)
    trials, covered = 1000, 0
    for _ in range(trials):
        low, high = timing.median_interval(rng.lognormal(0.0, 1.5, 60))  # its median is 1
        covered += low <= 1.0 <= high
    assert 0.93 <= covered / trials < 1.0


def test_statistics():
    latency = np.array([4.0, 1.0, 2.0, 3.0, 10.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    found = timing.Measurement(latency, np.array([1.0, 3.0, 2.0]), "cuda_events", "target").timing(11, 99.0)
    assert (found.clock, found.stopped_by, found.samples, found.first_call_ms) == (
        "cuda_events",
        "target",
        10,
        99.0,
    )
    assert (found.latency_ms, found.latency_ms_ci_low, found.latency_ms_ci_high) == (5.5, 2.0, 9.0)
    assert (found.latency_ms_min, found.latency_ms_mean, found.enqueue_ms) == (1.0, 5.5, 2.0)
    assert found.latency_ms_std == pytest.approx(math.sqrt(82.5 / 9))
    assert (found.latency_ms_p90, found.latency_ms_p99) == pytest.approx((9.1, 9.91))
    assert found.throughput_per_s == pytest.approx(11 / 5.5e-3)


def test_measure_until_the_target():
    phases = []
    settings = MeasureConfig(target=0.2, min_samples=50, max_s=60.0, warmup_s=0.0, warmup_calls=3)
    start = time.perf_counter()
    found = timing.measure(busy(1e-3), CPU, settings, phases.append)
    assert time.perf_counter() - start < 30
    assert (found.stopped_by, found.clock, found.enqueue_ms) == ("target", "wall", None)
    assert phases == ["warmup", "timing"]
    assert len(found.latency_ms) >= 50
    assert found.latency_ms.min() >= 1.0
    row = found.timing(batch_size=4)
    assert row.enqueue_ms is None
    assert (row.latency_ms_ci_high - row.latency_ms_ci_low) / 2 <= 0.2 * row.latency_ms
    assert row.throughput_per_s == pytest.approx(4000 / row.latency_ms)


def test_measure_until_the_time_is_up():
    settings = MeasureConfig(target=0.5, min_samples=10**6, max_s=0.3, warmup_s=0.0, warmup_calls=1)
    start = time.perf_counter()
    found = timing.measure(busy(2e-3), CPU, settings)
    assert 0.3 <= time.perf_counter() - start < 10
    assert found.stopped_by == "max_s"
    assert 2 <= len(found.latency_ms) < 10**6


def test_a_call_slower_than_the_time_gives_two_samples():
    settings = MeasureConfig(min_samples=10, max_s=0.01, warmup_s=0.0, warmup_calls=1)
    found = timing.measure(busy(0.15), CPU, settings)
    assert (found.stopped_by, len(found.latency_ms)) == ("max_s", 2)
    row = found.timing(1)
    assert row.latency_ms >= 150
    assert math.isnan(row.latency_ms_ci_low)


@pytest.mark.parametrize(("warmup_calls", "warmup_s"), [(7, 0.0), (1, 0.05)])
def test_warm_up(warmup_calls, warmup_s):
    calls, at_timing = [], []
    call = busy(1e-3)
    settings = MeasureConfig(target=0.9, min_samples=10, max_s=0.1, warmup_s=warmup_s, warmup_calls=warmup_calls)

    def phase(name):
        at_timing.append((name, len(calls), time.perf_counter()))

    timing.measure(lambda: (calls.append(1), call()), CPU, settings, phase)
    (_, none, start), (_, warm, end) = at_timing
    assert none == 0
    assert warm == 7 if warmup_s == 0 else warm >= 1
    assert end - start >= max(warmup_s, 1e-3 * warmup_calls)


@pytest.mark.parametrize("at", [1, 30])
def test_errors_pass_through(at):
    calls = []

    def call():
        calls.append(1)
        if len(calls) == at:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match=r"^boom$"):
        timing.measure(call, CPU, MeasureConfig(warmup_s=0.0))
    assert len(calls) == at
    assert gc.isenabled()


def test_no_collection_while_timing():
    seen = set()
    timing.measure(lambda: seen.add(gc.isenabled()), CPU, MeasureConfig(max_s=0.05, warmup_s=0.0))
    assert seen == {False}
    assert gc.isenabled()


def test_first_call():
    result, took = timing.first_call(busy(0.01), CPU)
    assert result == "done"
    assert 10 <= took < 5000
