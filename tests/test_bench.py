"""The benchmark of the instrument: a small run of it here, and its arguments."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import needs_tensorrt, without_gpu
from test_report import sweep as made_up

from trt_sweep.app import bench
from trt_sweep.benchmarks import profile, sweep, timing
from trt_sweep.config import compose
from trt_sweep.results import table
from trt_sweep.results.layers import profiles


@without_gpu
def test_timing_on_a_cpu(tmp_path, monkeypatch):
    """With a smaller model, smaller images and shorter windows than the benchmark's own, which take minutes."""
    models = [(model, backend) for model, _, backend in timing._subjects(torch.device("cpu"))]
    assert models == [("resnet18", "eager"), ("resnet18", "inductor")]
    subjects = [("squeezenet1_1", 1, "eager"), ("squeezenet1_1", 1, "jit")]
    monkeypatch.setattr(timing, "_subjects", lambda device: subjects)
    brief = {"visits": 6, "max_s": 0.1, "settle_s": 0.0, "warmup_s": 0.0, "warmup_max_s": 0.3}
    composed = compose.composed
    overrides = ["model.inputs=[{shape:[3,64,64]}]", *(f"measure.{name}={value}" for name, value in brief.items())]
    monkeypatch.setattr(compose, "composed", lambda given: composed([*given, *overrides]))
    monkeypatch.setattr(timing, "SWITCHES", 3)
    arguments = ["--out", str(tmp_path / "bench"), "--repeats", "2", "--sweeps", "2", "--names", "4"]
    assert bench.main(["timing", *arguments]) == 0
    tables = json.loads((tmp_path / "bench" / "timing.json").read_text())
    clocks = pd.DataFrame(tables["clocks"])
    assert set(clocks["subject"]) == {"squeezenet1_1 b1 eager", "squeezenet1_1 b1 jit"}
    assert set(clocks["clock"]) == {"latency_ms", "wall clock + synchronize, 100 calls", "torch.utils.benchmark"}
    assert (clocks["repeats"] == 2).all()
    assert (clocks["median_ms"] > 0.1).all() and (clocks["spread_percent"] >= 0).all()
    assert [row["subject"] for row in tables["settle"]] == ["squeezenet1_1 b1 eager", "squeezenet1_1 b1 jit"]
    (claims,) = tables["claims"]
    assert claims["equal_pairs"] == 2 * 6 and claims["false_claims"] < claims["false_by_time_alone"]
    assert [row["clock"] for row in tables["coverage"]] == ["latency_ms"]
    assert tables["widths"][0]["rows"] == 2 * (4 + 3 * 2)
    before = (tmp_path / "bench" / "sweeps.json").read_text()
    assert bench.main(["timing", *arguments]) == 0
    assert (tmp_path / "bench" / "sweeps.json").read_text() == before  # sweeps that are there are not made again


@pytest.mark.parametrize("argument", ["--repeats=1", "--sweeps=0", "--names=-3"])
def test_too_little_is_refused(argument, capsys):
    assert bench.main(["timing", argument]) == 2
    assert f"error: {argument} is not allowed: use an integer of at least" in capsys.readouterr().err


@without_gpu
def test_a_sweep_is_compared_where_there_is_a_gpu(tmp_path, capsys):
    assert bench.main(["sweep", f"--out={tmp_path}"]) == 1
    assert "error: the benchmark needs a GPU and Torch-TensorRT; there are none here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "--build-workers=0"], ["--build-workers=0 is not allowed", "at least 1"]),
        (["sweep", "--part=loop"], ["--part=loop is not known", "perf_run, sweep, again"]),
        (["sweep", "--part=report"], ["holds no part"]),
        (["profile", "--part=with,inside"], ["--part=inside is not known", "with, again, large, onnx, verbosity"]),
        (["profile", "--part=report"], ["holds no part"]),
        (["overhead", "--plans", "0"], ["--plans=0 is not allowed", "at least 1"]),
    ],
)
def test_mistakes_are_one_line(arguments, words, tmp_path, capsys):
    assert bench.main([*arguments, f"--out={tmp_path}"]) == (2 if "at least 1" in words else 1)
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and all(word in said for word in words)


