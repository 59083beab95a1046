"""Faults as they happen: real crashes, hangs and kills, through a real multirun in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import EXAMPLE, Done, without_gpu
from running import QUICK, VISITS, Running, gone, processes, resumed

from trt_sweep.results import table
from trt_sweep.sweep.interrupts import Interrupted, Interrupts

# One at a time: they kill processes and tell what is timed by the host's clock.
pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [
        ("exits", "crashed", "the process ended with exit code 3"),
        ("segfaults", "crashed", "the process was killed by SIGSEGV; its last words: Fatal Python error: Segmentation"),
        ("killed", "crashed", "the process was killed by SIGKILL"),
        ("hangs", "timeout", "reference ran into limits.total_s=10"),
        ("devours", "out_of_memory", "tried to allocate 1125899906842624 bytes"),
        ("forks", "ok", None),
    ],
)
def test_the_next_point_is_unaffected(sweep, model, status, reason):
    limits = ["limits.total_s=10"] if status == "timeout" else []
    done = sweep(f"model={model},patient", *limits, *QUICK)
    rows = done.rows.set_index("model")
    assert rows.loc[model, "status"] == status, done.out + done.err
    assert done.code == (0 if status == "ok" else 1)
    if reason is not None:
        assert reason in rows.loc[model, "reason"] and rows.loc[model, "phase"] == "reference"
        assert reason in done.err and rows.loc[model, "python"]
    after = rows.loc["patient"]
    assert after["status"] == "ok" and after["rounds"] == VISITS and after["final"] and after["rel_l2_error"] == 0
    assert 20 <= after["latency_ms_min"] < 40  # what its sleep takes, as alone: some call meets nobody else
    assert gone(done.folder)


def test_a_thread_that_hangs_beside_others_ends_its_point(sweep):
    done = sweep("model=hangs_beside", "streams=1,2", "limits.total_s=8", *QUICK)
    rows = done.rows.set_index("streams")
    assert rows["status"].to_dict() == {1: "ok", 2: "timeout"}, done.out + done.err
    assert rows.loc[2, "reason"] == "accuracy ran into limits.total_s=8" and gone(done.folder)


def test_builds_in_hand_are_made_again(sweep):
    """A process lost in a later round takes the other points' builds with it; they get all their rounds."""
    done = sweep("model=late_exit,patient", *QUICK)
    rows = done.rows.set_index("model")
    assert rows.loc["late_exit", "status"] == "crashed" and rows.loc["late_exit", "phase"] in ("warmup", "timing")
    assert rows.loc["late_exit", "latency_ms"] < 1 and "exit code 4" in rows.loc["late_exit", "reason"]
    assert rows.loc["patient", "status"] == "ok" and rows.loc["patient", "rounds"] == VISITS
    assert "1 point to be built again: their process is gone" in done.err


@pytest.mark.parametrize("mode", ["worker", "job", "none"])
def test_isolation(sweep, mode):
    done = sweep("model=patient,scale", f"isolation={mode}", *QUICK)
    assert done.code == 0, done.out + done.err
    rows = done.rows
    assert (rows["status"] == "ok").all() and (rows["rounds"] == VISITS).all() and rows["final"].all()
    assert rows["interleaved"].tolist() == [mode != "job"] * 2


def test_a_worker_is_replaced_after_max_jobs(sweep):
    done = sweep("model=patient,scale", "isolation.max_jobs=1", *QUICK)
    assert done.code == 0 and done.rows["interleaved"].tolist() == [False] * 2


def test_memory_under_a_limit(tmp_path):
    """The limit is the operating system's, on the address space of all processes of the sweep."""
    folder = tmp_path / "sweep"
    arguments = f"-m --config-dir {EXAMPLE} hydra.sweep.dir={folder} model=gluttons,scale {' '.join(QUICK)}"
    command = f"ulimit -v 16000000; exec {sys.executable} -m trt_sweep {arguments}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    rows = table.load(folder).set_index("model")
    assert rows["status"].to_dict() == {"gluttons": "out_of_memory", "scale": "ok"}, done.stderr


