"""What only a GPU can show: `pytest -m gpu`."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pandas as pd
import pytest
import torch
from conftest import build_group

from trt_sweep import backends
from trt_sweep.backends import cuda_graph
from trt_sweep.backends.engine_store import PRIVATE
from trt_sweep.backends.torchtrt import installed
from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import versions
from trt_sweep.models.model import Inputs
from trt_sweep.points.plan import effective
from trt_sweep.points.point import Point
from trt_sweep.results import table
from trt_sweep.results.layers import profiles
from trt_sweep.results.record import Record

pytestmark = pytest.mark.gpu

# Where neither the times nor the baselines are what a test is about.
BRIEF = ("measure.max_s=0.6", "baselines=false")


def runtimes() -> tuple[str, ...]:
    return installed.torch_tensorrt().runtimes


def test_main_command(sweep):
    done = sweep("optimization_level=0,3,5", "precision=fp16", example=False)
    rows = done.ok_rows
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
    assert (rows["rounds"] == 48).all() and set(rows["gpu_ms_method"]) == {"graph"} and rows["health"].notna().all()
    assert (trt["gpu_ms"] < trt["latency_ms"] * 1.01).all()
    if versions.flavor() == "rtx":
        assert trt["engine_id"].nunique() == 1 and trt["ignored_axes"].tolist() == [["optimization_level"]] * 3
        assert "3 points share one engine" in done.out and "without effect" in done.out
        first, *others = trt["engine_reused_from"]
        assert pd.isna(first) and set(others) == {trt["point_id"].iloc[0]} and trt["build_s"].notna().sum() == 1
        assert trt["timed_with"].tolist()[1:] == others and trt["latency_ms"].nunique() == 1
        assert "did not change it; timed once" in done.out
        ranks = trt[["latency_rank", "latency_rank_worst", "gpu_rank", "gpu_rank_worst"]]
        assert (ranks.nunique() == 1).all()  # one engine is never ranked apart


def test_the_fastest_of_what_cudnn_chose_is_timed(sweep):
    """A choice of its own for each thread: the one with the least work is the one whose visits count."""
    (row,) = sweep("model=resnet18", "backend=eager", "precision=fp16", *BRIEF, example=False).rows.to_dict("records")
    assert len(row["gpu_ms_choices"]) == 3 and len(set(row["gpu_ms_choices"])) == 3
    assert row["gpu_ms"] == pytest.approx(min(row["gpu_ms_choices"]), rel=0.01) and row["rel_l2_error"] < 2e-3


def test_precisions_and_runtimes(sweep):
    done = sweep("precision=fp32,fp16", "runtime=cpp,python", *BRIEF, example=False)
    rows = done.ok_rows[done.rows["backend"] == "dynamo"]
    assert len(rows) == 4 and set(rows["status"]) <= {"ok", "unsupported"}, done.out
    ran = rows[rows["status"] == "ok"]
    assert ran.groupby("precision")["engine_id"].nunique().eq(1).all()  # the runtime does not change the engine
    assert ran["engine_id"].nunique() == 2


def test_integer_ids_keywords_and_dicts_through_an_engine(sweep):
    done = sweep("model=embedder", "precision=fp16", "batch_size=8", "measure.max_s=1")
    assert done.ok_rows["status"].tolist() == ["ok"] * 3


def test_points_of_one_partition_are_built_once(sweep, tmp_path):
    """And each by itself where that is asked for: the same engine, by its bytes."""
    arguments = ("model=squeezenet1_1", "min_block_size=4,5,45", "precision=fp16", "backend=dynamo", *BRIEF)
    # Two are built, so they all fit into one process, and its rounds.
    once = sweep(*arguments, f"hydra.sweep.dir={tmp_path / 'once'}", "isolation.max_jobs=2", example=False)
    each = sweep(*arguments, f"hydra.sweep.dir={tmp_path / 'each'}", "reuse=false", example=False)
    assert (once.code, each.code) == (0, 0), once.out + once.err + each.out + each.err
    shared, built = (table.load(tmp_path / name).query("backend == 'dynamo'") for name in ("once", "each"))
    assert shared["engine_reused_from"].notna().sum() == 1 and built["engine_reused_from"].isna().all()
    assert shared["interleaved"].all()
    assert shared["engine_id"].tolist() == built["engine_id"].tolist()
    assert (shared["rel_l2_error"] < 2e-3).all()


@pytest.mark.parametrize(
    ("model", "status", "said"),
    [
        ("takes_all", "out_of_memory", "Tried to allocate"),
        ("oversteps", "run_failed", "CUDA error"),
        ("waits", "timeout", "limits.total_s=20"),
    ],
)
def test_the_next_point_is_unaffected(sweep, model, status, said):
    """A context that an illegal access has poisoned goes with its process."""
    done = sweep(f"model={model},scale", "backend=eager", "limits.total_s=20", "measure.max_s=1")
    rows = done.rows.set_index("model")
    assert rows.loc[model, "status"] == status and said in rows.loc[model, "reason"], done.out + done.err
    assert rows.loc["scale", "status"] == "ok" and rows.loc["scale", "rounds"] == 48
    assert rows.loc["scale", "gpu_ms_method"] == "graph" and rows.loc["scale", "rel_l2_error"] == 0


def test_engines_that_points_have_in_common_are_built_once(sweep):
    """Ways to run an engine, and partitions of which one has all engines of the other."""
    axes = ("backend=dynamo", "precision=fp16", "cuda_graphs=false,true", "min_block_size=1,22")
    done = sweep("model=googlenet", *axes, *BRIEF, example=False)
    assert done.code == 0, done.out + done.err
    rows = done.rows[done.rows["backend"].eq("dynamo")]
    assert (rows.groupby("min_block_size")["engine_id"].nunique() == 1).all()
    built = rows["engines"] - rows["engines_stored"]
    assert built.sum() == rows["engines"].max() and (rows["rel_l2_error"] < 2e-2).all()


def test_engines_built_before_or_ahead_are_the_ones_that_would_be_built(sweep, tmp_path):
    """Of each backend that has a store: nothing is built a second time, and the outputs are right."""
    stored = ["dynamo", "onnx", "torch_compile"]
    arguments = (f"backend={','.join(stored)}", "model=resnet18,squeezenet1_1", "precision=fp16", *BRIEF)
    rows = {}
    for name, more in {
        "alone": ["reuse=false"],
        "ahead": ["build_workers=2", f"cache_dir={tmp_path / 'cache'}"],
        "before": [f"cache_dir={tmp_path / 'cache'}"],
    }.items():
        done = sweep(*arguments, *more, f"hydra.sweep.dir={tmp_path / name}", example=False)
        assert done.code == 0, done.out + done.err
        assert not (tmp_path / name / PRIVATE).exists()
        found = table.load(tmp_path / name)
        rows[name] = found[found["backend"].isin(stored)].set_index(["backend", "model"]).sort_index()
    alone = rows["alone"]
    assert alone["engines_stored"].isna().all() and len(alone) == 6
    assert rows["before"]["engines_stored"].tolist() == alone["engines"].tolist()
    # The first point is built where it is timed, while the processes that build ahead are starting.
    assert rows["ahead"]["engines_stored"].tolist()[1:] == alone["engines"].tolist()[1:]
    for name in ("ahead", "before"):
        assert rows[name]["engine_id"].tolist() == alone["engine_id"].tolist()
        assert rows[name]["build_s"].notna().all() and (rows[name]["rel_l2_error"] < 2e-3).all()
        assert (rows[name]["build_s"] < 3 * alone["build_s"] + 1).all()  # the first one of a process takes longer
        assert (rows[name]["foreign_processes"] == 0).all()


def test_planned_and_built_engines_agree(sweep):
    done = sweep("model=squeezenet1_1", "min_block_size=5,45", "precision=fp16", *BRIEF, example=False)
    rows = done.ok_rows[done.rows["backend"] == "dynamo"]
    assert rows["engines"].tolist() == [3, 0] and rows["engine_id"].notna().tolist() == [True, False]


WIDE = 8192  # 256 MiB of weights in FP32
ROWS = 1024


@pytest.fixture(scope="module")
def wide():
    """Records of one linear layer by the axes of its point, each from a job of its own, all in this process."""
    factory = {"_target_": "torch.nn.Linear", "in_features": WIDE, "out_features": WIDE, "bias": False}
    model = ModelConfig(name="wide", factory=factory, inputs=[InputConfig(shape=[WIDE])])
    measure = MeasureConfig(max_s=0.3, visits=6)

    def of(folder, **axes) -> Record:
        config = SweepConfig(model=model, batch_size=ROWS, measure=measure, device="cuda:0", reuse=False, **axes)
        (found,) = effective(config)
        with build_group([Point(found)], folder) as run:
            record = run.runs[0].start()
        assert record.status == "ok", record.reason
        return record

    return of


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_memory_of_known_size_in_eager(wide, tmp_path, precision, cuda_graphs):
    """Weights, input and output; a graph has inputs of its own beside the caller's, and on its stream a workspace."""
    wide(tmp_path / "before", backend="eager", precision=precision)  # whose graph of calls goes while this is counted
    record = wide(tmp_path, backend="eager", precision=precision, cuda_graphs=cuda_graphs)
    each = ROWS * WIDE * (4 if precision == "fp32" else 2)
    expected = WIDE * WIDE * (4 if precision == "fp32" else 2) + (3 if cuda_graphs else 2) * each
    assert 0 <= record.peak_gpu_bytes - expected < (2 + 34 * cuda_graphs) * 2**20


