"""The benchmark of `compare`: simulated nights, and real ones where they are asked for."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import without_gpu

from trt_sweep.app import bench
from trt_sweep.benchmarks import compare

NIGHTS = Path(__file__).parents[1] / "outputs" / "reference" / "h200" / "nights"


def test_simulated_nights_raise_few_alarms_and_find_five_percent():
    """The noise is that of real nights; a machine that is slower by 1 % is no point's fault."""
    drawn = compare.noise(sorted(NIGHTS.iterdir())[:8])
    rows = pd.DataFrame(compare.simulate(drawn, 40, seed=1))
    assert len(rows) == 16
    calm = rows[(rows["builds_percent"] == 0.2) & ~rows["heavy_tails"]]
    assert (calm["false_percent"] <= 5).all() and (calm["found_5_percent"] >= 80).all()
    assert (rows["found_3_percent"] <= rows["found_5_percent"]).all()


def test_the_noise_is_that_of_the_records():
    drawn = compare.noise(sorted(NIGHTS.iterdir())[:8])
    assert drawn.logs.shape == drawn.between.shape == (4, 8)  # what cuDNN chose anew is no noise of a build
    assert np.abs(drawn.logs).max() < 0.02 and np.median(drawn.logs, axis=0) == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(0)
    pairs = compare._simulated(drawn, rng, 500, 0.011, heavy=False, shift=0.01, added=0.0)
    moved = np.log([pair.new.value / pair.old.value for pair in pairs])
    assert np.std(moved) == pytest.approx(0.011 * math.sqrt(2), rel=0.2)
    assert np.median(moved) == pytest.approx(math.log(1.01), abs=0.003)
    assert compare.noise(sorted(NIGHTS.iterdir())[:4]) is None


def nights_of(folder, **arguments):
    options = [f"--{name}={value}" for name, value in arguments.items()]
    command = [sys.executable, "-m", "trt_sweep", "bench", "compare", f"--out={folder}", "--simulated=1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return pd.DataFrame(json.loads((folder / "compare.json").read_text())["nights"])


@without_gpu
@pytest.mark.slow
def test_nights_on_a_cpu_raise_no_alarm_and_what_was_added_is_found(tmp_path):
    """Only earlier nights tell what a latency changes by: without three of them nothing is claimed."""
    rows = nights_of(tmp_path, nights=5, slower="900%")
    same, slower = rows[rows["new"] != "slower"], rows[rows["new"] == "slower"]
    assert same["alarms"].sum() == 0 and set(same["exit_code"]) <= {0, 2}
    assert slower["found"].iloc[-1] and slower["false"].sum() == 0


@pytest.mark.gpu
@pytest.mark.slow
def test_nights_on_a_gpu_find_three_percent(tmp_path):
    rows = nights_of(tmp_path, nights=2)
    same, slower = rows[rows["new"] != "slower"], rows[rows["new"] == "slower"]
    assert same["alarms"].tolist() == [0] and same["exit_code"].tolist() == [0]
    assert slower["exit_code"].tolist() == [1, 1] and slower["found"].all() and not slower["false"].any()


def test_nights_of_two_gpus_of_one_kind():
    """Eight nights with nothing changed and one in which a model does 3 % more, on two H200s."""
    rows = pd.DataFrame(compare.compare_nights(sorted(NIGHTS.iterdir()), "tower2"))
    comparable = rows["exit_code"] != 2
    same, slower = (rows[comparable & ((rows["new"] == "slower") == last)] for last in (False, True))
    assert (len(rows), len(same), len(slower)) == (36, 12, 4)
    assert same["alarms"].sum() == 0 and same["moved_percent"].max() < 1
    assert slower["found"].sum() == 3 and slower["false"].sum() == 0  # by more than 2 % each: once that is not proved
    assert rows[~comparable]["moved_percent"].isna().all()


def test_records_that_are_too_few_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "run_nights", lambda *_: [])
    arguments = ["compare", f"--out={tmp_path}", f"--records={NIGHTS / 'night00'}"]
    assert bench.main(arguments) == 1
    assert "that takes 5 nights with 3 points timed by gpu_ms" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--nights=1", "--simulated=0", "--slower=0"])
def test_nights_without_sense_are_refused(argument, capsys):
    assert bench.main(["compare", argument]) == 2
    assert f"error: {argument}" in capsys.readouterr().err
