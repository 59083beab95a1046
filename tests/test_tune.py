"""`trt-sweep tune`, `trt_sweep.tune` and hydra/sweeper=race, with real models on the CPU."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import EXAMPLE, without_gpu
from running import EVERY_PHASE

import trt_sweep
from trt_sweep.app import tune
from trt_sweep.errors import SweepError
from trt_sweep.results import table

BRIEF = ("device=cpu", "measure.warmup_s=0.05", "measure.cudnn_choices=1")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trt_sweep", "tune", "--config-dir", str(EXAMPLE), *BRIEF, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=800)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A model that sleeps, and forgets to once it is traced."""
    folder = tmp_path_factory.mktemp("tune")
    asked = ("model=patient", "backend=eager,jit", "precision=fp32", "--max-error=1%", "--budget=10m", "--out=raced")
    return folder, run(folder, *asked)


def test_the_answer_is_printed_with_the_road_and_the_code(patient):
    _, done = patient
    assert done.returncode == 0, done.stderr
    answer = done.stdout.splitlines()[-3:]
    assert answer[0] == "patient: use backend=jit" and "proved: 1 other dropped" in answer[1]
    assert "vs eager fp32" in answer[1]
    assert "--max-error 0.01 is kept: 0" in answer[2] and "as one is left (2 points, of 2 combinations)" in answer[2]
    assert "torch.jit.freeze" in done.stdout and "proved worse than patient jit fp32" in done.stdout
    assert "out: proved worse" in done.stderr


def visits_of_dropped(folder: Path) -> int:
    road = json.loads((folder / "race.json").read_text())["road"]
    (dropped,) = (fate for fate in road if fate["what"] == "dropped")
    return dropped["visits"]


def test_records_are_left_as_of_any_sweep(patient):
    folder, _ = patient
    rows = table.load(folder / "raced").set_index("backend")
    assert (rows["status"] == "ok").all() and rows["final"].all()
    assert (
        rows.loc["eager", "rounds"] == visits_of_dropped(folder / "raced") >= 8
        and rows.loc["eager", "latency_rank"] == 2
    )
    assert (folder / "raced/results.csv").exists() and not (folder / "raced/.engines").exists()


def test_a_race_can_be_reported_later(patient):
    folder, _ = patient
    for name in ("report.html", "report.md"):
        assert "The race" in (folder / "raced" / name).read_text()
    (folder / "raced/report.md").unlink()
    command = [sys.executable, "-m", "trt_sweep", "report", "raced"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    said = (folder / "raced/report.md").read_text()
    assert "patient: use backend=jit" in said and "proved worse than patient jit fp32" in said


def test_what_breaks_a_limit_together_may_keep_it_apart(tmp_path):
    """BF16 breaks the limit. So jit with BF16 does too, which tells nothing of jit."""
    asked = ("model=patient", "backend=eager,jit", "precision=bf16,fp32", "--max-error=1e-6", "--out=raced")
    done = run(tmp_path, *asked)
    assert "patient: use backend=jit precision=fp32" in done.stdout, done.stdout + done.stderr
    assert "(4 points, of 4" in done.stdout


def test_the_code_that_is_left_runs(patient):
    folder, _ = patient
    subprocess.run(
        [sys.executable, str((folder / "raced/tuned.py").absolute())],
        cwd=EXAMPLE,
        env={"PYTHONPATH": str(EXAMPLE), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=300,
    )


def test_a_folder_is_raced_in_once(patient):
    folder, _ = patient
    done = run(folder, "model=patient", "backend=eager", "precision=fp32", "--out=raced")
    assert done.returncode == 1 and "raced holds another sweep: give a new folder" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("model=raises", "backend=eager,jit"),
            "fails in every way that was tried, 2 of them; the first, raises eager",
        ),
        (("model=scale", "backend=eager", "--budget=1s"), "budget=1s is shorter than one build: scale eager fp32"),
        (("model=scale", "backend=eager", "--max-latency=1us"), "nearest came backend=eager precision=fp32: --max-lat"),
        (("model=nothing", "backend=eager"), "nothing"),
        (("model=scale", "backend=eager", "batch_size=[1,4,8]"), "the points have several sizes, which a race cannot"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path, arguments, words):
    done = run(tmp_path, *arguments, "precision=fp32", "--out=there")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("error: ") and words in last, done.stderr
    assert "Traceback" not in done.stderr


@without_gpu
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-latency=5"], "--max-latency=5 is not allowed: use a duration"),
        (["--max-memory=4GiB"], "--max-memory cannot be judged on a CPU"),
        (["--objective=energy"], "objective=energy cannot be judged on a CPU"),
        (["model=a,b"], "model=a,b is not allowed: a race is of one model"),
        (["batch_size=interval(1,5)"], "batch_size=interval(1,5) is not allowed: tune takes lists of values"),
        (["=fp32"], "=fp32 has no name: write NAME=VALUE"),
        (["a=[1"], "a=[1 cannot be read: write NAME=VALUE"),
        (["batch_size=1,8"], "batch_size has several values"),
        (["model=a", "model=b,c"], "model=b,c is not allowed: a race is of one model"),
        (["resume=x"], "resume is not allowed here"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_2(capsys, arguments, words):
    assert tune.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "fixed", "listed"),
    [
        (["batch_size=1", "batch_size=2"], {"batch_size": "2"}, {}),
        (["precision=fp16", "precision=fp32,bf16"], {}, {"precision": ["fp32", "bf16"]}),
        (["compile.a=1,2", "++compile.a=3"], {"++compile.a": "3"}, {}),
    ],
)
def test_of_a_setting_that_is_given_twice_the_last_value_counts(arguments, fixed, listed):
    assert tune._given(arguments) == (fixed, listed)


