"""Check what is said of a process that has died."""

from __future__ import annotations

import signal

import pytest

from trt_sweep.workers import postmortem


def test_last_words_are_of_this_attempt(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("Fatal Python error: of an earlier one\n")
    size = postmortem.size(log)
    assert postmortem.last_words(log, size) == ""
    with log.open("a") as file:
        file.write("line\n" * 9 + "Fatal Python error: Aborted\n\nthread\nfile\nmore\n")
    assert postmortem.last_words(log, size) == "; its last words: Fatal Python error: Aborted / thread / file"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (3, "the process ended with exit code 3"),
        (-signal.SIGSEGV, "the process was killed by SIGSEGV"),
        (-200, "the process was killed by signal 200"),
    ],
)
def test_how_it_ended(code, said):
    assert postmortem.death(code) == said


def test_without_a_log_there_are_no_last_words(tmp_path):
    assert postmortem.last_words(None, 0) == "" == postmortem.last_words(tmp_path / "missing", 0)
    assert postmortem.size(None) == 0 == postmortem.size(tmp_path / "missing")
