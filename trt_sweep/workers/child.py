"""A worker in a process of its own, and what is left to say when that is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.machine.output import LOG
from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.limits import Limits
from trt_sweep.workers.postmortem import death, killed_for_memory, last_words, size
from trt_sweep.workers.protocol import Assignment, WorkerLost
from trt_sweep.workers.spawn import ImportingProcess, prepared

MOVE_S = 10.0  # for it to answer that one
GRACE_S = 2.0  # between asking a process to end and making it


class WorkerProcess(WorkerClient):
    """A worker in a session of its own; with it goes whatever it has started. It takes calls once it is `ready`."""

    def __init__(self, assignment: Assignment, environment: Mapping[str, str]) -> None:
        super().__init__(assignment)
        self.environment = environment
        self._given = _given(environment)
        self._works_for(assignment)
        begun = prepared.pop() if prepared else ImportingProcess()
        self._connection, self._process, self._guard = begun.connection, begun.process, begun.guard
        self._said = begun.said
        with contextlib.suppress(ConnectionError):  # `ready` tells more
            # Since it began, Hydra may have gone elsewhere and set variables.
            self._connection.send((assignment.folder, assignment.options, *self._given))
        self._gone = os.pidfd_open(self._process.pid)
        self._ending = threading.Lock()

    def _works_for(self, assignment: Assignment) -> None:
        self.assignment, self._log = assignment, assignment.folder / LOG
        assignment.folder.mkdir(parents=True, exist_ok=True)
        self._log.touch()

    def move(self, assignment: Assignment, environment: Mapping[str, str]) -> bool:
        """Work for another sweep; false, and the end, where that is not possible or what it was given is other now."""
        moved = False
        try:
            if self._given == _given(environment):
                self._works_for(assignment)
                limits = LimitsConfig(total_s=MOVE_S)
                with contextlib.suppress(WorkerLost):
                    self._ask("move", assignment.folder, assignment.options, limits=limits)
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
        """Return whether it has not been ended."""
        return self._process.returncode is None

    def ready(self) -> None:
        """Wait until it has started; raises SweepError where it does not."""
        written = size(self._log)
        try:
            self._answer(Limits(None), None)
        except WorkerLost as lost:
            self._keep_said()
            reason = lost.reason + last_words(self._log, written)
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

    def _ask(self, method: str, *arguments: Any, limits: LimitsConfig | None = None, log: Path | None = None) -> Any:
        with contextlib.suppress(BrokenPipeError):  # the answer tells more
            self._connection.send((method, arguments))
        return self._answer(Limits(limits), log)

    def _answer(self, limits: Limits, log: Path | None) -> Any:
        """Wait for the answer to a call, and take what comes before it. Raises WorkerLost where the process is gone."""
        before, written = killed_for_memory(), size(log)
        while True:
            try:
                ready = wait([self._connection, self._gone], limits.left())
            except BaseException:  # a second interrupt
                self._take_records()
                self.end()
                raise
            if self._connection in ready:
                try:
                    kind, content = self._connection.recv()
                except (EOFError, OSError):  # also in the middle of a message
                    ready = [self._gone]
                    wait(ready, GRACE_S)  # it is about to end, and by what is still to be seen
                else:
                    if kind == "done":
                        return content
                    self._take(kind, content, limits)
                    continue
            if not ready:
                self.end()
                raise WorkerLost("timeout", limits.phase, limits.reason())
            code = self._end()
            status = "out_of_memory" if code == -signal.SIGKILL and killed_for_memory() > before else "crashed"
            raise WorkerLost(status, limits.phase, death(code) + last_words(log, written))

    def _take(self, kind: str, content: Any, limits: Limits) -> None:
        """Take a message that is no answer: a phase, a record, or what went wrong, which is raised."""
        if kind == "error":
            raise content
        if kind == "failed":
            self.end()
            raise WorkerLost("crashed", limits.phase, content)
        try:
            if kind == "record":
                self.assignment.on_record(content)
            else:
                limits.enter(content)
                self.assignment.on_phase(content)
        except (TypeError, ValueError) as error:
            self.end()
            raise WorkerLost("crashed", limits.phase, f"its record cannot be written: {one_line(error)}") from error
        except BaseException:  # a full disk, say: what it answers next would be another call's answer
            self.end()
            raise

    def _take_records(self) -> None:
        """Have the records written that were sent and not read yet."""
        with contextlib.suppress(EOFError, OSError):
            while self._connection.poll(0):
                kind, content = self._connection.recv()
                if kind == "record":
                    self.assignment.on_record(content)

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


def _given(environment: Mapping[str, str]) -> tuple[Path, list[str], dict[str, str]]:
    """Return what a worker takes from this process: the working folder, `sys.path`, and the environment."""
    return Path.cwd(), list(sys.path), {**os.environ, **environment}
