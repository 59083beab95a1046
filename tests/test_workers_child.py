"""What a worker's messages do to the process that waits for its answer, without a worker at the other end."""

from __future__ import annotations

from multiprocessing import Pipe

import pytest

from trt_sweep.config.options import SweepOptions
from trt_sweep.workers.child import WorkerProcess
from trt_sweep.workers.limits import Limits
from trt_sweep.workers.protocol import Assignment, WorkerLost


@pytest.fixture
def process(tmp_path, monkeypatch) -> WorkerProcess:
    """A process that was never started; `ended` says whether it was told to end."""
    found = object.__new__(WorkerProcess)
    found.heard, found.records, found.ended = [], [], False
    found.assignment = Assignment(tmp_path, SweepOptions(), found.heard.append, found.records.append)
    monkeypatch.setattr(found, "end", lambda: setattr(found, "ended", True), raising=False)
    return found


def test_a_phase_counts_against_its_limit_and_is_passed_on(process):
    limits = Limits(None)
    process._take("phase", "export", limits)
    assert process.heard == [limits.phase] == ["export"] and not process.ended


def test_what_the_user_can_mend_is_raised_as_it_is(process):
    with pytest.raises(ValueError, match="mend me"):
        process._take("error", ValueError("mend me"), Limits(None))
    assert not process.ended  # it goes on


@pytest.mark.parametrize(("error", "raised"), [(TypeError("no JSON"), WorkerLost), (OSError(28, "full"), OSError)])
def test_a_record_that_cannot_be_written_ends_the_process(process, monkeypatch, error, raised):
    """One that is no JSON is the point's fault; a full disk ends the sweep."""

    def write(record: object) -> None:
        raise error

    process.assignment = Assignment(process.assignment.folder, SweepOptions(), process.heard.append, write)
    limits = Limits(None)
    limits.enter("timing")
    with pytest.raises(raised) as caught:
        process._take("record", "a record", limits)
    assert process.ended
    if raised is WorkerLost:
        lost = caught.value
        assert (lost.status, lost.phase) == ("crashed", "timing") and "no JSON" in lost.reason


def test_records_that_were_sent_are_written_before_an_interrupt_ends_it(process):
    process._connection, theirs = Pipe()
    for message in (("phase", "timing"), ("record", "first"), ("record", "second"), ("done", None)):
        theirs.send(message)
    process._take_records()
    assert process.records == ["first", "second"] and process.heard == []
    theirs.close()
    process._take_records()  # there is nobody any more
