"""Start processes that import what points need before it is known whose they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe

import psutil

SERVE = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
SERVE += "from trt_sweep.workers import serve; serve.serve(int(sys.argv[1]))"
# Kills a process group once whoever holds the other end of its stdin has gone, however that came about.
GUARD = 'read -r _; kill -9 -"$0"'


class ImportingProcess:
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


prepared: list[ImportingProcess] = []


def prepare() -> None:
    """Begin to import for the next `WorkerProcess`, while this process finds out what it is to do."""
    if hasattr(os, "pidfd_open"):
        prepared.append(ImportingProcess())


def started_at() -> float:
    """Return when all began, as `time.monotonic` counts: with this process where it has prepared another, else now."""
    age_s = time.time() - psutil.Process().create_time() if prepared else 0.0
    return time.monotonic() - age_s
