"""Hydra's real multirun in a subprocess, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import EXAMPLE, needs_tensorrt, without_gpu

from trt_sweep.results import ranking

FAST = ("measure.visits=6", "measure.max_s=0.1", "measure.warmup_s=0.05")


@needs_tensorrt
@without_gpu
def test_main_command_plans_without_a_gpu(sweep):
    done = sweep("optimization_level=0,3,5", example=False)
    assert done.code == 0, done.err
    rows = done.rows
    assert rows["status"].tolist() == ["dryrun"] * 3
    assert rows["optimization_level"].tolist() == [0, 3, 5]
    assert rows["engine_ops"].tolist() == [[89]] * 3
    assert rows["ops_total"].tolist() == [89] * 3
    assert rows["min_block_size"].tolist() == [5] * 3  # the default that took effect
    assert rows["gpu_name"].isna().all() and rows["device"].isna().all() and rows["latency_ms"].isna().all()
    assert rows["assumed_compute_capability"].tolist() == ["9.0"] * 3
    assert "89/89 operators in 1 engine " in done.err and "[3/3]" in done.err
    assert "dryrun" in done.out and "results.csv" in done.out
    assert "Torch-TensorRT]" not in done.out + done.err  # the libraries' chatter is in the log
    assert pd.read_csv(done.folder / "results.csv")["optimization_level"].tolist() == [0, 3, 5]


@needs_tensorrt
def test_points_that_lead_to_the_same_configuration_share_a_record(sweep):
    done = sweep("model=scale", "dryrun=true", "min_block_size=null,5,1")
    assert done.code == 0, done.err
    assert sorted(done.rows["jobs"].tolist()) == [[0, 1], [2]]


def test_cpu_backends_are_timed_by_a_wall_clock(sweep):
    done = sweep("backend=eager,inductor", "model=embedder", "device=cpu", "measure.max_s=1")
    assert done.code == 0, done.err
    rows = done.rows.set_index("backend")
    assert rows["status"].tolist() == ["ok", "ok"] and set(rows["device"]) == {"cpu"} and set(rows["clock"]) == {"wall"}
    assert (rows["latency_ms_ci_low"] <= rows["latency_ms"]).all() and (
        rows["latency_ms"] <= rows["latency_ms_ci_high"]
    ).all()
    assert rows.loc["eager", "speedup"] == 1.0
    inductor = rows.loc["inductor"]
    assert inductor["speedup_ci_low"] < inductor["speedup"] < inductor["speedup_ci_high"]
    assert inductor["speedup"] == pytest.approx(ranking.ratio(rows.loc["eager"], inductor)[0])
    assert rows.loc["inductor", "build_s"] > 0 and rows["enqueue_ms"].isna().all()


def test_baselines_are_added_once(sweep):
    done = sweep("backend=inductor", "model=scale", "precision=fp32,bf16", "device=cpu", *FAST)
    assert done.code == 0, done.err
    eager = done.rows[done.rows["backend"] == "eager"]
    assert eager["precision"].tolist() == ["fp32", "bf16"] and eager["jobs"].tolist() == [[], []]
    assert done.rows["speedup_fp32"].notna().all()


def test_baselines_can_be_left_out(sweep):
    done = sweep("backend=inductor", "model=scale", "precision=bf16", "baselines=false", "device=cpu", *FAST)
    assert done.code == 0, done.err
    assert done.rows["backend"].tolist() == ["inductor"] and done.rows["speedup"].isna().all()


def test_a_failed_job_is_a_row_and_stops_no_other(sweep):
    done = sweep("backend=eager", "model=raises,constant,scale", "device=cpu", *FAST)
    assert done.code == 1
    rows = done.rows.set_index("model")
    assert rows["status"].to_dict() == {"raises": "run_failed", "constant": "ok", "scale": "ok"}
    assert rows.loc["raises", "phase"] == "reference" and "forward went wrong" in rows.loc["raises", "reason"]
    assert "no output depends on the inputs" in rows.loc["constant", "model_notes"][0]
    assert "constant: no output depends on the inputs" in done.out
    assert "Traceback" not in done.err + done.out
    assert done.err.strip().splitlines()[-1].startswith("error: 1 of 3 jobs did not succeed")
    logs = list(done.folder.glob("points/*/log.txt"))
    assert any("Traceback" in log.read_text() for log in logs)  # for whoever wants to see it


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimization_level=0,9"], ["optimization_level=9", "0 to 5", "job 1"]),
        (["optimization_level=7"], ["optimization_level=7", "0 to 5"]),
        (["min_block_size=0"], ["min_block_size=0", "at least 1"]),
        (["min_block_size=-1"], ["min_block_size=-1", "at least 1"]),
        (["batch_size=0"], ["batch_size=0", "at least 1"]),
        (["batch_size=many"], ["batch_size", "many"]),
        (["batch_size=[1,2]"], ["batch_size=[1, 2]", "[min,opt,max]"]),
        (["batch_size=[8,1,32]"], ["batch_size=[8, 1, 32]", "min <= opt <= max"]),
        (["batch_size=[1,8,32]", "time_at=[64]"], ["time_at=[64]", "from 1 to 32"]),
        (["time_at=[8]"], ["time_at=[8]", "batch_size=[1,8,32]"]),
        (["batch_size=[1,8,32]", "model=ranged", "time_at=[8]"], ["batch from 1 to 32, size from 4 to 16"]),
        (["backend=torchscript", "torchscript.mode=tracing"], ["torchscript.mode=tracing", "trace, script"]),
        (["backend=inductor", "inductor.mode=fast"], ["inductor.mode=fast", "reduce-overhead", "max-autotune"]),
        (["cuda_graphs=maybe"], ["cuda_graphs", "maybe"]),
        (["runtime_cache=lukewarm"], ["runtime_cache=lukewarm", "cold, warm"]),
        (["model.factory.depth=1"], ["model.factory.depth", "+model.factory.depth"]),
        (["precision=fp9"], ["precision=fp9", "fp32, tf32, fp16, bf16"]),
        (["precision=int8"], ["precision=int8 needs quantization.method", "modelopt_int8_default"]),
        (["precision=int8", "quantization.method=modelopt_int"], ["quantization.method=modelopt_int", "did you"]),
        (["+quantization.calibration.samples=3"], ["quantization.calibration", "_target_"]),
        (["model=resnet19"], ["model=resnet19", "resnet18", "model.name"]),
        (["model.name=resnet19"], ["model.name=resnet19", "resnet18"]),
        (["backend=tensorflow"], ["backend=tensorflow", "dynamo", "eager", "inductor"]),
        (["optimisation_level=3"], ["optimisation_level", "did you mean optimization_level"]),
        (["model.weights=/no/such/file"], ["model.weights=/no/such/file", "IMAGENET1K_V1", "state dict"]),
        (["device=gpu"], ["device=gpu", "cuda"]),
        (["measure.visits=1"], ["measure.visits=1", "at least 6"]),
        (["measure.rounds=3"], ["measure.rounds is gone", "use measure.visits"]),
        (["hydra.sweep.dir=/proc/nowhere"], ["/proc/nowhere", "hydra.sweep.dir"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_anything_runs(sweep, arguments, words):
    done = sweep(*arguments)
    assert done.code == 1
    lines = [line for line in done.err.strip().splitlines() if not line.startswith("checking ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err
    for word in words:
        assert word in lines[0]
    assert not list(done.folder.glob("points/*")) and done.out == ""


DIGITS = ("model=digits_transformer", "batch_size=8", "+quantization.calibration._target_=digits.calibration")


def test_quantized_models_in_pytorch_are_evaluated_by_ones_own_function(sweep):
    pytest.importorskip("modelopt")
    evaluate = "accuracy.evaluate._target_=digits.top1"
    methods = "quantization.method=null,modelopt_int8_default"
    done = sweep(*DIGITS, "backend=eager", "device=cpu", "precision=auto", methods, evaluate, *FAST)
    assert done.code == 0, done.err
    rows = done.rows.set_index("precision")
    assert rows["status"].to_dict() == {"fp32": "ok", "fp16": "ok", "int8": "ok"}
    row = rows.loc["int8"]
    assert row["quantization_method"] == "modelopt_int8_default" and row["calibration"] == "digits.calibration"
    assert row["quantized_layers"] == 10 and row["base_precision"] == "fp32"
    assert row["fake_quant_rel_l2_error"] == pytest.approx(row["rel_l2_error"])
    assert rows["evaluation"].between(0, 1).all() and set(rows["evaluation_name"]) == {"digits.top1"}
    assert 0 < row["speedup"] < 1  # quantizing is simulated, which takes longer
    assert "random calibration" not in done.out and "evaluation" in done.out


@needs_tensorrt
@without_gpu
def test_quantized_models_are_planned(sweep):
    pytest.importorskip("modelopt")
    methods = "quantization.method=modelopt_int8_weight_only,modelopt_int4_weight_only"
    done = sweep("model=digits_transformer", "precision=auto", methods)
    assert done.code == 0, done.err
    weights, four = (row for _, row in done.rows.iterrows())
    assert (weights["status"], weights["base_precision"], weights["fallback_ops"]) == ("dryrun", "fp16", 0)
    assert weights["fake_quant_rel_l2_error"] > 0 and weights["engines"] == 1
    assert four["status"] == "unsupported" and "only accept INT8 or FP8" in four["reason"]


@needs_tensorrt
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+compile.num_avg_timing_iter=3"], ["compile.num_avg_timing_iter", "did you mean num_avg_timing_iters"]),
        (["+compile.max_aux_streams=yes"], ["compile.max_aux_streams=yes", "an integer, or null"]),
        (["+compile.torch_executed_ops=[aten.no_such]"], ["compile.torch_executed_ops", "aten.no_such"]),
        (["+compile.use_python_runtime=true"], ["compile.use_python_runtime", "use runtime instead"]),
        (["backend=torchscript", "+compile.decompose_attention=true"], ["compile.decompose_attention", "torchscript"]),
    ],
)  # fmt: skip
def test_mistakes_in_compilation_arguments_are_one_line(sweep, arguments, words):
    done = sweep(*arguments)
    assert done.code == 1 and len(done.err.strip().splitlines()) == 2, done.err
    assert all(word in done.err for word in ["error: job 0: ", *words]), done.err


@without_gpu
def test_a_device_that_is_not_there(sweep):
    done = sweep("device=cuda")
    assert done.code == 1 and "device=cuda" in done.err and "device=auto" in done.err


def test_weights_that_are_no_state_dict_are_a_row(sweep, tmp_path: Path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"not a checkpoint")
    done = sweep("model=scale", "backend=eager", "device=cpu", f"model.weights={file}")
    assert done.code == 1
    row = done.rows.iloc[0]
    assert (row["status"], row["phase"]) == ("build_failed", "model") and "torch.save" in row["reason"]


def test_a_single_run_is_a_sweep_of_one(sweep):
    done = sweep("model=scale", "backend=eager", "device=cpu", *FAST, multirun=False)
    assert done.code == 0, done.err
    assert done.rows["status"].tolist() == ["ok"] and (done.folder / "results.parquet").is_file()


def test_a_job_can_be_replayed_from_its_hydra_folder(sweep, tmp_path: Path):
    done = sweep("model=scale", "backend=eager", "device=cpu", *FAST)
    assert done.code == 0, done.err
    command = [
        sys.executable,
        "-m",
        "trt_sweep",
        "--config-dir",
        str(EXAMPLE),
        "-cp",
        str(done.folder / "0/.hydra"),
        "-cn",
        "config",
    ]
    again = subprocess.run(
        [*command, f"hydra.run.dir={tmp_path / 'again'}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    ids = [json.loads(path.read_text())["point_id"] for path in tmp_path.glob("*/points/*/record.json")]
    assert len(ids) == 2 and len(set(ids)) == 1


def test_two_sweeps_of_one_second_do_not_share_a_folder(sweep, tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "trt_sweep",
        "-m",
        "model=scale",  # before an option, where Hydra alone would not take the rest
        "--config-dir",
        str(EXAMPLE),
        "backend=eager",
        "device=cpu",
        *FAST,
    ]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    folders = {path.parent.name for path in tmp_path.glob("outputs/*/*/points")}
    assert len(folders) == 2 and all(re.fullmatch(r"\d\d-\d\d-\d\d-[0-9a-f]{4}", name) for name in folders)


def test_rounds_are_interleaved_and_kept_with_their_samples(sweep):
    done = sweep("backend=eager", "model=embedder,scale", "device=cpu", "measure.visits=6", "measure.max_s=0.5")
    assert done.code == 0, done.err
    rows = done.rows
    assert rows["rounds"].tolist() == [6, 6] and rows["builds"].tolist() == [1, 1]
    assert rows["latency_ms_between_rounds"].notna().all() and rows["health_reason"].tolist() == ["no GPU"] * 2
    assert "visited 6 times, in turn" in done.err and rows["interleaved"].all() and rows["visit_group"].nunique() == 1
    for folder in rows["folder"]:
        samples = np.load(done.folder / folder / "samples.npz")
        assert sorted(set(samples["latency_ms_round"])) == [*range(7)]


@without_gpu
def test_a_cold_cache_needs_a_gpu(sweep):
    done = sweep("backend=eager", "model=scale", "measure.cold_cache=false,true", *FAST)
    assert done.code == 0, done.err
    assert done.rows.set_index("cold_cache")["status"].to_dict() == {False: "ok", True: "unsupported"}
    assert "flushes the L2 cache of a GPU" in done.out


@pytest.mark.parametrize(
    "argument",
    ["measure.max_s=0", "measure.settle_s=-0.1", "measure.visits=0", "measure.visits=1", "measure.rebuilds=-1"],
)
def test_a_measure_that_cannot_be_is_one_line(sweep, argument):
    done = sweep(argument, "backend=eager")
    name, _, value = argument.partition("=")
    assert done.code == 1 and done.out == ""
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert name in line and "is not allowed: use" in line and value in line


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_other_launchers(sweep, launcher):
    """Each job is a sweep of its own; a crash in one takes no other along."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher" if launcher == "joblib" else "submitit")
    settings = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else ["hydra.launcher.timeout_min=5"]
    done = sweep(f"hydra/launcher={launcher}", *settings, "model=exits,scale", "backend=eager", *FAST)
    assert done.code == 1 and "crashed in reference" in done.err, done.out + done.err
    assert done.rows.set_index("model")["status"].to_dict() == {"exits": "crashed", "scale": "ok"}
    before = {path: path.stat().st_mtime_ns for path in done.folder.rglob("record.json")}
    lost = next(path.parent for path in before if "scale" in path.read_text())
    shutil.rmtree(lost)
    command = [sys.executable, "-m", "trt_sweep", f"resume={done.folder}"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "crashed in reference" in again.stderr, again.stdout + again.stderr
    after = {path: path.stat().st_mtime_ns for path in done.folder.rglob("record.json")}
    assert after.keys() == before.keys()
    assert [path.parent for path in after if after[path] != before[path]] == [lost]  # and nothing else was done again