class Halves(torch.nn.Module):
    """Takes its arguments by keyword, nested, and returns what is easily told."""

    def forward(self, pair, scale=1.0):
        return {"sum": (pair["a"] + pair["b"]) * scale}


def test_a_module_in_memory_is_tuned_and_compiled(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    given = torch.randn(2, 8)
    found = trt_sweep.tune(
        module,
        given,
        {"backend": ["eager", "jit"], "precision": ["fp32", torch.bfloat16]},
        {"device": "cpu", "measure.warmup_s": 0.05},
        tmp_path / "t",
        budget="10m",
        max_error=0.001,
    )
    assert found.settings["backend"] in ("eager", "jit") and found.settings["precision"] == "fp32"
    assert len(found.table) >= 3 and found.table.attrs["folder"] == str(tmp_path / "t")
    assert found.report == tmp_path / "t/report.html" and found.report.exists()
    assert len(found.lines) == 3 and "max_error 0.001 is kept" in found.lines[2]
    road = json.loads((tmp_path / "t/race.json").read_text())["road"]
    wrong = [fate for fate in road if "bf16" in fate["label"]]
    assert wrong and all(fate["why"].startswith("max_error 0.001 broken") for fate in wrong)
    compiled = found.compile()
    for _ in range(2):
        other = torch.randn(2, 8)
        assert torch.allclose(compiled(other), module(other), atol=1e-5)
    with pytest.raises(SweepError, match="inputs of 3x8 are not allowed: this was built for 2x8"):
        compiled(torch.randn(3, 8))


@pytest.mark.parametrize("seed", [-1, 0.5, True, None])
def test_a_seed_is_a_whole_number_from_python_too(tmp_path, seed):
    with pytest.raises(SweepError, match=f"^seed={seed} is not allowed: use an integer of at least 0$"):
        trt_sweep.tune(Halves(), torch.ones(1), folder=tmp_path / "t", seed=seed)
    assert not (tmp_path / "t").exists()


def test_what_is_compiled_takes_what_the_module_takes(tmp_path):
    pair = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
    found = trt_sweep.tune(
        Halves(),
        {"pair": pair, "scale": 2.0},
        {"backend": ["eager"], "precision": ["fp32"]},
        {"device": "cpu", "measure.warmup_s": 0.05},
        tmp_path / "t",
        budget="10m",
    )
    compiled = found.compile()
    assert torch.equal(compiled(scale=2.0, pair=pair)["sum"], torch.full((2, 3), 4.0))
    with pytest.raises(SweepError, match=r"a call with .*, scale=3\.0 is not .* it takes pair\.a, pair\.b, scale=2\.0"):
        compiled(pair=pair, scale=3.0)
    assert "put your own Halves here" in found.code


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_code_of_a_module_in_half_casts_its_inputs_too(tmp_path, precision):
    module, given = torch.nn.Linear(4, 2).half().eval(), torch.ones(2, 4).half()
    fixed = {"device": "cpu", "measure.warmup_s": 0.05, "precision": precision}
    found = trt_sweep.tune(module, given, {"backend": ["eager"]}, fixed, tmp_path / "t", budget="10m")
    exec(found.code, names := {"model": copy.deepcopy(module)})
    assert names["output"].shape == (2, 2)


def test_where_nothing_that_was_asked_for_runs_the_reason_is_said(tmp_path):
    """Eager in FP32 is there to compare with only."""
    fixed = {"device": "cpu", "measure.warmup_s": 0.05, "precision": "bf16"}
    words = "nothing that was asked for could be timed; the first, Spectrum jit bf16: unsupported in .* lacks a kernel"
    with pytest.raises(SweepError, match=words):
        trt_sweep.tune(Spectrum(), torch.ones(2, 8), {"backend": ["jit"]}, fixed, tmp_path / "t", budget="10m")


class Spectrum(torch.nn.Module):
    """Does what torch cannot do in BF16 on a CPU."""

    def forward(self, x):
        return torch.fft.rfft(x).abs()


class Untraceable(torch.nn.Linear):
    """Cannot be traced."""

    def forward(self, x):
        if torch.jit.is_tracing():
            raise TypeError("no traces")
        return super().forward(x)


def test_where_nothing_keeps_the_limits_the_search_goes_on_from_what_came_nearest(tmp_path):
    fixed = {"device": "cpu", "measure.warmup_s": 0.05, "inductor.mode": "default"}
    tried = {"backend": ["jit", "inductor"], "precision": ["bf16", "fp32"]}
    given = Untraceable(64, 8).eval(), torch.randn(2, 64)
    found = trt_sweep.tune(*given, tried, fixed, tmp_path / "t", budget="10m", max_error=1e-6)
    assert found.settings == {"backend": "inductor", "precision": "fp32"}


class Passes(torch.nn.Module):
    """Returns what it was given, and a part of that."""

    def forward(self, x):
        return x, x[:, :2]


@pytest.mark.parametrize("backend", ["eager", "jit"])
def test_what_a_call_has_returned_stays_as_it_is(tmp_path, backend):
    fixed = {"device": "cpu", "measure.warmup_s": 0.05, "backend": backend}
    ones = torch.ones(2, 3)
    found = trt_sweep.tune(Passes(), ones, {"precision": ["fp32"]}, fixed, tmp_path / "t", budget="10m")
    compiled = found.compile()
    whole, part = compiled(ones)
    compiled(0 * ones)
    assert torch.equal(whole, ones) and torch.equal(part, ones[:, :2])


def test_batch_sizes_are_raced_by_throughput(tmp_path):
    found = trt_sweep.tune(
        torch.nn.Linear(8, 8),
        torch.randn(2, 8),
        {"batch_size": [1, 64], "backend": ["eager"], "precision": ["fp32"]},
        {"device": "cpu", "measure.warmup_s": 0.05, "baselines": False},
        tmp_path / "t",
        objective="throughput",
        budget="10m",
    )
    assert found.settings["batch_size"] == "64" and found.lines[1].startswith("  throughput ")


def test_a_multirun_can_be_raced(sweep):
    arguments = ("hydra/sweeper=race", "model=patient", "backend=eager,jit", *BRIEF, "hydra.sweeper.max_error=0.01")
    done = sweep(*arguments)
    assert done.code == 0, done.err
    assert "patient: use model=patient backend=jit" in done.out
    assert "proved: 1 other dropped" in done.out and "max_error 0.01 is kept" in done.out
    assert set(done.rows["rounds"]) == {visits_of_dropped(done.folder)}
    wrong = sweep("hydra/sweeper=race", "model=patient", "backend=eager", *BRIEF, "hydra.sweeper.budget=5")
    assert wrong.code == 1 and "error: budget=5 is not allowed: use a duration above 0 with a unit" in wrong.err


def test_a_baseline_does_not_win_over_what_is_fixed(tmp_path):
    """On a CPU BF16 is slower than FP32, and the user wants BF16 all the same."""
    module, given = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(8)]).eval(), torch.randn(64, 64)
    fixed = {"device": "cpu", "measure.warmup_s": 0.05, "precision": "bf16"}
    found = trt_sweep.tune(module, given, {"backend": ["eager", "jit"]}, fixed, tmp_path / "t", budget="10m")
    assert "torch.bfloat16" in found.code
    road = json.loads((tmp_path / "t/race.json").read_text())["road"]
    assert [fate["label"].split()[1:3] for fate in road if not fate["wins"]] == [["eager", "fp32"]]
    assert found.winner["precision"] == "bf16" and "(2 points, of 2 combinations)" in found.lines[2]


