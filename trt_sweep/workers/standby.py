"""Keep a worker for a while that the next sweep of this process may take over."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from trt_sweep.workers.child import WorkerProcess
from trt_sweep.workers.spawn import prepared

KEPT_S = 10.0  # that a process waits for another sweep of its parent


class StandbyWorker:
    """A worker that has let go of its points, and the claim on the GPU that it is on.

    It ends where no sweep has come for it after `KEPT_S`.
    """

    def __init__(self, child: WorkerProcess, claim: contextlib.ExitStack) -> None:
        self.child, self.claim = child, claim
        self._timer = threading.Timer(KEPT_S, self._expire)
        self._timer.daemon = True
        _kept.append(self)
        self._timer.start()

    def _expire(self) -> None:
        if _take(self):
            self.end()

    def fits(self, gpus: Sequence[str] | None) -> bool:
        """Return whether it is of use to a sweep on one of these GPUs, by UUID, or on any where none is named.

        None is for a sweep that says itself which device it takes, and must see them all.
        """
        seen = set(self.child.environment.values())
        return not seen if gpus is None else not gpus or seen <= set(gpus)

    def end(self) -> None:
        """Leave nothing running, and let go of the GPU."""
        self._timer.cancel()
        self.child.end()
        self.claim.close()


_kept: list[StandbyWorker] = []
_taking = threading.Lock()


def _take(kept: StandbyWorker) -> bool:
    """Take one off the list; return false where another was faster."""
    with _taking:
        if kept not in _kept:
            return False
        _kept.remove(kept)
        return True


def take() -> StandbyWorker | None:
    """Return the worker that the last sweep of this process has left, None without one. It is to be used, or ended."""
    return next((kept for kept in list(_kept) if _take(kept)), None)


def end_idle() -> None:
    """End all workers that nobody has come for."""
    while prepared:
        prepared.pop().end()
    while (kept := take()) is not None:
        kept.end()
