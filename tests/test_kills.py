"""Kill sweeps at random moments: no finished row is lost, no file is half written, nothing is left running.

`pytest tests/test_kills.py -m slow -n 0 -s` kills 100 times, which takes a quarter of an hour, and prints what it saw.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import psutil
import pytest
from conftest import without_gpu
from running import QUICK, Running, gone, serves

from trt_sweep.results import store
from trt_sweep.sweep.command import COMMAND

pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]
SWEEP = ("model=patient,scale", "batch_size=1,2,3,4,5,6", *QUICK, "isolation.max_jobs=4")
POINTS = 12


class KilledSweeps:
    """A sweep that is killed and resumed, and once it is complete the next one; `seen` counts what became of them."""

    def __init__(self, place: Path, chance: random.Random) -> None:
        self.place, self.chance = place, chance
        self.seen = Counter({"rows lost": 0, "torn files": 0, "tracebacks": 0, "processes left": 0})
        self.run: Running | None = None
        self.folder = place / "0"
        self.finished: dict[str, str] = {}  # when each row was made that no later run may touch

    def start(self) -> Running:
        """Go on with the sweep, or begin the next one."""
        if len(self.finished) == POINTS:
            self.seen["sweeps complete"] += 1
            self.folder, self.finished = self.place / str(self.seen["sweeps complete"]), {}
        begun = (self.folder / COMMAND).exists()
        self.seen["resumes" if begun else "starts"] += 1
        return Running(self.folder, *(["retry=[crashed]"] if begun else SWEEP), resume=begun)

    def kill(self) -> None:
        """Kill the process of a sweep, or that of its points, after a random time."""
        while True:
            self.run = self.run or self.start()
            try:
                self.run.process.wait(timeout=self.chance.uniform(0.5, 14))
            except subprocess.TimeoutExpired:
                break
            self.end()
        own = psutil.Process(self.run.process.pid)
        workers = [child for child in own.children() if serves(child)]
        target = self.chance.choice([own, *workers])
        self.seen["kills of the sweep" if target == own else "kills of its worker"] += 1
        with contextlib.suppress(psutil.NoSuchProcess):  # it was faster
            target.kill()
        if target == own:
            self.end()
        else:
            self.check()

    def end(self) -> None:
        """Wait for the end of the run at hand, and see what it leaves."""
        assert self.run is not None
        code = self.run.end()
        self.seen["tracebacks"] += "Traceback" in self.run.said
        self.seen["processes left"] += not gone(self.folder)
        assert code in (0, 1, -signal.SIGKILL), self.run.said
        self.run = None
        self.check()

    def check(self) -> None:
        """Read all files, also while a sweep writes them."""
        for path in self.folder.rglob("*.json"):
            try:
                text = path.read_text()
            except FileNotFoundError:  # a temporary one
                continue
            try:
                json.loads(text)
            except ValueError:
                self.seen["torn files"] += not path.name.startswith(".")
        records = [store.read(path) for path in self.folder.glob("points/*/record.json")]
        now = {each.point_id: each.created_utc for each in records if each.final and each.status == "ok"}
        self.seen["rows lost"] += sum(now.get(name) != when for name, when in self.finished.items())
        self.finished = now


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3 * 3600)])])
def test_kills_at_random_moments_lose_no_finished_row(tmp_path, kills):
    sweeps = KilledSweeps(tmp_path, random.Random(kills))
    for _ in range(kills):
        sweeps.kill()
    while sweeps.run or len(sweeps.finished) < POINTS:
        sweeps.run = sweeps.run or sweeps.start()
        sweeps.end()
    print(f"{kills} kills: {dict(sweeps.seen)}")
    faults = ("rows lost", "torn files", "tracebacks", "processes left")
    assert not any(sweeps.seen[name] for name in faults), sweeps.seen
