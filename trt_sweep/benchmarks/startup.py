"""How long the commands take that measure nothing: help, version, and a mistake in an override."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

COMMANDS = (
    ["--help"],
    ["--version"],
    *([name, "--help"] for name in ("report", "table", "compare", "history")),
    *([name, "--help"] for name in ("layers", "partition", "sensitivity", "bench")),
    ["tbale"],
    ["-m", "optimization_levle=3"],
)
SLOW = ("torch", "pandas", "scipy.stats")  # modules that none of these commands needs


def run(out: Path | None, repeats: int) -> None:
    """Run each command, print the times and what was imported, and write them into `out` where that is given."""
    with TemporaryDirectory() as folder:
        found = [measured(command, repeats, Path(folder)) for command in COMMANDS]
    print(f"median of {repeats} runs; the processor's seconds are user + system, those of processes begun included")
    print(f"{'trt-sweep …':<28}{'processor s':>12}{'wall s':>8}  imported of {', '.join(SLOW)}")
    for row in found:
        imported = ", ".join(row["imported"]) or "none"
        print(f"{row['command']:<28}{row['processor_s']:>12.2f}{row['wall_s']:>8.2f}  {imported}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "startup.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print("results:", out)


def measured(command: list[str], repeats: int, folder: Path) -> dict[str, Any]:
    """Return the medians of a command's times in seconds, and which slow modules it imports."""
    times = [_timed(command, folder) for _ in range(repeats)]
    return {
        "command": " ".join(command),
        "processor_s": statistics.median(processor for processor, _ in times),
        "wall_s": statistics.median(wall for _, wall in times),
        "imported": imported(command, folder),
    }


def imported(command: list[str], folder: Path) -> list[str]:
    """Return which of the slow modules a command imports itself, as Python's own record of imports tells."""
    done = _done(["-X", "importtime", "-m", "trt_sweep", *command], folder)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return [name for name in SLOW if name in modules]


def _timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the processor's seconds of one run, and those of the clock on the wall."""
    before, start = _processor_s(), time.perf_counter()
    _done(["-m", "trt_sweep", *command], folder)
    return _processor_s() - before, time.perf_counter() - start


def _processor_s() -> float:
    """Return the seconds that ended child processes of this one have taken, and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _done(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
