"""Progress of a sweep: a live line on a terminal and in a notebook, elsewhere a line a point, and a sign of life.

The libraries' chatter goes to a log file.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from itertools import chain
from statistics import mean
from typing import Any

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from trt_sweep.errors import printable
from trt_sweep.points.phases import HARNESS, RECORDING, WAITING
from trt_sweep.results.console import Console
from trt_sweep.sweep.phase_times import clock

QUIET_S = 10.0  # after which a line says what is at work, where lines stay; twice as long after each
POLL_S = 0.5


class Progress:
    """Show which point of how many is at work, in which phase, how long so far, and a guess at the rest.

    The guess for a point to come is the mean of the finished ones of its kind (its backend), or of all where there is
    none of its kind yet; until one has finished there is no guess.
    """

    def __init__(self, kinds: list[str]) -> None:
        # A duplicate of stderr, so that it goes on writing to the terminal while `redirect_output` holds the real one.
        self._stream = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
        self._console = Console(file=self._stream)
        self._live: Live | None = None
        self._cell: Any = None  # IPython's handle for the line of a notebook that changes
        self._todo, self._total = list(kinds), len(kinds)
        self._took: dict[str, list[float]] = defaultdict(list)
        self._start = self._began = time.monotonic()
        self._label = self._kind = ""
        self._windows: list[float] = []
        self._expected, self._window = 0, 0.0
        self._round: str | None = None
        self._phase, self._said, self._patience = "", self._start, QUIET_S
        self._waited = False
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._watcher = threading.Thread(target=self._watch_life, daemon=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        elif self._console.is_jupyter:
            from IPython.display import display

            self._cell = display({"text/plain": ""}, raw=True, display_id=True)
        else:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._watcher.is_alive():
            self._watcher.join()
        if self._live is not None:
            self._live.stop()
        if self._cell is not None:
            self._cell.update({"text/plain": self._times()}, raw=True)
        self._stream.close()

    def begin(self, label: str, kind: str) -> None:
        self._label, self._kind, self._began = label, kind, time.monotonic()
        self._todo.remove(kind)
        self._round = None

    def add(self, kinds: list[str]) -> None:
        """Count points that are to be done on top, or again."""
        self._todo += kinds
        self._total += len(kinds)

    def expect(self, windows: int) -> None:
        """Expect so many visits after the points' first."""
        self._expected = windows

    def again(self, label: str, number: int, rounds: int) -> None:
        """Show another visit of a point, in its round of so many."""
        now = time.monotonic()
        if self._round is not None:
            self._windows.append(now - self._window)
        self._label, self._round, self._window = label, f"round {number}/{rounds}", now
        self._expected -= 1

    def inside(self, label: str) -> None:
        """Show that the engines of a point are looked into."""
        self._label, self._round = label, "profile"

    def phase(self, name: str) -> None:
        if name in (RECORDING, HARNESS):
            return
        self._phase = name
        line = self._line()
        if self._live is not None:
            self._live.update(Spinner("dots", Text(line, no_wrap=True, overflow="ellipsis")))
        elif self._cell is not None:
            self._cell.update({"text/plain": line}, raw=True)
        elif name.startswith(WAITING) and not self._waited:  # said once: each visit may have to wait
            self._waited = True
            self.say(line)
        else:
            self._show_life()

    def end(self, outcome: str) -> None:
        self._took[self._kind].append(time.monotonic() - self._began)
        self._patience, self._waited = QUIET_S, False
        self.say(f"{self._head()}  {outcome}  ({clock(time.monotonic() - self._began)})")

    def say(self, text: str) -> None:
        """Print a line that stays. Without a reader, as when the terminal has gone, the sweep goes on all the same."""
        self._said = time.monotonic()
        with contextlib.suppress(OSError):
            self._console.print(text, soft_wrap=True)

    def remaining_s(self) -> float | None:
        """Return a guess at the seconds that the running point and those to come need; None while nothing is known."""
        later = self._expected * mean(self._windows) if self._windows else 0.0
        if self._round is not None:
            return later
        everything = list(chain.from_iterable(self._took.values()))
        if not everything:
            return None

        def guess(kind: str) -> float:
            return mean(self._took.get(kind) or everything)

        current = max(guess(self._kind) - (time.monotonic() - self._began), 0.0)
        return current + sum(map(guess, self._todo)) + later

    def _head(self) -> str:
        if self._round is not None:
            return f"[{self._round}] {self._label}"
        done = self._total - len(self._todo)
        return f"[{done:>{len(str(self._total))}}/{self._total}] {self._label}"

    def _times(self) -> str:
        left = self.remaining_s()
        guess = "" if left is None else f", about {clock(left)} left"
        return f"(elapsed {clock(time.monotonic() - self._start)}{guess})"

    def _line(self) -> str:
        return printable(f"{self._head()}  {self._phase}  {self._times()}")

    def _watch_life(self) -> None:
        while not self._ended.wait(POLL_S):
            self._show_life()

    def _show_life(self) -> None:
        """Say what is at work where nothing has been said for long."""
        with self._lock:
            if self._phase and time.monotonic() - self._said >= self._patience:
                self._patience *= 2
                self.say(self._line())
