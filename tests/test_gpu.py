"""What only a GPU can show: `pytest -m gpu`."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from trt_sweep import backends, cudagraphs, gpu, models, timing
from trt_sweep.config import MeasureConfig

pytestmark = pytest.mark.gpu


def test_main_command(sweep):
    done = sweep("optimization_level=0,3,5", "precision=fp16", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows
    assert rows["status"].tolist() == ["ok"] * 5
    eager, trt = rows[rows["backend"] == "eager"], rows[rows["backend"] == "dynamo"]
    assert (
        eager["precision"].tolist() == ["fp16", "fp32"]
        and eager["cudnn_benchmark"].all()
        and eager["channels_last"].all()
    )
    assert (trt["rel_l2_error"] < 2e-3).all() and (trt["engines"] == 1).all() and (trt["top1_agreement"] == 1).all()
    assert set(rows["clock"]) == {"cuda_events"} and rows["gpu_uuid"].nunique() == 1 and rows["driver"].notna().all()
    assert trt["speedup"].notna().all() and trt["enqueue_ms"].notna().all()
    if gpu.flavor() == "rtx":
        assert trt["engine_id"].nunique() == 1 and trt["ignored_axes"].tolist() == [["optimization_level"]] * 3
        assert "3 points share one engine" in done.out and "without effect" in done.out


def test_precisions_and_runtimes(sweep):
    done = sweep("precision=fp32,fp16", "runtime=cpp,python", "measure.max_s=1", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["backend"] == "dynamo"]
    assert len(rows) == 4 and set(rows["status"]) <= {"ok", "unsupported"}, done.out
    ran = rows[rows["status"] == "ok"]
    assert ran.groupby("precision")["engine_id"].nunique().eq(1).all()  # the runtime does not change the engine
    assert ran["engine_id"].nunique() == 2


def test_integer_ids_keywords_and_dicts_through_an_engine(sweep):
    done = sweep("model=embedder", "precision=fp16", "batch_size=8", "measure.max_s=1")
    assert done.code == 0, done.out + done.err
    assert done.rows["status"].tolist() == ["ok"] * 3


def test_planned_and_built_engines_agree(sweep):
    done = sweep("model=squeezenet1_1", "min_block_size=5,45", "precision=fp16", "measure.max_s=2", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["backend"] == "dynamo"]
    assert rows["engines"].tolist() == [3, 0] and rows["engine_id"].notna().tolist() == [True, False]


def test_events_time_the_gpu():
    """Two dependent products take twice as long as one; work this large hides the host."""
    a = torch.randn(4096, 4096, device="cuda")
    device, settings = gpu.resolve("cuda"), MeasureConfig(max_s=3)
    one = timing.measure(lambda: a @ a, device, settings).timing(1)
    two = timing.measure(lambda: a @ (a @ a), device, settings).timing(1)
    assert two.latency_ms / one.latency_ms == pytest.approx(2, rel=0.1)
    assert one.clock == "cuda_events" and one.enqueue_ms < one.latency_ms


def test_every_backend_and_its_cuda_graphs(sweep):
    done = sweep(
        f"backend={','.join(sorted(set(backends.names()) - {'aot_inductor'}))}",
        "cuda_graphs=false,true",
        "precision=fp16",
        "model=squeezenet1_1",
        "measure.max_s=1",
        example=False,
    )
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["jobs"].map(bool)].set_index(["backend", "cuda_graphs"])
    for backend in backends.names():
        if backend not in ("aot_inductor", "fx"):
            plain, graph = rows.loc[(backend, False)], rows.loc[(backend, True)]
            assert (plain["status"], graph["status"]) == ("ok", "ok")
            assert pd.isna(plain["cuda_graphs_method"]) and graph["cuda_graphs_method"]
    trt = rows.loc[["dynamo", "torch_compile", "torchscript", "onnx"]]
    assert (trt["engines"] > 0).all() and trt["engine_id"].notna().all() and (trt["engine_bytes"] > 1e6).all()
    # A graph takes the host out of a call that the host bounds.
    for backend in ("eager", "dynamo", "onnx"):
        assert rows.loc[(backend, True), "latency_ms"] < rows.loc[(backend, False), "latency_ms"] / 1.5
    if gpu.flavor() == "rtx":
        assert rows.loc["fx", "status"].tolist() == ["unsupported"] * 2 and "FX" in rows.loc["fx", "reason"].iloc[0]


def test_what_cannot_be_captured_is_unsupported_and_disturbs_no_other(sweep):
    done = sweep("backend=eager", "model=synchronizes,scale", "cuda_graphs=true", "precision=fp16", "measure.max_s=1")
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["cuda_graphs"]].set_index("model")
    assert rows["status"].to_dict() == {"synchronizes": "unsupported", "scale": "ok"}
    assert "cannot capture" in rows.loc["synchronizes", "reason"]


def test_a_graph_takes_new_inputs():
    model = torch.nn.Linear(4, 4).cuda()
    x = torch.zeros(2, 4, device="cuda")
    with torch.no_grad():
        call = cudagraphs.capture(model, models.Inputs((x,), {}), torch.device("cuda", 0))
        assert torch.equal(call(), model(x))
        x.fill_(3)
        assert torch.equal(call(), model(x))


def test_a_range_is_built_once_on_the_gpu(sweep):
    done = sweep(
        "backend=dynamo,onnx,torchscript",
        "batch_size=[1,4,8]",
        "time_at=[1,8]",
        "precision=fp16",
        "model=squeezenet1_1",
        "measure.max_s=1",
        example=False,
    )
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["dynamic_range"].notna()]
    assert rows["status"].tolist() == ["ok"] * 6, done.out
    for _, pair in rows.groupby("backend"):
        assert pair["time_at"].tolist() == [1, 8] and pair["engine_id"].nunique() == 1
        assert pair["throughput_per_s"].iloc[1] > pair["throughput_per_s"].iloc[0]


@pytest.mark.skipif(gpu.flavor() != "rtx", reason="only TensorRT-RTX has a runtime cache")
def test_a_warm_runtime_cache_saves_the_compilation(sweep):
    done = sweep("backend=onnx", "runtime_cache=cold,warm", "precision=fp16", "measure.max_s=1", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows.set_index("runtime_cache")
    paid = rows["load_s"] + rows["first_call_ms"] / 1e3
    assert paid["warm"] < paid["cold"] / 2
