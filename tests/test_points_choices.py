"""Choices that cuDNN makes anew in each thread, of which the fastest is timed."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import pytest

from trt_sweep.measure.timer import Timer
from trt_sweep.points.check import FirstCalls
from trt_sweep.points.choices import CallThread, fastest
from trt_sweep.results.measured import Accuracy


class Choices:
    """Note which thread each choice was made in; `work` is the `gpu_ms` of each by its methods."""

    def __init__(self, *work: dict[str, float] | Exception) -> None:
        self.work, self.threads = work, list[threading.Thread]()

    def make(self, number: int) -> FirstCalls:
        self.threads.append(threading.current_thread())
        found = self.work[number]
        if isinstance(found, Exception):
            raise found
        accuracy = Accuracy(rel_l2_error=float(number), evaluation=None if number else 0.9)
        return FirstCalls(Mock(Timer, number=number), 100.0 - number, accuracy, [], number)

    def gpu_ms(self, timer: Timer) -> dict[str, float]:
        assert threading.current_thread() is self.threads[-1]
        return self.work[timer.number]

    def alive(self) -> list[bool]:
        return [thread.is_alive() for thread in self.threads]


def test_the_fastest_choice_is_kept_with_its_thread():
    choices = Choices({"graph": 3.0}, {"graph": 1.0}, {"graph": 2.0})
    thread, calls, work = fastest(3, choices.make, choices.gpu_ms)
    assert len(set(choices.threads)) == 3 and threading.current_thread() not in choices.threads
    assert (work, calls.accuracy.rel_l2_error, calls.peak_bytes) == ([3.0, 1.0, 2.0], 1.0, 1)
    assert (calls.took_ms, calls.accuracy.evaluation) == (100.0, 0.9)  # of the first
    assert thread(threading.current_thread) is choices.threads[1]
    assert choices.alive() == [False, True, False]
    thread.close()
    assert choices.alive() == [False] * 3


def test_where_the_work_cannot_be_told_the_first_choice_is_kept():
    choices = Choices({}, {"graph": 1.0})
    thread, calls, work = fastest(2, choices.make, choices.gpu_ms)
    assert work == [] and calls.peak_bytes == 0 and len(choices.threads) == 1
    thread.close()


def test_choices_are_compared_by_one_method():
    choices = Choices({"graph": 3.0, "queued": 4.0}, {"queued": 1.0}, {"graph": 2.0, "queued": 5.0})
    thread, calls, work = fastest(3, choices.make, choices.gpu_ms)
    assert work == [3.0, 2.0] and calls.peak_bytes == 2
    thread.close()


def test_a_later_choice_that_fails_is_left_out_and_the_first_one_is_the_points():
    choices = Choices({"graph": 3.0}, MemoryError("full"), {"graph": 2.0})
    thread, calls, work = fastest(3, choices.make, choices.gpu_ms)
    assert work == [3.0, 2.0] and calls.peak_bytes == 2
    thread.close()
    assert choices.alive() == [False] * 3
    choices = Choices(ValueError("the call failed"))
    with pytest.raises(ValueError, match="the call failed"):
        fastest(3, choices.make, choices.gpu_ms)
    assert choices.alive() == [False]


def test_a_thread_keeps_to_itself():
    one, other = CallThread(), CallThread()
    names = {run(threading.get_ident) for run in (one, one, other)}
    assert len(names) == 2 and threading.get_ident() not in names
    one.close()
    other.close()
