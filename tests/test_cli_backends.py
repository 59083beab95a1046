"""Test what each backend makes of a point, in Hydra's real multirun in a subprocess."""

from __future__ import annotations

import pandas as pd
from conftest import needs_tensorrt, without_gpu

from trt_sweep import backends

FAST = ("measure.visits=6", "measure.max_s=0.1", "measure.warmup_s=0.05")


@needs_tensorrt
def test_what_cannot_be_exported_is_build_failed(sweep):
    done = sweep("model=data_dependent", "dryrun=true")
    assert done.code == 1
    row = done.rows.iloc[0]
    assert (row["status"], row["phase"]) == ("build_failed", "export") and "data-dependent" in row["reason"]


@needs_tensorrt
@without_gpu
def test_every_backend_is_timed_or_planned_on_a_cpu(sweep):
    done = sweep(f"backend={','.join(backends.names())}", "model=embedder", *FAST)
    assert done.code == 0, done.out + done.err
    rows = done.rows.set_index("backend")
    assert rows["status"].to_dict() == {
        **dict.fromkeys(("aot_inductor", "eager", "inductor", "jit"), "ok"),
        **dict.fromkeys(("dynamo", "onnx", "torch_compile", "torchscript"), "dryrun"),
        "fx": "unsupported",
    }
    assert "FX" in rows.loc["fx", "reason"]
    # 2.14 makes one engine of it, 2.11 three and a graph break.
    assert rows.loc["onnx", "engines"] == 1 and (rows.loc[["dynamo", "torch_compile"], "engines"] >= 1).all()
    assert rows.loc["torch_compile", "graphs"] >= 1 and rows.loc["torch_compile", "graph_breaks"] >= 0
    assert rows.loc[["jit", "torchscript", "inductor"], "mode"].tolist() == ["trace", "trace", "default"]
    assert rows["cuda_graphs"].tolist() == [False] * len(rows)


def test_a_range_is_built_once_and_timed_at_each_size(sweep):
    done = sweep("backend=inductor,eager", "model=scale", "device=cpu", "batch_size=[2,4,8]", "time_at=[2,8]", *FAST)
    assert done.code == 0, done.out + done.err
    rows = done.rows
    built = rows[rows["backend"] == "inductor"]
    assert built["time_at"].tolist() == built["batch_size"].tolist() == [2, 8]
    assert built["dynamic_range"].tolist() == ["2:4:8"] * 2 and built["input_shapes"].tolist() == ["2x8", "8x8"]
    first, second = built["engine_reused_from"]
    assert pd.isna(first) and second == built["point_id"].iloc[0] and built["build_s"].notna().tolist() == [True, False]
    assert built["speedup"].notna().all() and built["jobs"].tolist() == [[0], [0]]
    eager = rows[rows["backend"] == "eager"]
    assert eager["batch_size"].tolist() == [2, 8] and eager["dynamic_range"].isna().all()


def test_a_size_that_the_graph_does_not_hold_for_is_unsupported(sweep):
    done = sweep("backend=inductor", "model=scale", "device=cpu", "batch_size=[1,4,8]", "time_at=[1,8]", *FAST)
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["backend"] == "inductor"]
    assert rows["status"].tolist() == ["unsupported", "ok"] and "at this size" in rows["reason"].iloc[0]


def test_an_axis_that_a_backend_does_not_use_multiplies_nothing(sweep):
    done = sweep(
        "backend=eager,jit", "model=scale", "device=cpu", "torchscript.mode=trace,script", "min_block_size=1,5", *FAST
    )
    assert done.code == 0, done.out + done.err
    rows = done.rows
    assert rows[rows["backend"] == "eager"]["jobs"].tolist() == [[0, 1, 2, 3]]
    assert rows[rows["backend"] == "jit"]["jobs"].tolist() == [[4, 5], [6, 7]]
    assert (
        "eager: jobs 0, 1, 2 and 3 are merged into one point: min_block_size, torchscript.mode made no difference to it"
        in done.out
    )
    assert (
        "jit: jobs 4 and 5; 6 and 7 are merged, each into one point: min_block_size made no difference to it"
        in done.out
    )


def test_what_a_frontend_cannot_take_is_a_row(sweep):
    done = sweep("backend=jit", "model=generator", "torchscript.mode=trace,script", "device=cpu", *FAST)
    assert done.code == 1
    rows = done.rows[done.rows["backend"] == "jit"].set_index("mode")
    assert rows["status"].to_dict() == {"trace": "ok", "script": "build_failed"}
    assert rows.loc["script", "phase"] == "export" and "torchscript.mode=trace" in rows.loc["script", "reason"]
    assert "Traceback" not in done.out + done.err


@needs_tensorrt
def test_an_onnx_export_that_fails_is_a_row(sweep):
    done = sweep("backend=onnx", "model=singular", "dryrun=true")
    assert done.code == 1
    row = done.rows.iloc[0]
    assert (row["status"], row["phase"]) == ("build_failed", "export") and "svd" in row["reason"].lower()


@needs_tensorrt
def test_torch_compile_passes_the_weights_into_the_engines(sweep):
    done = sweep("backend=dynamo,torch_compile", "model=squeezenet1_1", "dryrun=true", example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows.set_index("backend")
    assert rows["engines"].tolist() == [3, 3]
    assert rows.loc["dynamo", "engine_inputs"] == 3 and rows.loc["torch_compile", "engine_inputs"] == 53


@needs_tensorrt
def test_engines_that_torch_compile_keeps_to_itself_are_not_made_up(sweep):
    done = sweep("backend=torch_compile", "model=mapped", "dryrun=true", "min_block_size=1")
    assert done.code == 0, done.out + done.err
    row = done.rows.iloc[0]
    if row["status"] == "dryrun":  # 2.11
        assert row["engines"] == 1
    else:
        assert row["status"] == "unsupported" and "AOT autograd" in row["reason"] and pd.isna(row["engines"])


def test_cuda_graphs_without_a_gpu_are_unsupported(sweep):
    done = sweep("backend=eager,jit", "model=scale", "device=cpu", "cuda_graphs=false,true", *FAST)
    assert done.code == 0, done.out + done.err
    rows = done.rows.groupby("cuda_graphs")["status"].unique()
    assert rows[False].tolist() == ["ok"] and rows[True].tolist() == ["unsupported"]


def test_tf32_and_dryrun_that_make_no_sense_are_unsupported_and_exit_0(sweep):
    done = sweep("model=scale", "backend=eager", "device=cpu", "precision=tf32")
    assert done.code == 0 and done.rows["status"].tolist() == ["unsupported"] and "TF32" in done.rows["reason"][0]


def test_fp16_where_the_cpu_has_no_kernel_is_unsupported(sweep):
    done = sweep("model=distance", "backend=eager", "device=cpu", "precision=fp32,fp16", *FAST)
    assert done.code == 0, done.err
    rows = done.rows.set_index("precision")
    assert rows["status"].to_dict() == {"fp32": "ok", "fp16": "unsupported"}
    assert "precision=fp16" in rows.loc["fp16", "reason"] and "precision=fp32" in rows.loc["fp16", "reason"]
