"""Compare sweeps while one is still being written, and see what is said of it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import without_gpu
from filelock import FileLock
from running import QUICK, Running, gone
from test_compare import failed, nights, put  # noqa: F401  (a fixture)

from trt_sweep.analysis.compare.compare import compare
from trt_sweep.errors import SweepError
from trt_sweep.machine.locks import SWEEP_LOCK


@pytest.mark.parametrize("code", [0, 1, 2])
@pytest.mark.parametrize("number", [0, 1])
def test_a_note_and_the_exit_code_of_what_there_is(nights, number, code):  # noqa: F811
    here, other = nights[number], nights[1 - number]
    gpu = {"gpu_uuid": "GPU-2"} if code == 2 else {}
    for name in "abc":
        put(other, name, **gpu)
    put(here, "a")
    put(here, "b", final=False)
    if code == 1:
        failed(nights[1], "a")
    before = compare(*nights)
    assert before.exit_code == code and before.notes == [f"{here}: 1 points are not finished (resume={here})"]
    place = here / "0"  # as joblib's jobs have it
    place.mkdir()
    with FileLock(place / SWEEP_LOCK):
        found = compare(*nights)
    words = f"of the other's points 1 are missing in {here}, and of its own 1 are not final"
    assert found.notes == [f"{('OLD', 'NEW')[number]} is still being written: {words}"]
    assert found.exit_code == code
    assert compare(*nights).notes == before.notes  # the file is left, the sweep is not


def test_a_sweep_without_a_record_yet(nights):  # noqa: F811
    put(nights[0], "a")
    nights[1].mkdir()
    with FileLock(nights[1] / SWEEP_LOCK), pytest.raises(SweepError, match="no record yet: a sweep has begun"):
        compare(*nights)
    with pytest.raises(SweepError, match="holds no record: give the folder of a sweep"):
        compare(*nights)


def compared(old: Path, new: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trt_sweep", "compare", str(old), str(new)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@without_gpu
@pytest.mark.xdist_group("faults")
def test_a_real_sweep(tmp_path):
    """It runs, and is killed."""
    old, new = Running(tmp_path / "old", "model=patient", "batch_size=1,2", *QUICK), tmp_path / "new"
    assert old.end() == 0
    run = Running(new, "model=patient", "batch_size=1,2", "backend=eager", "measure.max_s=60").until("[2/2]", "timing")
    said = compared(tmp_path / "old", new).stdout
    words = r"^· NEW is still being written: of the other's points (\d) are missing in .*, and of its own (\d) are not"
    found = re.search(f"{words} final$", said, re.M)
    assert found is not None and int(found[1]) + int(found[2]) == 2, said  # the second may have been timed meanwhile
    run.end(signal.SIGKILL)
    assert gone(new)
    killed = compared(tmp_path / "old", new)
    assert "being written" not in killed.stdout and f"points are not finished (resume={new})" in killed.stdout
