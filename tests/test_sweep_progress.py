"""Where the output goes while a point runs, and what is guessed of the rest."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from trt_sweep.machine.output import redirect_output
from trt_sweep.results.record import Record, columns
from trt_sweep.sweep import progress
from trt_sweep.sweep.labels import outcome
from trt_sweep.sweep.phase_times import clock
from trt_sweep.sweep.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (3725, "1:02:05"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_captured(tmp_path, capfd):
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    os.write(1, b"outside 1\n")
    with redirect_output(log):
        os.write(1, b"native out\n")
        os.write(2, b"native err\n")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    os.write(1, b"outside 2\n")
    os.write(2, b"outside 3\n")
    assert log.read_text() == "before\nnative out\nnative err\nchild\n"
    assert capfd.readouterr() == ("outside 1\noutside 2\n", "outside 3\n")


def test_captured_gives_the_streams_back_after_an_error(tmp_path, capfd):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208

    before = open_files()
    with pytest.raises(KeyboardInterrupt), redirect_output(tmp_path / "log.txt"):
        os.write(1, b"inside\n")
        raise KeyboardInterrupt
    assert open_files() == before
    os.write(1, b"outside\n")
    assert capfd.readouterr().out == "outside\n"
    assert (tmp_path / "log.txt").read_text() == "inside\n"


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now))


def test_remaining(monkeypatch, capfd):
    clock_ = Clock(monkeypatch)
    with Progress(["eager", "eager", "dynamo", "dynamo"]) as line:
        line.begin("a", "eager")
        clock_.now += 10
        assert line.remaining_s() is None  # nothing has finished yet
        line.end("ok")
        line.begin("b", "dynamo")
        assert line.remaining_s() == 10 + 10 + 10  # none of its kind has finished: the mean of all
        clock_.now += 4
        assert line.remaining_s() == 6 + 10 + 10
        clock_.now += 36
        assert line.remaining_s() == 0 + 10 + 10  # never negative
        line.end("ok")  # 40 s
        line.begin("c", "dynamo")
        assert line.remaining_s() == 40 + 10
        clock_.now += 20
        line.end("ok")
        line.begin("d", "eager")
        clock_.now += 3
        assert line.remaining_s() == 7
    assert "[1/4] a" in capfd.readouterr().err


def test_lines_go_past_the_capture(monkeypatch, tmp_path, capfd):
    clock_ = Clock(monkeypatch)
    monkeypatch.setattr(progress, "QUIET_S", 1e6)
    with Progress(["eager"] * 10) as line:
        with redirect_output(tmp_path / "log.txt"):
            line.begin("resnet18 [odd]", "eager")
            clock_.now += 65
            line.phase("build")
            line.end("ok")
        line.begin("b", "eager")
        line.phase("warmup")
        line.say("[stays]")
    assert capfd.readouterr().err.splitlines() == [
        "[ 1/10] resnet18 [odd]  ok  (1:05)",
        "[stays]",
    ]
    assert (tmp_path / "log.txt").read_text() == ""


def test_a_long_phase_shows_life_in_a_pipe(monkeypatch, capfd):
    clock_, said = Clock(monkeypatch), ""
    monkeypatch.setattr(progress, "POLL_S", 0.01)

    def life() -> list[str]:
        nonlocal said
        said += capfd.readouterr().err
        return [text for text in said.splitlines() if "build" in text]

    with Progress(["dynamo"] * 2) as line:
        for label in "ab":
            line.begin(label, "dynamo")
            for _ in range(3):  # said once
                line.phase("waiting for a GPU" if label == "a" else "export")
            line.phase("build")
            for number in (1, 1, 2) if label == "b" else ():  # lines so far: each time after twice as long
                clock_.now += progress.QUIET_S
                time.sleep(0.1)
                while len(life()) < number:
                    time.sleep(0.01)
                assert len(life()) == number
            line.end("ok")
    assert life() == [f"[2/2] b  build  (elapsed {at}, about 0:00 left)" for at in ("0:10", "0:30")]
    assert said.splitlines()[0] == "[1/2] a  waiting for a GPU  (elapsed 0:00)"
    assert said.splitlines()[1::3] == ["[1/2] a  ok  (0:00)", "[2/2] b  ok  (0:30)"]


@pytest.mark.parametrize("ends", [(None, None), (math.nan, math.nan), (1.0, None)])
def test_no_interval_is_told_that_is_not_known(ends):
    row = {name: None for name in columns()} | {"status": "ok", "latency_ms": 1.5}
    low, high = ends
    assert outcome(Record(**row | {"latency_ms_ci_low": low, "latency_ms_ci_high": high})) == "ok  1.5 ms"
