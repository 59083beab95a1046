"""Sweeps under way, for tests that kill, interrupt and resume them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from conftest import EXAMPLE

from trt_sweep.machine.output import LOG
from trt_sweep.results import table

# With the fewest visits that there can be a point has all of them, however slow the machine calls.
VISITS = 6
QUICK = ("backend=eager", f"measure.visits={VISITS}", "measure.max_s=0.9", "measure.warmup_s=0")
# Says every phase in a line, where a pipe is told of long ones only.
EVERY_PHASE = "import sys; from trt_sweep.app.main import main; from trt_sweep.sweep import progress; "
EVERY_PHASE += "progress.QUIET_S = 0; sys.exit(main())"


def processes(folder: Path) -> list[psutil.Process]:
    """Return what runs for the sweep in this folder: its processes write to its log."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            files = [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
            if str(folder / LOG) in files:
                found.append(process)
    return found


def serves(process: psutil.Process) -> bool:
    """Return whether a process times points."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "serve.serve" in " ".join(process.cmdline())
    return False


def gone(folder: Path, within_s: float = 60) -> bool:
    end = time.monotonic() + within_s
    while processes(folder) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(folder)


class Running:
    """A sweep under way, line by line."""

    def __init__(self, folder: Path, *arguments: str, resume: bool = False) -> None:
        self.folder, self.said = folder, ""
        how = [f"resume={folder}"] if resume else ["-m", "--config-dir", str(EXAMPLE), f"hydra.sweep.dir={folder}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", EVERY_PHASE, *how, *arguments],
            cwd=folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, *texts: str) -> Running:
        """Wait for a line that holds all of these texts."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if all(text in line for text in texts):
                return self
        raise AssertionError(f"{texts} was never said:\n{self.said}")

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and return the exit code."""
        if number is not None:
            os.kill(self.process.pid, number)
        self.said += self.process.communicate(timeout=600)[0]
        return self.process.returncode

    @property
    def rows(self):
        return table.load(self.folder)


def resumed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trt_sweep", f"resume={folder}", *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=600)