def test_an_interrupt_prints_what_was_found(tmp_path):
    command = [sys.executable, "-m", "trt_sweep", "tune", "--config-dir", str(EXAMPLE), *BRIEF, "--out=raced"]
    endless = ("model=scale", "backend=eager", "precision=fp32", "--max-latency=1s", "--percentile=99.9")
    with subprocess.Popen(
        [*command, *endless], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        while not (tmp_path / "raced/race.json").exists():
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=600)
    assert running.returncode == 130
    assert said.splitlines()[-3] == "scale: use backend=eager precision=fp32"
    assert "as it was interrupted (1 point, of 1 combination)" in said.splitlines()[-1]
    assert table.load(tmp_path / "raced")["final"].all()


def test_an_interrupt_is_why_points_are_not_tried(tmp_path):
    command = [sys.executable, "-c", EVERY_PHASE, "tune", "--config-dir", str(EXAMPLE), *BRIEF, "--out=raced"]
    asked = ("model=scale", "backend=eager,jit", "precision=fp32")
    with subprocess.Popen(
        [*command, *asked], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert any("[1/2] scale eager fp32  warmup" in line for line in running.stderr)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=600)
    assert running.returncode == 130
    words = "as it was interrupted (1 point, of 2 combinations; not tried: 1 more point)"
    assert words in said.splitlines()[-1], said
