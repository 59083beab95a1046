"""Test what a server pays, as only a GPU can show it: several streams, and copies to the GPU and back."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch
from conftest import build_group
from test_gpu import BRIEF

from trt_sweep.backends.torchtrt.runtime import engine_modules, with_own_contexts
from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine.nvml import Monitor
from trt_sweep.measure import clocks
from trt_sweep.measure.timer import Timer
from trt_sweep.measure.transfers import with_transfers
from trt_sweep.models.inputs import example_inputs
from trt_sweep.points.plan import effective
from trt_sweep.points.point import Point
from trt_sweep.results.columns import GRAPH

pytestmark = pytest.mark.gpu

SHORT = MeasureConfig(visits=6, max_s=0.3, warmup_s=0.05)
CNN = ModelConfig(
    name="squeezenet1_1",
    factory={"_target_": "torchvision.models.get_model", "name": "squeezenet1_1"},
    inputs=[InputConfig(shape=[3, 224, 224])],
)


def test_streams_share_an_engine_and_not_the_visits(sweep):
    done = sweep(
        "model=resnet18",
        "backend=dynamo",
        "streams=1,2,4",
        "cuda_graphs=false,true",
        "precision=fp16",
        "batch_size=4",
        "measure.max_s=1.2",
        "baselines=false",
        example=False,
    )
    rows = done.ok_rows
    assert rows["status"].tolist() == ["ok"] * 6, done.out
    assert rows.groupby("cuda_graphs")["engine_id"].nunique().eq(1).all()
    assert rows["accurate"].all() and rows["timed_with"].isna().all()
    for _, same in rows.groupby("cuda_graphs"):
        first, *others = same.sort_values("streams").to_dict("records")
        assert first["build_s"] > 0 and {other["engine_reused_from"] for other in others} == {first["point_id"]}
        for other in others:
            assert other["gpu_ms"] == pytest.approx(first["gpu_ms"], rel=0.1) or other["gpu_ms_reason"]
            assert other["throughput_per_s"] > 0.6 * first["throughput_per_s"]
            assert other["throughput_per_s"] < 4 * other["streams"] * 1e3 / other["latency_ms_min"] * 1.05
            assert other["latency_ms_p99"] >= other["latency_ms"] >= first["gpu_ms"] * 0.95
            assert other["peak_gpu_bytes"] > first["peak_gpu_bytes"]  # each stream loads the engine once more


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_other_backends_build_once_for_all_streams_too(sweep, backend):
    loads = ("streams=1,2", "transfers=false,true")
    done = sweep(f"backend={backend}", "model=squeezenet1_1", *loads, *BRIEF, example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows
    assert rows["status"].tolist() == ["ok"] * 4 and rows["engine_id"].nunique() == 1, done.out
    assert rows["build_s"].notna().sum() == rows["engine_reused_from"].isna().sum() == 1
    assert rows["accurate"].all() and rows["timed_with"].isna().all() and (rows["engines"] > 0).all()


def test_every_backend_has_streams_or_says_why_not(sweep):
    backends = "eager,jit,inductor,aot_inductor,onnx,dynamo,torch_compile,torchscript"
    axes = ("model=squeezenet1_1", "cuda_graphs=false,true", "streams=2", "precision=fp16")
    done = sweep(f"backend={backends}", *axes, *BRIEF, example=False)
    rows = done.rows.set_index(["backend", "cuda_graphs"])
    assert set(rows["status"]) <= {"ok", "unsupported"}, done.out + done.err
    unsupported = rows[rows["status"] == "unsupported"]
    assert unsupported["reason"].notna().all()
    assert {("inductor", True), ("torch_compile", False), ("torch_compile", True)} <= set(unsupported.index)
    for name in ("eager", "jit", "aot_inductor", "onnx", "dynamo"):
        assert rows.loc[(name, False), "status"] == "ok", done.out
    for name in ("eager", "jit", "onnx", "dynamo"):
        assert rows.loc[(name, True), "status"] == "ok", done.out


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_further_context_is_no_other_name_for_the_first(tmp_path, cuda_graphs):
    config = SweepConfig(model=CNN, backend="dynamo", precision="fp16", cuda_graphs=cuda_graphs, measure=SHORT)
    (point,) = effective(config)
    device = torch.device(point.device)
    with build_group([Point(point)], tmp_path) as group:
        (line,) = group.runs
        assert line.start().status == "ok"
        compiled = line.state.compiled
        other = compiled.another()
        given, more = (example_inputs(point, device, number) for number in range(2))
        with line.running(), other.running(), torch.no_grad():
            expected, further = (made.bind(more)().clone() for made in (compiled, other))
            assert torch.allclose(expected, further, rtol=1e-2, atol=1e-2)
            first, second = compiled.bind(given), other.bind(more)
            one = first().clone()
            second()
            assert torch.equal(first(), one)  # what the other was given meanwhile is not its own
        torch.cuda.synchronize()


def test_engines_are_loaded_again_and_weights_are_not(tmp_path):
    config = SweepConfig(model=CNN, backend="dynamo", precision="fp16", min_block_size=5, measure=SHORT)
    (point,) = effective(config)
    with build_group([Point(point)], tmp_path) as group:
        (line,) = group.runs
        assert line.start().status == "ok"
        module = line.state.compiled.module
        copied = with_own_contexts(module)
        pairs = list(zip(engine_modules([module]), engine_modules([copied]), strict=True))
        assert pairs and all(one is not other and one.engine is not other.engine for one, other in pairs)
        assert all(one.serialized_engine == other.serialized_engine for one, other in pairs)
        before = {tensor.data_ptr() for tensor in module.parameters()}
        assert {tensor.data_ptr() for tensor in copied.parameters()} == before


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: dict[str, list[torch.Tensor]]


def nested(x: torch.Tensor, y: torch.Tensor) -> Output:
    return Output(x + y, {"layers": [x * 2, y.int()]})


def test_transfers_bring_the_inputs_in_and_nested_outputs_back():
    device = torch.device("cuda")
    x, y = torch.randn(8, 4, device=device), torch.randn(8, 4, device=device)
    expected = nested(x.cpu(), y.cpu())
    call = with_transfers(lambda: nested(x, y), [x, y])
    x.zero_()  # only what the call copies makes it right again
    y.zero_()
    found = call()
    torch.cuda.synchronize()
    assert list(found) == ["logits", "hidden.layers.0", "hidden.layers.1"]
    wanted = [expected.logits, *expected.hidden["layers"]]
    for tensor, other in zip(found.values(), wanted, strict=True):
        assert tensor.device.type == "cpu" and tensor.is_pinned() and torch.equal(tensor, other)
    places = [tensor.data_ptr() for tensor in found.values()]
    assert [tensor.data_ptr() for tensor in call().values()] == places  # allocated once
    torch.cuda.synchronize()


def test_the_gpu_is_charged_with_the_copies():
    device = torch.device("cuda")
    x = torch.randn(1 << 22, device=device)  # 16 MiB each way: about 0.6 ms by PCIe 5, and 0.02 ms to compute

    def call() -> torch.Tensor:
        return x * 2

    plain, copying = (Timer(each, device, SHORT).visit(Monitor(device)) for each in (call, with_transfers(call, [x])))
    assert GRAPH in copying.gpu_ms, copying.gpu_reason
    assert float(copying.gpu_ms[GRAPH].min()) > 3 * float(plain.gpu_ms[GRAPH].min())
    assert float(copying.latency_ms.min()) > 3 * float(plain.latency_ms.min())


def test_transfers_of_every_backend(sweep):
    done = sweep(
        "model=embedder",
        "backend=eager,dynamo",
        "transfers=false,true",
        "streams=1,2",
        "precision=fp16",
        "batch_size=8",
        *BRIEF,
    )
    rows = done.ok_rows
    assert rows["status"].tolist() == ["ok"] * 8
    for _, same in rows.groupby(["backend", "streams"]):
        without, copying = same.sort_values("transfers").to_dict("records")
        assert copying["rel_l2_error"] == pytest.approx(without["rel_l2_error"], rel=0.5)
        assert copying["gpu_ms"] > without["gpu_ms"]


def test_gaps_between_the_calls_of_one_stream_count_and_flushes_do_not():
    device = torch.device("cuda")
    x = torch.zeros(1, device=device)

    def call() -> None:
        x.add_(1)

    latency_ms, all_ms = clocks.time_by_events(call, 500, None)
    assert all_ms > latency_ms.sum()
    latency_ms, all_ms = clocks.time_by_events(call, 50, clocks.l2_flush(device))
    assert all_ms == pytest.approx(latency_ms.sum())
    visit = Timer(call, device, SHORT).visit(Monitor(device))
    assert visit.wall_ms > visit.latency_ms.sum()


def test_one_slow_moment_does_not_end_the_timing_of_the_gpu():
    device, slow = torch.device("cuda"), list[float]()
    x = torch.zeros(1, device=device)

    def call() -> None:
        if slow:
            time.sleep(slow.pop())
        x.add_(1)

    timer = Timer(call, device, dataclasses.replace(SHORT, max_s=0.06, settle_s=0.0))
    assert GRAPH in timer.visit(Monitor(device)).gpu_ms
    slow.append(0.1)  # as long as all visits may take
    for number in (1, 2):
        found = timer.visit(Monitor(device), number)
        assert GRAPH in found.gpu_ms and found.gpu_reason is None and not slow


def test_two_streams_overlap_calls_that_leave_room():
    """A kernel that spins on one processor: two streams do twice as much, one stream does not."""
    device = torch.device("cuda")

    def call() -> None:
        torch.cuda._sleep(2_000_000)

    found = {}
    for streams in (1, 2):
        timer = Timer(call, device, SHORT, beside=[call] * (streams - 1))
        visit = timer.visit(Monitor(device))
        found[streams] = len(visit.latency_ms) / visit.wall_ms
        assert len(visit.latency_ms) * visit.latency_ms.min() <= streams * visit.wall_ms * 1.05
        timer.close()
    assert found[2] > 1.6 * found[1]
