"""Several threads that call at the same time, for real, on the CPU; test_gpu_load.py has what needs a GPU."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch
from conftest import build_group
from test_points_run import FAST, LINEAR

from trt_sweep.backends.torchtrt.runtime import with_own_contexts
from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.machine.nvml import Monitor
from trt_sweep.measure.measurement import Measurement
from trt_sweep.measure.threads import StreamThreads
from trt_sweep.measure.timer import Timer
from trt_sweep.points import plan
from trt_sweep.points.point import Point
from trt_sweep.results import ranking, table

CPU = torch.device("cpu")
KEEPS = {"_target_": "test_streams.Keeps"}


class Keeps(torch.nn.Module):
    """Keep a buffer of its own between two steps, which is not safe where several threads call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(64, 256))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept.copy_(x)
        time.sleep(0.01)  # in which the others have their turn
        return self.kept * 2


class Alone(torch.nn.Module):
    """Fail in any thread but the first one that calls."""

    def __init__(self) -> None:
        super().__init__()
        self.thread: int | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.thread = self.thread or threading.get_ident()
        if threading.get_ident() != self.thread:
            raise RuntimeError("not from another thread")
        return x * 2


def config(factory: dict = LINEAR, shape: tuple[int, ...] = (4,), backend: str = "eager", **values) -> SweepConfig:
    model = ModelConfig(name="tried", factory=factory, inputs=[InputConfig(shape=[*shape])])
    return SweepConfig(model=model, backend=backend, device="cpu", cuda_graphs=False, **({"measure": FAST} | values))


def run(point: SweepConfig, folder):
    with build_group([Point(point, [0], axes=plan.axes(point))], folder) as group:
        (line,) = group.runs
        record = line.start()
        while not record.final:
            record = line.again() or record
    return record


def test_threads_do_something_at_the_same_time_and_one_after_the_other():
    threads = StreamThreads(2, CPU)
    both = threading.Barrier(2, timeout=10)
    names, took_s = threads.together([lambda: (both.wait(), threading.current_thread().name)[1]] * 2)
    assert len(set(names)) == 2 and 0 <= took_s < 10  # neither passes the barrier without the other
    assert threads.in_turn([lambda: threading.current_thread().name] * 2) == names  # the same threads again
    with torch.no_grad():
        assert threads.in_turn([torch.is_grad_enabled] * 2) == [False, False]
    assert threads.in_turn([torch.is_grad_enabled] * 2) == [True, True]

    def fails() -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        threads.together([fails, time.time])
    threads.close()


def test_threads_do_not_wait_for_one_that_does_not_come():
    threads = StreamThreads(2, CPU)
    first, second = threads._threads
    second.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        threads.together([time.time] * 2)
    assert first.submit(lambda: "free").result(timeout=60) == "free"
    threads.close()


def test_a_visit_counts_the_calls_of_all_threads_over_its_wall_time():
    """A call that only waits: three threads wait three times as long in the same time, and each as long as before."""
    settings = MeasureConfig(visits=6, max_s=1.2, settle_s=0.0, warmup_s=0.0)
    for streams in (1, 3):
        calls = [lambda: time.sleep(0.01)] * streams
        timer = Timer(calls[0], CPU, settings, beside=calls[1:])
        timer.visit(Monitor(CPU))
        start = time.perf_counter()
        visit = timer.visit(Monitor(CPU), 1)
        assert visit.wall_ms <= (time.perf_counter() - start) * 1e3
        assert len(visit.latency_ms) >= streams and 10 <= visit.latency_ms.min() < 20
        # However late a busy machine wakes a thread up, the time until then is that of a call.
        assert (visit.latency_ms.sum() > 1.5 * visit.wall_ms) == (streams > 1)
        timing = Measurement([[visit]], 5, None, streams=streams).timing()
        assert timing.throughput_per_s == pytest.approx(5 * len(visit.latency_ms) / visit.wall_ms * 1e3)
        timer.close()


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("settle_s", [0.0, 0.05])
def test_energy_is_that_of_all_calls_that_were_made(streams, settle_s):
    """Count calls by a meter that moves by one millijoule in each."""
    made: list[int] = []

    class Metered(Monitor):
        def energy_mj(self) -> float:
            return float(len(made))

    def call() -> None:
        time.sleep(0.01)
        made.append(1)

    settings = MeasureConfig(visits=6, max_s=0.12, settle_s=settle_s, warmup_s=0.0)
    timer = Timer(call, CPU, settings, beside=[call] * (streams - 1))
    for number in (0, 1):
        health = timer.visit(Metered(CPU), number).health
        assert health.energy_mj == health.energy_calls
    timer.close()


