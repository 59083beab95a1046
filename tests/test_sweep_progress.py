"""Where the output goes while a point runs, and what is guessed of the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from trt_sweep.machine.output import redirect_output
from trt_sweep.sweep import progress
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
    time = Clock(monkeypatch)
    with Progress(["eager", "eager", "dynamo", "dynamo"]) as line:
        line.begin("a", "eager")
        time.now += 10
        assert line.remaining_s() is None  # nothing has finished yet
        line.end("ok")
        line.begin("b", "dynamo")
        assert line.remaining_s() == 10 + 10 + 10  # none of its kind has finished: the mean of all
        time.now += 4
        assert line.remaining_s() == 6 + 10 + 10
        time.now += 36
        assert line.remaining_s() == 0 + 10 + 10  # never negative
        line.end("ok")  # 40 s
        line.begin("c", "dynamo")
        assert line.remaining_s() == 40 + 10
        time.now += 20
        line.end("ok")
        line.begin("d", "eager")
        time.now += 3
        assert line.remaining_s() == 7
    assert "[1/4] a" in capfd.readouterr().err


def test_lines_go_past_the_capture(monkeypatch, tmp_path, capfd):
    time = Clock(monkeypatch)
    with Progress(["eager"] * 10) as line:
        with redirect_output(tmp_path / "log.txt"):
            line.begin("resnet18 [odd]", "eager")
            time.now += 65
            line.phase("build")
            line.end("ok")
        line.begin("b", "eager")
        line.phase("warmup")
        line.say("[stays]")
    assert capfd.readouterr().err.splitlines() == [
        "[ 1/10] resnet18 [odd]  build  (elapsed 1:05)",
        "[ 1/10] resnet18 [odd]  ok  (1:05)",
        "[ 2/10] b  warmup  (elapsed 1:05, about 9:45 left)",
        "[stays]",
    ]
    assert (tmp_path / "log.txt").read_text() == ""
