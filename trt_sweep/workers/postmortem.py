"""TODO."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path


def _death(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process was killed by signal {-code}"
    return f"the process ended with exit code {code}"


def _size(log: Path | None) -> int:
    try:
        return log.stat().st_size if log else 0
    except OSError:
        return 0


def _last_words(log: Path | None, start: int, lines: int = 3) -> str:
    """The end of what a process wrote from `start` on, on one line."""
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            file.seek(max(start, _size(log) - 64_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    said = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    # Python's own report of a fatal error says it in its first line, and lists every thread after it.
    fatal = [index for index, line in enumerate(said) if line.startswith("Fatal Python error")]
    last = said[fatal[-1] :][:lines] if fatal else said[-lines:]
    return f"; its last words: {' / '.join(last)[:300]}" if last else ""


def _killed_for_memory() -> int:
    """How many processes the kernel has killed because memory ran out."""
    try:
        counters = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in counters.splitlines() if line.startswith("oom_kill ")), 0)
