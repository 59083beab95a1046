"""Progress of a sweep: a live line on a terminal and in a notebook, plain lines elsewhere.

The libraries' chatter goes to a log file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from statistics import mean
from typing import Any

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from trt_sweep.errors import printable
from trt_sweep.points.phases import HARNESS, RECORDING
from trt_sweep.results.console import Console
from trt_sweep.sweep.phase_times import clock


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

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False)
            self._live.start()
        elif self._console.is_jupyter:
            from IPython.display import display

            self._cell = display({"text/plain": ""}, raw=True, display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
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
        self._show(f"{self._head()}  {name}  {self._times()}")

    def end(self, outcome: str) -> None:
        self._took[self._kind].append(time.monotonic() - self._began)
        self.say(f"{self._head()}  {outcome}  ({clock(time.monotonic() - self._began)})")

    def say(self, text: str) -> None:
        """Print a line that stays. Without a reader, as when the terminal has gone, the sweep goes on all the same."""
        with contextlib.suppress(OSError):
            self._console.print(text, soft_wrap=True)

    def remaining_s(self) -> float | None:
        """Return a guess at the seconds that the running point and those to come need; None while nothing is known."""
        later = self._expected * mean(self._windows) if self._windows else 0.0
        if self._round is not None:
            return later
        everything = [took for kind in self._took.values() for took in kind]
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

    def _show(self, line: str) -> None:
        line = printable(line)
        if self._live is not None:
            self._live.update(Spinner("dots", Text(line, no_wrap=True, overflow="ellipsis")))
        elif self._cell is not None:
            self._cell.update({"text/plain": line}, raw=True)
        elif not (self._round or "").startswith("round"):  # a line a visit is too many
            self.say(line)