def test_memory_of_an_engine(wide, tmp_path):
    """The engine's weights once, input and output, and what TensorRT adds: 40 to 110 MB, not the same at each load."""
    first, again = (
        wide(tmp_path / name, backend="dynamo", precision="fp16", min_block_size=1) for name in ("first", "again")
    )
    inputs = 2 * ROWS * WIDE * 2
    assert WIDE * WIDE * 2 < first.engine_bytes < 1.1 * WIDE * WIDE * 2
    for record in (first, again):  # the first of a process is charged with no more than the next
        assert 0 <= record.peak_gpu_bytes - record.engine_bytes - inputs < 0.95 * WIDE * WIDE * 2


def test_what_is_recommended_is_measured_again(sweep, tmp_path):
    """On the same GPU, which the report itself does not use."""
    done = sweep("backend=eager,dynamo", "precision=fp16", "measure.max_s=1", example=False)
    assert done.code == 0, done.out + done.err
    command = [sys.executable, "-m", "trt_sweep", "report", str(done.folder), "--remeasure", "--objective", "gpu"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "Measured again, interleaved with 1 other: " in (done.folder / "report.md").read_text()
    (place,) = tmp_path.glob("sweep-remeasured-*")
    rows = table.load(place)
    assert set(rows["point_id"]) <= set(done.rows["point_id"]) and (rows["status"] == "ok").all()
    assert (rows["foreign_processes"] == 0).all() and rows["interleaved"].all()
    assert rows[rows["backend"] == "dynamo"]["build_s"].notna().all()


def test_two_sweeps_at_once_take_turns(tmp_path):
    command = [sys.executable, "-m", "trt_sweep", "-m", "backend=eager", "precision=fp16", "measure.max_s=12"]
    started = [
        subprocess.Popen([*command, f"hydra.sweep.dir={tmp_path / name}"], stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert any("waiting for another sweep to leave GPU-" in text for text in said)


def test_one_method_for_a_whole_sweep(sweep):
    """A point that replays graphs by itself cannot be captured again: then no point's figure is of a capture."""
    done = sweep("backend=eager", "cuda_graphs=false,true", "precision=fp16", *BRIEF, example=False)
    rows = done.ok_rows[done.rows["status"] == "ok"]
    assert set(rows["gpu_ms_method"]) == {"queued"} and rows["gpu_rank"].notna().all()
    assert "points are launch-bound" in done.out and "with cuda_graphs=true: resnet18 eager" in done.out


def test_every_backend_and_its_cuda_graphs(sweep):
    done = sweep(
        f"backend={','.join(sorted(set(backends.names()) - {'aot_inductor'}))}",
        "cuda_graphs=false,true",
        "precision=fp16",
        "model=squeezenet1_1",
        *BRIEF,
        example=False,
    )
    rows = done.ok_rows[done.rows["jobs"].map(bool)].set_index(["backend", "cuda_graphs"])
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
    if versions.flavor() == "rtx":
        assert rows.loc["fx", "status"].tolist() == ["unsupported"] * 2 and "FX" in rows.loc["fx", "reason"].iloc[0]


def test_what_cannot_be_captured_is_unsupported_and_disturbs_no_other(sweep):
    done = sweep("backend=eager", "model=synchronizes,scale", "cuda_graphs=true", "precision=fp16", "measure.max_s=1")
    rows = done.ok_rows[done.rows["cuda_graphs"]].set_index("model")
    assert rows["status"].to_dict() == {"synchronizes": "unsupported", "scale": "ok"}
    assert "cannot capture" in rows.loc["synchronizes", "reason"]


def test_a_graph_takes_new_inputs():
    model = torch.nn.Linear(4, 4).cuda()
    x = torch.zeros(2, 4, device="cuda")
    with torch.no_grad():
        call = cuda_graph.capture(model, Inputs((x,), {}), torch.device("cuda", 0))
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
        *BRIEF,
        example=False,
    )
    rows = done.ok_rows[done.rows["dynamic_range"].notna()]
    assert rows["status"].tolist() == ["ok"] * 6, done.out
    for _, pair in rows.groupby("backend"):
        assert pair["time_at"].tolist() == [1, 8] and pair["engine_id"].nunique() == 1
        assert pair["throughput_per_s"].iloc[1] > pair["throughput_per_s"].iloc[0]


@pytest.mark.skipif(versions.flavor() != "rtx", reason="only TensorRT-RTX has a runtime cache")
def test_a_warm_runtime_cache_saves_the_compilation(sweep):
    done = sweep("backend=onnx", "runtime_cache=cold,warm", "precision=fp16", *BRIEF, example=False)
    rows = done.ok_rows.set_index("runtime_cache")
    paid = rows["load_s"] + rows["first_call_ms"] / 1e3
    assert paid["warm"] < paid["cold"] / 2


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """One sweep of profiles: each runtime and onnx, one engine and three, and the same without."""
    folder = tmp_path_factory.mktemp("profiled")
    command = [sys.executable, "-m", "trt_sweep", "-m", "precision=fp16", *BRIEF, "profile=true"]
    for name, arguments in {
        "dynamo": ["model=resnet18,squeezenet1_1", f"runtime={','.join(runtimes())}"],
        "onnx": ["model=resnet18", "backend=onnx"],
    }.items():
        done = subprocess.run(
            [*command, *arguments, f"hydra.sweep.dir={folder / name}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder, table.load(folder).query("backend != 'eager'")


def test_profiles_of_every_runtime(profiled):
    folder, rows = profiled
    assert rows["profile_reason"].isna().all() and rows["profile_engine_id"].notna().all()
    assert len(rows) == 2 * len(runtimes()) + 1
    assert (rows["profile_engine_id"] != rows["engine_id"]).all()  # built for it, with detailed verbosity
    assert (rows["layers_ms"] > rows["moves_ms"]).all() and (rows["layers_over_gpu"] > 0.8).all()
    assert rows["final"].all() and (rows["rounds"] == 48).all()
    for row in rows.to_dict("records"):
        place = folder / row["folder"]
        found = profiles.load(place)
        assert found["engine"].nunique() == row["engines"] and len(found) == row["layers"]
        assert found["samples"].map(len).eq(50).all() and found["precision"].notna().any()
        assert json.loads(gzip.decompress((place / "trace.json.gz").read_bytes()))["traceEvents"]
        spent = json.loads((place / profiles.TIME).read_text())
        assert len(spent["engines"]) == row["engines"] and spent["busy_ms"] <= spent["span_ms"]
        ops = {item["op"] for item in spent["fallback"]}
        assert ops == ({"aten::convolution", "aten::relu", "aten::max_pool2d"} if row["model"] != "resnet18" else set())
    assert rows.iloc[0]["layer_precisions"].startswith("fp16:")


def test_the_runtimes_agree_on_the_layers(profiled):
    if len(runtimes()) < 2:
        pytest.skip("this Torch-TensorRT has one runtime")
    folder, rows = profiled
    for model in ("resnet18", "squeezenet1_1"):
        both = rows[(rows["model"] == model) & (rows["backend"] == "dynamo")].set_index("runtime")
        cpp, python = (profiles.load(folder / both.loc[name, "folder"]) for name in ("cpp", "python"))
        assert cpp["name"].tolist() == python["name"].tolist()
        assert (cpp["share"] - python["share"]).abs().max() < 0.03