def test_a_point_with_two_streams(tmp_path):
    record = run(config(streams=2, batch_size=8), tmp_path)
    assert (record.status, record.streams, record.transfers) == ("ok", 2, False), record.reason
    assert record.accurate and record.gpu_ms is None and len(record.item_ms_visits) == record.rounds == 6
    items = np.sort(record.item_ms_visits)
    assert record.throughput_per_s == pytest.approx(1e3 / np.quantile(items, 0.25))
    assert record.throughput_per_s_ci_low <= record.throughput_per_s <= record.throughput_per_s_ci_high
    samples = np.load(tmp_path / "samples.npz")
    made = [int((samples["latency_ms_round"] == number).sum()) for number in range(1, 7)]
    walls = samples["wall_ms"][1:]
    assert record.item_ms_visits == pytest.approx([wall / number / 8 for wall, number in zip(walls, made, strict=True)])
    longest = [samples["latency_ms"][samples["latency_ms_round"] == number].sum() for number in range(1, 7)]
    # Two threads were at work: their calls together took longer than the wall shows, and no thread's alone did.
    assert all(total <= 2 * wall for total, wall in zip(longest, walls, strict=True))


def test_a_module_that_threads_spoil_is_inaccurate_with_several_streams_only(tmp_path):
    point = config(KEEPS, (256,), batch_size=64)
    assert run(point, tmp_path / "one").status == "ok"
    record = run(dataclasses.replace(point, streams=2), tmp_path / "two")
    assert (record.status, record.phase, record.accurate) == ("inaccurate", "accuracy", False)
    assert record.reason.startswith("the output: ") and record.reason.endswith(
        "compared with the same call alone: only so while 2 threads call at the same time (streams=2)"
    )
    assert record.latency_ms > 0 and record.rel_l2_error < 1e-6  # alone it was right


def test_a_call_that_fails_in_a_thread_fails_the_point(tmp_path):
    factory = {"_target_": "test_streams.Alone"}
    assert run(config(factory), tmp_path / "one").status == "ok"
    record = run(config(factory, streams=2), tmp_path / "two")
    assert (record.status, record.phase, record.reason) == (
        "run_failed",
        "accuracy",
        "RuntimeError: not from another thread",
    )


def test_a_copy_for_another_thread_shares_the_weights():
    module = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).eval())
    copied = with_own_contexts(module)
    assert copied is not module and copied.get_submodule("0") is not module.get_submodule("0")
    assert [*map(id, copied.state_dict(keep_vars=True).values())] == [
        *map(id, module.state_dict(keep_vars=True).values())
    ]
    x = torch.randn(2, 4)
    assert torch.equal(copied(x), module(x))


@pytest.mark.parametrize("streams", [0, -1, 33, 1000, 1.5, True, "2"])
def test_what_is_no_number_of_streams(streams):
    with pytest.raises(SweepError, match=r"streams=\S+ is not allowed: use an integer from 1 to 32"):
        PointConfig(streams=streams)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"transfers": True}, "transfers=true: they are copies to a GPU and back; there is none here"),
        ({"streams": 2, "measure": dataclasses.replace(FAST, cold_cache=True)}, "streams=2: with measure.cold_cache"),
        ({"backend": "torch_compile", "streams": 2}, "streams=2: torch.compile hands out one function"),
    ],
)
def test_what_cannot_be(values, reason, tmp_path):
    record = run(config(**values), tmp_path)
    assert record.status == "unsupported" and record.reason.startswith(reason)


def test_streams_and_transfers_left_alone_change_no_name():
    """Names of points are kept in records and stores."""
    assert not {"streams", "transfers"} & PointConfig().to_dict().keys()
    assert PointConfig(streams=2).to_dict()["streams"] == 2


def test_the_baseline_is_eager_under_the_same_load(tmp_path):
    for name, point in {
        "eager": config(streams=2),
        "alone": config(),
        "jit": config(backend="jit", streams=2),
    }.items():
        run(point, tmp_path / "points" / name)
    (wanted,) = plan._baselines(config(backend="jit", streams=2))
    assert (wanted.backend, wanted.streams) == ("eager", 2)
    rows = table.load(tmp_path).set_index("folder")
    eager, jit = (rows.loc[f"points/{name}"] for name in ("eager", "jit"))
    assert jit["speedup"] == pytest.approx(ranking.ratio(eager, jit)[0])
    assert rows.loc["points/alone", "speedup"] == 1.0 and eager["speedup"] == 1.0
