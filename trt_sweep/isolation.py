"""Where a sweep's points run: in a child process that may be lost, or in this one."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

import psutil

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.errors import SweepError
from trt_sweep.machine.output import LOG
from trt_sweep.points.phases import LIMITED, WAITING

KEPT_S = 10.0  # that a process waits for another sweep of its parent
MOVE_S = 10.0  # for it to answer that one
GRACE_S = 2.0  # between asking a process to end and making it
START_S = 600.0  # to import everything, on a slow disk, and for all that belongs to no point
SERVE = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from trt_sweep import worker; "
SERVE += "worker.serve(int(sys.argv[1]))"
# Kills a process group once whoever holds the other end of its stdin has gone, however that came about.
GUARD = 'read -r _; kill -9 -"$0"'
Hear = Callable[[str], None]


class Lost(Exception):
    """The process is gone, and what it had in hand with it: the `status` and `reason` of the row it leaves."""

    def __init__(self, status: str, phase: str | None, reason: str) -> None:
        super().__init__(reason)
        self.status, self.phase, self.reason = status, phase, reason


class Host(Protocol):
    """Runs the methods of a `worker.Worker`; `builds` counts those that it was given."""

    builds: int

    def call(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        """The method's result, or what it raised; raises Lost. `log` is the file that it writes to."""

    def end(self) -> None:
        """Leave nothing running, and nothing on the GPU."""