def test_one_interrupt_finishes_the_point(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient,scale", "batch_size=1,2", *QUICK, "measure.warmup_s=1")
    run.until("[2/4]", "warmup")
    assert run.end(signal.SIGINT) == 130
    assert "SIGINT: finishing the point at work" in run.said and "vs eager" in run.said
    assert "0 of 4 points are complete; python -m trt_sweep resume=" in run.said
    assert run.rows["status"].tolist() == ["ok"] * 2 and not run.rows["final"].any()
    assert gone(run.folder)
    again = Running(run.folder, resume=True)
    assert again.end() == 0, again.said
    assert "4 points to do" in again.said and again.rows["final"].all() and len(again.rows) == 4


def test_a_second_interrupt_ends_the_point_at_work(tmp_path):
    """It has a minute to go."""
    run = Running(tmp_path / "sweep", "model=patient", *QUICK, "measure.warmup_s=0,60", "measure.warmup_max_s=60")
    run.until("[2/2]", "warmup")
    os.kill(run.process.pid, signal.SIGINT)
    run.until("finishing the point at work")
    assert run.end(signal.SIGINT) == 130
    assert (run.rows["status"] == "ok").sum() == 1
    assert gone(run.folder) and not list(run.folder.rglob("**/.*.json.*"))


def test_a_termination_finishes_the_point(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient", "batch_size=1,2,3", *QUICK, "measure.warmup_s=1")
    run.until("[2/3]", "warmup")
    assert run.end(signal.SIGTERM) == 143
    assert (run.rows["status"] == "ok").sum() == 2
    assert gone(run.folder) and not list(run.folder.rglob("**/.*.json.*"))


def test_a_killed_parent_leaves_nothing_running(tmp_path):
    """Not even a child that hangs in native code and cannot notice by itself."""
    run = Running(tmp_path / "sweep", "model=hangs", "backend=eager")
    run.until("[1/1]", "reference")
    assert len(processes(run.folder)) >= 1
    assert run.end(signal.SIGKILL) == -signal.SIGKILL
    assert gone(run.folder)


@pytest.fixture
def done_once(sweep) -> Done:
    done = sweep("model=scale,exits", *QUICK)
    assert done.code == 1
    return done


def test_resume_does_what_is_left_and_what_is_to_be_tried_again(done_once):
    folder = done_once.folder
    path = next(folder.glob("points/*/record.json"))
    path.write_text(path.read_text()[:100])  # truncated: it is done again, whichever of the two it is
    first = resumed(folder)
    assert "1 point to do" in first.stderr and f"{path} cannot be read" in first.stderr, first.stderr
    assert sorted(table.load(folder)["status"]) == ["crashed", "ok"]
    second = resumed(folder)
    assert "0 points to do" in second.stderr and "vs eager" in second.stdout and second.returncode == 1
    third = resumed(folder, "retry=[crashed]", "limits.total_s=60")
    assert "1 point to do" in third.stderr and "exits" in third.stderr


def test_resume_refuses_what_changed(done_once):
    folder = done_once.folder
    for path in folder.glob("points/*/record.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"torch": "1.0", "final": True}))
    refused = resumed(folder)
    assert refused.returncode == 1 and "is refused: torch was 1.0 and is " in refused.stderr
    assert "allow_changed=true" in refused.stderr and "Traceback" not in refused.stderr
    mixed = resumed(folder, "allow_changed=true")
    assert "0 points to do" in mixed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resume=nowhere"], "is not the folder of a sweep"),
        (["resume={folder}", "batch_size=2"], "batch_size=2 is not allowed beside resume"),
        (["resume={folder}", "retry=[slow]"], "retry=slow is not allowed: use one of"),
        (["limits.build_s=0"], "limits.build_s=0.0 is not allowed: use seconds above 0"),
        (["isolation.max_jobs=0"], "isolation.max_jobs=0 is not allowed"),
        (["isolation=thread"], "isolation=thread is not known: use one of job, none, worker"),
    ],
)
def test_what_is_refused(tmp_path, arguments, said):
    (tmp_path / "command.json").write_text(json.dumps({"arguments": [], "folder": str(tmp_path)}))
    command = [sys.executable, "-m", "trt_sweep", *(one.format(folder=tmp_path) for one in arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_points_that_crash_late_one_after_the_other_leave_the_third_whole(sweep):
    done = sweep("model=late_exit,patient", "batch_size=1,2", *QUICK)
    rows = done.rows
    assert rows["status"].value_counts().to_dict() == {"crashed": 2, "ok": 2}, done.out + done.err
    assert rows["final"].all() and (rows[rows["status"] == "ok"]["rounds"] == VISITS).all()


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupts.signal is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupts.signal == signal.SIGTERM
            with pytest.raises(Interrupted) as ended:
                os.kill(os.getpid(), signal.SIGINT)
            assert ended.value.exit_code == 130
    finally:
        signal.signal(signal.SIGHUP, before)
