"""Where the time of a call goes, from a real trace and from made-up ones.

`data/trace.json.gz` holds two calls of squeezenet1_1 (FP16, batch 1, `min_block_size=5`) through the C++ runtime, on
an H200 (torch 2.11, torch-tensorrt-rtx 2.11.0, tensorrt-rtx 1.4.0.76).
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
import torch

from trt_sweep.points import trace

REAL = Path(__file__).parent / "data/trace.json.gz"


def test_a_real_trace_is_taken_apart():
    spent = trace.where_time_goes(json.loads(gzip.decompress(REAL.read_bytes()))["traceEvents"])
    assert spent["calls"] == 2
    assert spent["order"] == [
        *("aten::convolution", "aten::relu", "aten::max_pool2d"),
        *("engine 0", "aten::max_pool2d", "engine 1", "aten::max_pool2d", "engine 2"),
    ]
    assert [row["engine"] for row in spent["engines"]] == [0, 1, 2]
    assert [row["op"] for row in spent["fallback"]] == ["aten::convolution", "aten::relu", "aten::max_pool2d"]
    # Each max-pooling is one kernel; the convolution adds its bias in a second one.
    assert [row["kernels"] for row in spent["fallback"]] == [2, 1, 3]
    parts = sum(row["gpu_ms"] for row in (*spent["engines"], *spent["fallback"]))
    assert parts == pytest.approx(spent["busy_ms"], rel=0.01)  # one part at a time
    assert spent["busy_ms"] + spent["idle_ms"] == pytest.approx(spent["span_ms"])
    assert 0.1 < spent["busy_ms"] < 0.2 and spent["idle_ms"] > 0.8  # 3 engines: launching is what it waits for


def test_parts_tell_each_boundary_of_a_real_trace():
    spent = trace.where_time_goes(json.loads(gzip.decompress(REAL.read_bytes()))["traceEvents"])
    parts = spent["parts"]
    assert [part["name"] for part in parts] == spent["order"]
    for row in (*spent["engines"], *spent["fallback"]):
        same = [part for part in parts if part["name"] == row.get("name", row.get("op"))]
        for name in ("gpu_ms", "kernels", "enqueue_ms"):  # medians of two calls are means, which add up
            assert sum(part[name] for part in same) == pytest.approx(row[name])
    pools = [part for part in parts if part["name"] == "aten::max_pool2d"]
    assert [part["kernels"] for part in pools] == [1, 1, 1] and all(part["gap_before_ms"] > 0.01 for part in pools)
    waits = sum(part["gap_before_ms"] + part["idle_ms"] for part in parts)
    assert waits == pytest.approx(spent["idle_ms"]) and parts[0]["gap_before_ms"] == 0


def test_waits_within_a_part_are_its_own():
    events = call(
        on_host("aten::conv", 10, 100), *launched(20, 500, 10, 1), *launched(30, 515, 10, 2),
        on_host("aten::relu", 200, 50), *launched(210, 530, 20, 3),
    )  # fmt: skip
    waits = [(part["name"], part["gap_before_ms"], part["idle_ms"]) for part in trace.where_time_goes(events)["parts"]]
    assert waits == [("aten::conv", 0, 0.005), ("aten::relu", 0.005, 0)]


def test_calls_of_other_parts_are_left_out():
    events = [
        *call(
            on_host("aten::add", 1, 50), *launched(2, 10, 30, 1), on_host("aten::neg", 60, 9), *launched(61, 50, 5, 2)
        ),
        *call(on_host("aten::add", 5001, 50), *launched(5002, 5010, 10, 3), ts=5000),
    ]
    (part,) = trace.where_time_goes(events)["parts"]
    assert (part["name"], part["gpu_ms"]) == ("aten::add", 0.01)


def on_host(name: str, ts: float, dur: float, cat: str = "cpu_op") -> trace.Event:
    return {"ph": "X", "cat": cat, "name": name, "tid": 1, "ts": ts, "dur": dur, "args": {}}


def launched(ts: float, start: float, dur: float, number: int, tid: int = 1) -> list[trace.Event]:
    kernel = {
        "ph": "X",
        "cat": "kernel",
        "name": "k",
        "tid": 7,
        "ts": start,
        "dur": dur,
        "args": {"correlation": number},
    }
    launch = on_host("cudaLaunchKernel", ts, 1, "cuda_runtime") | {"args": {"correlation": number}, "tid": tid}
    return [launch, kernel]


def call(*inner: trace.Event, ts: float = 0, dur: float = 1000) -> list[trace.Event]:
    return [on_host(trace.CALL, ts, dur, "user_annotation"), *inner]


def test_a_kernel_belongs_to_the_outermost_operator_that_launched_it():
    events = call(
        on_host("aten::conv", 10, 100),
        on_host("aten::cudnn", 20, 50),
        *launched(30, 500, 10, 1),
        on_host(f"{trace.ENGINE} 0", 200, 300, "user_annotation"),
        on_host("aten::copy_", 210, 50),
        *launched(220, 600, 20, 2),
        *launched(300, 610, 20, 3),  # overlaps the one before
        *launched(800, 1000, 40, 4),  # within no part
        *launched(1500, 2000, 99, 5),  # of no call
        *launched(30, 700, 99, 6, tid=2),  # of another thread
    )
    spent = trace.where_time_goes(events)
    assert [(row["op"], row["gpu_ms"]) for row in spent["fallback"]] == [("aten::conv", 0.01), ("other", 0.04)]
    (engine,) = spent["engines"]
    assert (engine["gpu_ms"], engine["kernels"], engine["enqueue_ms"]) == (0.03, 2, 0.3)
    assert [tuple(part.values()) for part in spent["parts"]] == [
        ("aten::conv", 0.01, 1, 0.1, 0.0, 0.0),
        ("engine 0", 0.03, 2, 0.3, 0.09, 0.0),
        ("other", 0.04, 1, 1.0, 0.37, 0.0),
    ]
    assert spent["span_ms"] == 0.54 and spent["busy_ms"] == pytest.approx(0.08)
    assert spent["order"] == ["aten::conv", "engine 0", "other"]


def test_medians_over_the_calls():
    events = [
        event
        for index, dur in enumerate((10, 20, 90))
        for event in call(
            on_host("aten::add", 5000 * index + 1, 50), *launched(5000 * index + 2, 5000 * index, dur, index),
            ts=5000 * index,
        )
    ]  # fmt: skip
    spent = trace.where_time_goes(events)
    assert spent["calls"] == 3 and spent["busy_ms"] == 0.02 and spent["fallback"][0]["gpu_ms"] == 0.02


def test_a_trace_without_calls_is_refused():
    with pytest.raises(ValueError, match="no marked call"):
        trace.where_time_goes(launched(1, 2, 3, 4))
    nothing = trace.where_time_goes(call())
    assert nothing["busy_ms"] == 0 and nothing["parts"] == []


def test_the_region_of_torch_compile_is_no_operator():
    """It lies around the engines, and around operators that stay in PyTorch."""
    events = call(
        on_host("Torch-Compiled Region: 0/0", 5, 900),
        on_host("aten::conv", 10, 50),
        *launched(20, 100, 10, 1),
        on_host(f"{trace.ENGINE} 2", 200, 300, "user_annotation"),
        *launched(220, 600, 20, 2),
    )
    spent = trace.where_time_goes(events)
    assert [(row["name"], row["engine"], row["gpu_ms"]) for row in spent["engines"]] == [("engine 2", 2, 0.02)]
    assert [(row["op"], row["gpu_ms"]) for row in spent["fallback"]] == [("aten::conv", 0.01)]


def test_a_real_compiled_call_is_taken_apart():
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.fc(x))

    def backend(graph, inputs):
        def run(*args):
            with torch.profiler.record_function(f"{trace.ENGINE} 0"):
                return graph(*args)

        return run

    module = torch.compile(Net(), backend=backend)
    with torch.no_grad():
        module(torch.randn(2, 4))
        profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        with profiler, torch.profiler.record_function(trace.CALL):
            module(torch.randn(2, 4))
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as folder:
        profiler.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
    (marked,) = trace._named(events, trace.CALL)
    assert f"{trace.ENGINE} 0" in [part.name for part in trace._parts(marked, events, {})]
