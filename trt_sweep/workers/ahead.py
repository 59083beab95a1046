"""Build engines before their points are timed, in processes that stand still while something is timed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path

from trt_sweep.backends.engine_store import PAUSED, PRIVATE, write_paused
from trt_sweep.config.groups import LimitsConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.errors import SweepError
from trt_sweep.points import phases
from trt_sweep.points.point import Point
from trt_sweep.workers.child import WorkerProcess
from trt_sweep.workers.protocol import Assignment, WorkerLost

LEAD = 4  # builds for each process that may be ahead of the timing: their engines fill the disk
NO_LIMITS = LimitsConfig(None, None, None, None)  # the sweep knows how long it waits


class BuildAheadPool:
    """Processes, `build_workers` of them, that build for a sweep in this folder, in this environment.

    What goes wrong in one of them is of no account: the process that times the point builds it again, and meets it too.
    `say` hears of a process that is lost.
    """

    def __init__(
        self, folder: Path, options: SweepOptions, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        workers = options.build_workers
        self.lead = LEAD * workers
        self._folder, self._options, self._environment, self._say = folder, options, environment, say
        self._pool = ThreadPoolExecutor(workers, "build")
        self._mine = threading.local()
        self._builds: dict[str, Future[None]] = {}
        self._at_work: dict[str, WorkerProcess] = {}
        self._children: list[WorkerProcess] = []
        self._lock = threading.Lock()
        self._ended = False
        self._stopped: float | None = None  # since when
        self._paused_s = 0.0
        (folder / PRIVATE).mkdir(exist_ok=True)

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the workers that there are."""
        with self._lock:
            return [child.pid for child in self._children]

    def offer(self, builds: Iterable[list[Point]]) -> None:
        """Have these built, each once, as far as their engines can be kept."""
        for build in builds:
            key = build[0].config.build_id
            if build[0].stored and key not in self._builds:
                self._builds[key] = self._pool.submit(self._build, key, build[0])

    def wait(self, point: Point) -> None:
        """Wait until the engines of a point are there, or its limits for export and build are over.

        Not where nobody has begun with them: the one who waits is free to do so.
        """
        key, limits = point.config.build_id, self._options.limits
        if key not in self._builds or self._builds[key].cancel():
            return
        known = limits.export_s is not None and limits.build_s is not None
        seconds = (limits.export_s or 0) + (limits.build_s or 0) if known else None
        if not wait_for([self._builds[key]], seconds).done:
            with self._lock:
                child = self._at_work.get(key)
            if child is not None:
                child.signal(signal.SIGKILL)

    def on_phase(self, phase: str) -> None:
        """Note what the worker that times is doing, "" for nothing, and stand still where it must be alone."""
        now = time.monotonic()
        with self._lock:
            if (self._stopped is not None) == phases.quiet(phase):
                return
            if self._stopped is None:
                self._stopped = now
            else:
                self._paused_s += now - self._stopped
                self._stopped = None
                write_paused(self._folder / PRIVATE / PAUSED, self._paused_s)
            for child in self._children:
                child.signal(signal.SIGCONT if self._stopped is None else signal.SIGSTOP)

    def end(self) -> None:
        """Leave nothing running."""
        with self._lock:
            self._ended = True
            for child in self._children:
                child.signal(signal.SIGKILL)
        self._pool.shutdown(cancel_futures=True)
        for child in self._children:
            child.end()

    def _build(self, key: str, point: Point) -> None:
        try:
            child = self._child(key)
            child.build_ahead(point, NO_LIMITS)
        except (WorkerLost, SweepError, OSError) as error:
            if not self._ended:
                self._say(f"building ahead: {error}")
        finally:
            with self._lock:
                self._at_work.pop(key, None)

    def _child(self, key: str) -> WorkerProcess:
        """Return the worker of this thread, at work on this build."""
        child: WorkerProcess | None = getattr(self._mine, "child", None)
        fresh = child is None or not child.alive
        with self._lock:
            if fresh:
                if self._ended:
                    raise SweepError("the sweep is over")
                if child is not None:
                    self._children.remove(child)
                child = self._mine.child = WorkerProcess(
                    Assignment(self._folder, self._options, lambda phase: None, lambda record: None), self._environment
                )
                self._children.append(child)
                if self._stopped is not None:
                    child.signal(signal.SIGSTOP)
            assert child is not None
            self._at_work[key] = child
        if fresh:
            child.ready()
        return child