@needs_tensorrt
@without_gpu
def test_the_overhead_of_plans_and_tables(tmp_path):
    folder = tmp_path / "bench"
    command = [sys.executable, "-m", "trt_sweep", "bench", "overhead", "--plans", "2", "4", "--records", "50"]
    done = subprocess.run([*command, f"--out={folder}"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "overhead.json").read_text())
    assert [row["points"] for row in found["sweep"]] == [2, 4] and found["table"][0]["records"] == 50
    assert all(row["ms_per_point"] > 1 for row in found["sweep"]) and found["table"][0]["load_s"] >= 0
    assert [path.name for path in folder.iterdir()] == ["overhead.json"]


def rows(**changes) -> pd.DataFrame:
    base = {"point_id": ["a", "b"], "model": "m", "backend": ["eager", "dynamo"], "precision": "fp16"}
    base |= {
        f"{clock}{end}": value
        for clock in sweep.CLOCKS
        for end, value in (("", 2.0), ("_ci_low", 1.9), ("_ci_high", 2.1))
    }
    return pd.DataFrame(base | changes)


def test_points_of_two_sweeps_are_compared_by_their_intervals():
    slower = {"latency_ms": [2.1, 3.0], "latency_ms_ci_low": [2.05, 2.9], "latency_ms_ci_high": [2.2, 3.1]}
    found = pd.DataFrame(sweep.compare_points(rows(), rows(**slower).iloc[::-1], "way")).set_index(["point", "clock"])
    assert found["ratio"].tolist() == [1.0, 1.05, 1.0, 1.5]
    assert found["overlap"].tolist() == [True, True, True, False]


def test_the_overhead_is_all_that_was_no_work_on_a_point():
    spent = {"start": 10.0, "build": 30.0, "timing": 50.0, "harness": 5.0, "record": 1.0}
    assert sweep.overhead(110.0, spent) == pytest.approx(20.0)  # of the 100 s after the start


HERE = {"environment": {"gpu_uuid": "GPU-1"}}


def test_parts_are_put_together(tmp_path):
    """Costs of a point beside those of the loop, where the points are the same."""
    ours = sweep._cost("a sweep", sweep.POINTS, 12, 48.0)
    (tmp_path / "sweep.json").write_text(json.dumps({"costs": [ours], "environment": {"gpu_uuid": "GPU-1"}}))
    other = sweep._cost("other points", sweep.BUILDS, 4, 48.0)
    (tmp_path / "ahead.json").write_text(json.dumps({"costs": [other], "disturbance": [{"ratio": 1.25}]} | HERE))
    assert "of_loop" not in sweep.report(tmp_path) and "differ in" not in sweep.report(tmp_path)
    loop = sweep._cost("perf_run.py", sweep.POINTS, 12, 480.0)
    elsewhere = {"environment": {"gpu_uuid": "GPU-2"}}
    (tmp_path / "perf_run.json").write_text(json.dumps({"costs": [loop]} | elsewhere))
    lines = sweep.report(tmp_path).splitlines()
    assert "of_loop" in lines[1]
    assert [line.split()[-1] for line in lines[2:5]] == ["1.0", "0.1", "NaN"] and "1.25" in lines[-1]
    assert "these parts differ in gpu_uuid: GPU-1, GPU-2" in lines


