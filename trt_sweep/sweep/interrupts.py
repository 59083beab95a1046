"""Take SIGINT, SIGTERM and SIGHUP: at the first the point at work is finished, at the second the sweep ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The sweep ends early because of this signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interrupts:
    """While the context lasts, `signal` is the number of the first signal that came; the next raises Interrupted.

    Outside of the main thread, where Python hears no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            # One that is ignored, as under nohup, stays so.
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._on_signal) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            raise Interrupted(number)
        self.signal = number
        # Not through a stream, which may be in the middle of a line.
        name = signal.Signals(number).name
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            os.write(2, f"\n{name}: finishing the point at work; once more ends it at once\n".encode())

    def check(self) -> None:
        """Raise Interrupted where a signal came."""
        if self.signal is not None:
            raise Interrupted(self.signal)
