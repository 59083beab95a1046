"""The benchmark of the instrument: a small run of it here, and its arguments."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest
from conftest import without_gpu

from trt_sweep.bench import __main__ as bench
from trt_sweep.bench.sweep import CLOCKS, compared, cost


@without_gpu
def test_timing_on_a_cpu(tmp_path):
    arguments = ["--folder", str(tmp_path / "bench"), "--repeats", "2", "--windows", "12", "--points", "4"]
    command = [sys.executable, "-m", "trt_sweep.bench", "timing", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = json.loads((tmp_path / "bench" / "timing.json").read_text())
    clocks = pd.DataFrame(tables["clocks"])
    assert set(clocks["subject"]) == {"resnet18 b1 eager", "resnet18 b1 inductor"}
    assert set(clocks["clock"]) == {"latency_ms", "wall clock + synchronize, 100 calls", "torch.utils.benchmark"}
    assert clocks["repeats"].tolist() == [12, 2, 2] * 2
    assert (clocks["median_ms"] > 0.1).all() and (clocks["spread_percent"] >= 0).all()
    coverage = pd.DataFrame(tables["coverage"])
    assert sorted(set(coverage["rounds"])) == [1, 2, 3, 4, 5, 6] and coverage["repeats"].max() == 12
    (judged,) = tables["judgement"]
    assert judged["same_pairs"] == 6 and judged["false_by_trt_sweep"] == 0 < judged["false_by_median"]
    assert [row["asked_percent"] for row in tables["added"]] == [1.0, 3.0]
    assert len(pd.read_csv(tmp_path / "bench" / "windows.csv")) == 24


def test_more_repeats_than_windows_are_refused(capsys):
    assert bench.main(["timing", "--repeats=20", "--windows=10"]) == 1
    assert "error: --repeats=20 is not allowed: use at most --windows=10" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--repeats=1", "--windows=0", "--points=-3"])
def test_too_little_is_refused(argument, capsys):
    assert bench.main(["timing", argument]) == 1
    assert f"error: {argument} is not allowed: use an integer of at least" in capsys.readouterr().err


@without_gpu
def test_a_sweep_is_compared_where_there_is_a_gpu(tmp_path, capsys):
    assert bench.main(["sweep", f"--folder={tmp_path}"]) == 1
    assert "error: the benchmark needs a GPU and Torch-TensorRT; there are none here" in capsys.readouterr().err
    assert bench.main(["sweep", "--build-workers=0"]) == 1
    assert "error: --build-workers=0 is not allowed: use an integer of at least 1" in capsys.readouterr().err


def rows(**changes) -> pd.DataFrame:
    base = {"point_id": ["a", "b"], "model": "m", "backend": ["eager", "dynamo"], "precision": "fp16"}
    base |= {
        f"{clock}{end}": value for clock in CLOCKS for end, value in (("", 2.0), ("_ci_low", 1.9), ("_ci_high", 2.1))
    }
    base |= {"build_s": [None, 3.0], "engine_id": [None, "e"], "engines_stored": [None, 1.0]}
    return pd.DataFrame(base | changes)


def test_points_of_two_sweeps_are_compared_by_their_intervals():
    slower = {"latency_ms": [2.1, 3.0], "latency_ms_ci_low": [2.05, 2.9], "latency_ms_ci_high": [2.2, 3.1]}
    found = pd.DataFrame(compared(rows(), rows(**slower).iloc[::-1], "way")).set_index(["point", "clock"])
    assert found["ratio"].tolist() == [1.0, 1.05, 1.0, 1.5]
    assert found["overlap"].tolist() == [True, True, True, False]
    assert cost("way", rows(), 30.04) == {
        "way": "way",
        "points": 2,
        "seconds": 30.0,
        "seconds_per_point": 15.0,
        "build_s": 3.0,
        "engines_stored": 1,
    }
