"""A folder that is shared, deleted, full or read-only, through a real multirun in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import without_gpu
from running import QUICK, Running, resumed

# One at a time: they kill processes and tell what is timed by the host's clock.
pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]


def test_two_sweeps_in_one_folder(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient", "backend=eager", "measure.max_s=60").until("[1/1]", "model")
    refused = resumed(run.folder)
    assert refused.returncode == 1 and "belongs to a sweep that is running" in refused.stderr
    run.end(signal.SIGTERM)


def test_a_folder_deleted_under_way(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient,scale", *QUICK)
    run.until("[2/2]", "timing")
    (tmp_path / "sweep/points").rename(tmp_path / "deleted")  # at once, whatever is being written
    assert run.end() == 0, run.said
    assert run.rows["status"].tolist() == ["ok"] * 2 and run.rows["final"].all()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[str], Path]]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(how: str) -> Path:
        done = subprocess.run(["mount", *how.split(), str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def test_a_full_disk(small_disk):
    disk = small_disk("-t tmpfs -o size=2m tmpfs")
    run = Running(disk / "sweep", "model=patient,scale", "batch_size=1,2", *QUICK)
    run.until("[2/4]", "timing")
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(filler, b"0" * 4096)
    os.close(filler)
    assert run.end() == 3  # no verdict on any point
    assert "No space left on device" in run.said and "Traceback" not in run.said, run.said
    before = run.rows
    assert before["status"].tolist()[0] == "ok" and not before.attrs["unreadable"]
    (disk / "filler").unlink()
    again = Running(disk / "sweep", resume=True)
    assert again.end() == 0, again.said
    assert again.rows["final"].all() and len(again.rows) == 4


def test_a_read_only_disk(small_disk):
    disk = small_disk("-t tmpfs -o ro,size=2m tmpfs")
    run = Running(disk / "sweep", "model=scale", "backend=eager")
    assert run.end() == 1
    assert "Read-only file system" in run.said and "Traceback" not in run.said, run.said
