"""The benchmark of `compare`: simulated nights, and real ones where they are asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import without_gpu

from trt_sweep.app import bench
from trt_sweep.benchmarks import compare


def test_simulated_nights_raise_few_alarms_and_find_three_percent():
    """The README has the same for 1,000 pairs: no more than 5 % of nights may claim what is not there."""
    rows = pd.DataFrame(compare.simulate(150, seed=1)).set_index("added_percent")
    assert rows["false_percent"].max() <= 5
    assert rows["found_percent"].tolist()[1:] == sorted(rows["found_percent"].tolist()[1:])
    assert rows["found_percent"][3.0] >= 85 and rows["found_percent"][5.0] >= 99


def nights_of(folder, **arguments):
    options = [f"--{name}={value}" for name, value in arguments.items()]
    command = [sys.executable, "-m", "trt_sweep", "bench", "compare", f"--out={folder}", "--simulated=1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return pd.DataFrame(json.loads((folder / "compare.json").read_text())["nights"])


@without_gpu
@pytest.mark.slow
def test_nights_on_a_cpu_raise_no_alarm_and_what_was_added_is_found(tmp_path):
    rows = nights_of(tmp_path, nights=2, slower="500%")
    same, slower = rows[rows["new"] != "slower"], rows[rows["new"] == "slower"]
    assert same["alarms"].tolist() == [0] and set(same["exit_code"]) <= {0, 2}
    assert (slower["exit_code"] == 1).all() and slower["found"].tolist() == [True, True]
    assert slower["false"].tolist() == [0, 0]


@pytest.mark.gpu
@pytest.mark.slow
def test_nights_on_a_gpu_find_three_percent(tmp_path):
    rows = nights_of(tmp_path, nights=2)
    same, slower = rows[rows["new"] != "slower"], rows[rows["new"] == "slower"]
    assert same["alarms"].tolist() == [0] and same["exit_code"].tolist() == [0]
    assert slower["exit_code"].tolist() == [1, 1] and slower["found"].all() and not slower["false"].any()


def test_nights_of_two_gpus_of_one_kind():
    """Eight nights with nothing changed and one in which a model does 3 % more, on two H200s."""
    folder = Path(__file__).parents[1] / "outputs" / "reference" / "h200" / "nights"
    rows = pd.DataFrame(compare.compare_nights(sorted(folder.iterdir()), "tower2"))
    comparable = rows["exit_code"] != 2
    same, slower = (rows[comparable & ((rows["new"] == "slower") == last)] for last in (False, True))
    assert (len(rows), len(same), len(slower)) == (36, 12, 4)
    assert same["alarms"].sum() == 0 and same["moved_percent"].max() < 1
    assert slower["found"].all() and slower["false"].sum() == 0
    assert rows[~comparable]["moved_percent"].isna().all()


@pytest.mark.parametrize("argument", ["--nights=1", "--simulated=0", "--slower=0"])
def test_nights_without_sense_are_refused(argument, capsys):
    assert bench.main(["compare", argument]) == 2
    assert f"error: {argument}" in capsys.readouterr().err