class Local:
    """This process: nothing protects it, and no limit holds."""

    def __init__(self, folder: Path, hear: Hear, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)  # before CUDA looks
        self.builds = 0
        from trt_sweep.worker import Worker

        self._worker = Worker(folder, hear)

    def call(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        return getattr(self._worker, method)(*arguments)

    def end(self) -> None:
        self._worker.close()
        gc.unfreeze()  # what was there before is not ours


class _Importing:
    """A process in a session of its own that imports what points need, and then waits to hear whose they are."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  (until there is a log)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.said,
                stderr=self.said,
                start_new_session=True,
            )
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, str(self.process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    def end(self) -> None:
        self.guard.communicate()
        self.process.wait()
        self.connection.close()
        self.said.close()


_prepared: list[_Importing] = []


def prepare() -> None:
    """Begin to import for the next `Child`, which takes seconds, while this process finds out what it is to do."""
    if hasattr(os, "pidfd_open"):
        _prepared.append(_Importing())


class Kept:
    """A process that has let go of its points, left to the next sweep of this one, and the claim on the GPU it is on.

    It ends where nobody has come for it after KEPT_S.
    """

    def __init__(self, child: Child, claim: contextlib.ExitStack) -> None:
        self.child, self.claim = child, claim
        self._timer = threading.Timer(KEPT_S, self._expire)
        self._timer.daemon = True
        _kept.append(self)
        self._timer.start()

    def _expire(self) -> None:
        if _take(self):
            self.end()

    def fits(self, gpus: Sequence[str] | None) -> bool:
        """Whether it is of use to a sweep on one of these GPUs, by UUID, or on any where none is named.

        Null is for a sweep that says itself which device it takes, and must see them all.
        """
        seen = set(self.child.environment.values())
        return not seen if gpus is None else not gpus or seen <= set(gpus)

    def end(self) -> None:
        """Leave nothing running, and let go of the GPU."""
        self._timer.cancel()
        self.child.end()
        self.claim.close()


_kept: list[Kept] = []
_taking = threading.Lock()


def _take(kept: Kept) -> bool:
    """Whether it was there to be taken: by one only, the next sweep or the end."""
    with _taking:
        if kept not in _kept:
            return False
        _kept.remove(kept)
        return True


def take() -> Kept | None:
    """What the last sweep of this process has left, if anything: to be used, or ended."""
    return next((kept for kept in list(_kept) if _take(kept)), None)


def end_idle() -> None:
    """End what nobody has come for."""
    while _prepared:
        _prepared.pop().end()
    while (kept := take()) is not None:
        kept.end()


def prepared_since() -> float:
    """When all began, in seconds of `time.monotonic`: with this process, where it has prepared another, or else now."""
    age_s = time.time() - psutil.Process().create_time() if _prepared else 0.0
    return time.monotonic() - age_s


class Child:
    """A process in a session of its own; with it goes whatever it has started. It takes calls once it is `ready`."""

    def __init__(self, folder: Path, hear: Hear, environment: Mapping[str, str]) -> None:
        self.environment, self.builds = environment, 0
        self._given = _given(environment)
        self._works_for(folder, hear)
        begun = _prepared.pop() if _prepared else _Importing()
        self._connection, self._process, self._guard = begun.connection, begun.process, begun.guard
        self._said = begun.said
        with contextlib.suppress(ConnectionError):  # `ready` tells more
            # Since it began, Hydra may have gone elsewhere and set variables.
            self._connection.send((folder, *self._given))
        self._gone = os.pidfd_open(self._process.pid)
        self._ending = threading.Lock()

    def _works_for(self, folder: Path, hear: Hear) -> None:
        self._hear, self._log = hear, folder / LOG
        folder.mkdir(parents=True, exist_ok=True)
        self._log.touch()

    def moves(self, folder: Path, hear: Hear, environment: Mapping[str, str]) -> bool:
        """Work for another sweep; false, and the end, where that is not possible or what it was given is other now."""
        moved = False
        try:
            if self._given == _given(environment):
                self._works_for(folder, hear)
                with contextlib.suppress(Lost):
                    self.call("move", folder, limits=LimitsConfig(total_s=MOVE_S))
                    moved = True
        finally:
            if not moved:
                self.end()
        return moved

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not been ended."""
        return self._process.returncode is None

    def ready(self) -> None:
        """Wait until it has started; raises SweepError where it does not."""
        size = _size(self._log)
        try:
            self._answer(_Clock(None), None)
        except Lost as lost:
            self._keep_said()
            reason = lost.reason + _last_words(self._log, size)
            raise SweepError(f"the process for the points does not start: {reason}; see {self._log}") from lost
        self._keep_said()

    def _keep_said(self) -> None:
        with self._said, self._log.open("ab") as log:
            self._said.seek(0)
            log.write(self._said.read())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all it has started; may be called by another thread than the one it works for."""
        with self._ending:
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)

    def call(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        with contextlib.suppress(BrokenPipeError):  # the answer tells more
            self._connection.send((method, arguments))
        return self._answer(_Clock(limits), log)

    def _answer(self, clock: _Clock, log: Path | None) -> Any:
        before, size = _killed_for_memory(), _size(log)
        while True:
            try:
                ready = wait([self._connection, self._gone], clock.left())
            except BaseException:  # a second interrupt
                self.end()
                raise
            if self._connection in ready:
                try:
                    kind, content = self._connection.recv()
                except (EOFError, ConnectionResetError):
                    ready = [self._gone]
                    wait(ready, GRACE_S)  # it is about to end, and by what is still to be seen
                else:
                    if kind == "done":
                        return content
                    if kind == "error":
                        raise content
                    if kind == "failed":
                        self.end()
                        raise Lost("crashed", clock.phase, content)
                    clock.enter(content)
                    self._hear(content)
                    continue
            if not ready:
                self.end()
                raise Lost("timeout", clock.phase, clock.reason())
            code = self._end()
            status = "out_of_memory" if code == -signal.SIGKILL and _killed_for_memory() > before else "crashed"
            raise Lost(status, clock.phase, _death(code) + _last_words(log, size))

    def end(self) -> None:
        self._end()

    def _end(self) -> int:
        """Ask the process and all it started to end, make them, and return its exit code."""
        if self.alive:
            self._connection.close()
            self.signal(signal.SIGTERM)
            wait([self._gone], GRACE_S)
            self.signal(signal.SIGKILL)
            self._guard.kill()  # before the number of the group can be given away
            self._guard.communicate()
            with self._ending:
                self._process.wait()
            os.close(self._gone)
        return self._process.returncode


def start(mode: str, folder: Path, hear: Hear, environment: Mapping[str, str], kept: Child | None = None) -> Host:
    """A process for points, ready to be called, with this environment on top of ours.

    It is the `kept` one, or else that one is ended. Raises SweepError where none comes up.
    """
    if kept is not None:
        if mode == "worker" and kept.moves(folder, hear, environment):
            return kept
        kept.end()
    if mode == "none":
        return Local(folder, hear, environment)
    if not hasattr(os, "pidfd_open"):
        raise SweepError(f"isolation.mode={mode} needs Linux 5.3 or later: use isolation=none")
    child = Child(folder, hear, environment)
    child.ready()
    return child


def _given(environment: Mapping[str, str]) -> tuple[Path, list[str], dict[str, str]]:
    """What a process for points takes from this one: the working folder, `sys.path`, and the environment."""
    return Path.cwd(), list(sys.path), {**os.environ, **environment}


class _Clock:
    """The limits of one call against the phases it goes through; START_S where the call belongs to no point."""

    def __init__(self, limits: LimitsConfig | None) -> None:
        self._of_point = limits is not None
        self._limits = limits or LimitsConfig(total_s=START_S)
        self.phase: str | None = None
        self._entered = time.monotonic()
        self._spent: dict[str, float] = {"total_s": 0.0}

    def _counting(self) -> list[str]:
        if self.phase is not None and self.phase.startswith(WAITING):
            return []
        found = ["total_s"]
        return [*found, LIMITED[self.phase]] if self.phase in LIMITED else found

    def enter(self, phase: str) -> None:
        """Take a phase as begun."""
        now = time.monotonic()
        for name in self._counting():
            self._spent[name] = self._spent.get(name, 0.0) + now - self._entered
        if phase == "warmup":
            self._spent["timing_s"] = 0.0  # a window of its own
        self.phase, self._entered = phase, now

    def _over(self) -> tuple[float, str]:
        """Seconds until the first limit is reached, and its name."""
        here = time.monotonic() - self._entered
        limits = [(getattr(self._limits, name), name) for name in self._counting()]
        left = [(limit - self._spent.get(name, 0.0) - here, name) for limit, name in limits if limit is not None]
        return min(left, default=(float("inf"), ""))

    def left(self) -> float | None:
        seconds, name = self._over()
        return max(seconds, 0.0) if name else None

    def reason(self) -> str:
        _, name = self._over()
        if not self._of_point:
            return f"the process did not answer for {START_S:g} s"
        return f"{self.phase or 'the start'} ran into limits.{name}={getattr(self._limits, name):g}"


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
