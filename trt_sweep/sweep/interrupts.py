"""Take SIGINT, SIGTERM and SIGHUP: at the first the point at work is finished, at the second the sweep ends at once."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


PARENT_S = 0.5  # between two looks at whether the parent is there


@functools.cache
def end_with_parent() -> None:
    """End this process soon after its parent, where it is one of a pool's, such as joblib's; otherwise do nothing.

    Without the parent nobody wants its results, and it would hold the GPU, or wait for it. Its worker goes with it.
    """
    if multiprocessing.parent_process() is None:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_S)
        os._exit(1)  # whatever it is doing, and without the jobs that it has been given besides

    threading.Thread(target=watch, daemon=True).start()


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
