"""Find out what a process died of."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path


def death(code: int) -> str:
    """Return in words how a process ended, from its exit code; a negative one is a signal."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process was killed by signal {-code}"
    return f"the process ended with exit code {code}"


def size(log: Path | None) -> int:
    """Return the bytes in a log file; 0 without one."""
    try:
        return log.stat().st_size if log else 0
    except OSError:
        return 0


def last_words(log: Path | None, start: int, lines: int = 3) -> str:
    """Return the end of what a process wrote from byte `start` on, on one line."""
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            file.seek(max(start, size(log) - 64_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    said = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    # Python's own report of a fatal error says it in its first line, and lists every thread after it.
    fatal = [index for index, line in enumerate(said) if line.startswith("Fatal Python error")]
    last = said[fatal[-1] :][:lines] if fatal else said[-lines:]
    return f"; its last words: {' / '.join(last)[:300]}" if last else ""


def killed_for_memory() -> int:
    """Return how many processes the kernel has killed since it started because memory ran out."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)