@pytest.mark.parametrize("name", ["with", "with.json"])
@pytest.mark.parametrize("asked", [[], ["--part=large,with"]])
def test_a_part_that_is_there_is_not_run_again(name, asked, tmp_path, capsys):
    (tmp_path / name).mkdir()
    assert bench.main(["profile", *asked, f"--out={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert said == f"error: {tmp_path / name} is there already: give another --out, or remove it\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_another_run_is_expected_within_the_spread_of_the_runs():
    assert sweep._expected([1.0, 1.0, 1.0]) == 0
    assert sweep._expected([1.0, 1.1, 0.9, 1.0]) == pytest.approx(0.29, abs=0.02)  # t = 3.18, s = 0.082


def test_report_of_made_up_records(tmp_path, capsys):
    made_up(tmp_path / "real")
    arguments = [
        "report",
        "--out",
        str(tmp_path / "new"),
        "--records-of",
        str(tmp_path / "real"),
        "--records",
        "300",
    ]
    assert bench.main(arguments) == 0
    (row,) = json.loads((tmp_path / "new/report.json").read_text())
    assert row["records"] == 300 and row["report_s"] > 0 and row["html_mb"] > 1
    assert not (tmp_path / "new/300").exists()
    capsys.readouterr()
    assert bench.main(arguments) == 1
    assert "is not empty" in capsys.readouterr().err
    nothing = ["report", "--out", str(tmp_path / "other"), "--records-of", str(tmp_path / "none")]
    assert bench.main(nothing) == 1
    assert "holds no record of a timed engine" in capsys.readouterr().err


@without_gpu
def test_profiles_are_benchmarked_where_there_is_a_gpu(tmp_path, capsys):
    assert bench.main(["profile", f"--out={tmp_path}"]) == 1
    assert "error: the benchmark needs a GPU and Torch-TensorRT; there are none here" in capsys.readouterr().err


LAYERS = Path(__file__).parent / "data/layers"


def profiled(folder: Path, runtime: str, slower: float = 1.0) -> dict:
    """A point with the real layers of squeezenet1_1, and fifty samples of each."""
    point = folder / "points" / runtime
    for engine in range(3):
        place = point / profiles.ENGINES / str(engine)
        place.mkdir(parents=True)
        shutil.copy(LAYERS / f"squeezenet1_1-cpp/{engine}" / profiles.INFO, place)
        times = json.loads((LAYERS / f"squeezenet1_1-cpp/{engine}" / profiles.LATENCY).read_text())
        first = next(iter(times))
        samples = {
            name: [ms[0] * (slower if name == first else 1) + n * 37 % 50 * 1e-5 for n in range(50)]
            for name, ms in times.items()
        }
        (place / profiles.LATENCY).write_text(json.dumps(samples))
    about = {"engine_id": "e", "engines": 3, "calls": 50, "runtime": runtime}
    (point / profiles.ENGINES / profiles.PROFILE).write_text(json.dumps(about))
    return {"model": "squeezenet1_1", "runtime": runtime, "profile_engine_id": "e", "folder": f"points/{runtime}"}


def runtimes(folder: Path, rows: pd.DataFrame) -> list[dict]:
    return profile.agreement("cpp, python", *(profile.by_model(folder, rows, name) for name in ("cpp", "python")))


@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_the_runtimes_are_compared_layer_by_layer(tmp_path, slower):
    rows = pd.DataFrame([profiled(tmp_path, "cpp", slower), profiled(tmp_path, "python")])
    (found,) = runtimes(tmp_path, rows)
    assert found["same_layers"] and found["layers"] == 66
    assert found["intervals_that_overlap"] == (66 if slower == 1 else 63)  # one layer of each engine is slower
    assert (found["largest_share_difference"] > 0.005) == (slower > 1) == (found["sum_ratio"] > 1.01)
    assert (found["layers_differ_percent"] > 5) == (slower > 1) and found["runs"] == "cpp, python"
    assert runtimes(tmp_path, rows[:1]) == []


def test_a_runtime_is_compared_with_itself(tmp_path):
    """All layers a half longer: what the spread between the layers' ratios would not show."""
    first = pd.DataFrame([profiled(tmp_path / "with", "cpp"), profiled(tmp_path / "with", "python")])
    again = pd.DataFrame([profiled(tmp_path / "again", "cpp")])
    for path in (tmp_path / "again").rglob(profiles.LATENCY):
        path.write_text(json.dumps({k: [1.5 * ms for ms in v] for k, v in json.loads(path.read_text()).items()}))
    places = profile.by_model(tmp_path / "with", first, "cpp"), profile.by_model(tmp_path / "again", again, "cpp")
    (found,) = profile.agreement("cpp, cpp again", *places)
    assert found["runs"] == "cpp, cpp again" and found["same_layers"] and found["largest_share_difference"] == 0
    assert found["sum_ratio"] == pytest.approx(1 / 1.5, abs=1e-3) and found["layers_differ_percent"] > 40
    assert found["intervals_that_overlap"] < 66 / 2


def test_layers_that_only_one_runtime_has_are_not_compared(tmp_path):
    rows = pd.DataFrame([profiled(tmp_path, "cpp"), profiled(tmp_path, "python")])
    for name, renamed in ((profiles.LATENCY, "other"), (profiles.INFO, None)):
        path = tmp_path / "points/python" / profiles.ENGINES / "0" / name
        content = json.loads(path.read_text())
        if renamed:
            content[renamed] = content.pop(next(iter(content)))
        path.write_text(json.dumps(content if renamed else {}))
    (found,) = runtimes(tmp_path, rows)
    assert not found["same_layers"] and found["layers"] == 66 and found["intervals_that_overlap"] == 65
    for number in range(3):
        path = tmp_path / "points/python" / profiles.ENGINES / str(number) / profiles.LATENCY
        path.write_text(json.dumps({f"{name} elsewhere": ms for name, ms in json.loads(path.read_text()).items()}))
        (path.parent / profiles.INFO).write_text("{}")
    assert runtimes(tmp_path, rows) == [
        {"model": "squeezenet1_1", "runs": "cpp, python", "layers": 66, "same_layers": False}
    ]


def test_the_layers_that_take_most_are_shown(tmp_path):
    rows = pd.DataFrame([profiled(tmp_path, "cpp", 200.0)]).assign(backend="dynamo")
    found = profile.shares(tmp_path, rows)
    assert [row["share"] for row in found] == sorted((row["share"] for row in found), reverse=True)
    assert {row["layer"] for row in found[:3]} == {"0.0", "1.0", "2.0"} and len(found) == profile.LARGEST
    assert found[0]["runtime"] == "cpp" and found[0]["ci_low"] <= found[0]["median_ms"] <= found[0]["ci_high"]


def test_profiles_are_put_together_from_the_parts_that_are_there(tmp_path, capsys):
    """What one machine timed without and another with a look inside, and a point whose GPU's time is missing."""
    lost = rows(runtime=[None, "cpp"], gpu_ms=[2.0, None])
    here = {"times": profile._times(lost), "took_s": 60.0} | HERE
    (tmp_path / "without.json").write_text(json.dumps(here))
    assert bench.main(["profile", "--part=report", f"--out={tmp_path}"]) == 0
    assert set(json.loads((tmp_path / "profile.json").read_text())) == {"parts"}  # one sweep alone says nothing
    inside = [{"model": "m", "layers_over_gpu": 1.05}]
    there = {"times": profile._times(rows(runtime=[None, "cpp"], gpu_ms=3.0)), "inside": inside, "took_s": 90.0}
    (tmp_path / "with.json").write_text(json.dumps(there | {"environment": {"gpu_uuid": "GPU-2"}}))
    (tmp_path / "large.json").write_text(json.dumps({"inside": inside, "took_s": 30.0} | HERE))
    assert bench.main(["profile", "--part=report", f"--out={tmp_path}"]) == 0
    written = json.loads((tmp_path / "profile.json").read_text())
    assert [(row["point"], row["clock"], row["ratio"]) for row in written["disturbance"]] == [
        ("m eager fp16", "gpu_ms", 1.5),
        ("m eager fp16", "latency_ms", 1.0),
        ("m dynamo fp16 cpp", "latency_ms", 1.0),
    ]
    assert written["inside"] == inside * 2
    assert {name: part["took_s"] for name, part in written["parts"].items()} == {"without": 60, "with": 90, "large": 30}
    assert "these parts differ in gpu_uuid: GPU-1, GPU-2" in capsys.readouterr().out


REFERENCE = Path(__file__).parents[1] / "outputs/reference/h100/inside"


def test_a_real_sweep_is_what_a_part_keeps():
    """Three models in both runtimes, looked into on an H100, and what the benchmark kept of them."""
    rows, kept = table.load(REFERENCE / "with"), json.loads((REFERENCE / "with.json").read_text())
    found = profile._looked_into(REFERENCE / "with", rows)
    assert {name: kept[name] for name in found} == found
    assert profile._times(rows) == kept["times"]
    assert (
        profile.verbosity(table.load(REFERENCE / "verbosity"))
        == json.loads((REFERENCE / "verbosity.json").read_text())["verbosity"]
    )


def test_races_are_simulated_from_recorded_visits(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    assert bench.main(["tune", "--races", "30", f"--out={tmp_path}"]) == 0
    found = json.loads((tmp_path / "tune.json").read_text())
    assert [row["races"] for row in found["races"]] == [10, 10, 10] and found["seed"] == 0
    for row in found["races"]:
        assert row["broken_called_kept"] == 0 and row["visits_of_grid_percent"] <= 101
        assert sum(number for name, number in row.items() if name.startswith("ended")) == 10
    assert all(row["throughput_of_best_percent"] > 95 and row["points"] < 16 for row in found["sizes"])
    few = found["races"][1]
    assert few["kind"] == "6 points of one model" and few["winner_as_good_percent"] == 100
    assert few["ten_calls_cost_percent"] > few["cost_percent"]
    assert "broken_called_kept" in capsys.readouterr().out


def test_without_visits_nothing_is_simulated(tmp_path, capsys):
    assert bench.main(["tune", f"--records={tmp_path}", f"--out={tmp_path}"]) == 1
    assert "holds no 3 points that were visited in turn" in capsys.readouterr().err
