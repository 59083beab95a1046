"""Be the process that points run in: take calls from a pipe until it ends."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection

from trt_sweep.errors import SweepError, one_line
from trt_sweep.machine.output import redirect_to_log
from trt_sweep.workers.worker import Worker


def serve(descriptor: int) -> None:
    """Serve a `WorkerProcess` until the connection ends.

    First comes whose it is: the sweep's folder and options, the working folder, `sys.path`, and the environment. Each
    (method, arguments) is answered by ("done", result), by ("error", exception) for what the user can mend, or by
    ("failed", text). Until then ("phase", name) says what goes on, and ("record", record) is to be written.
    """
    connection, own = Connection(descriptor), os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep decides what an interrupt means
    try:
        folder, options, place, sys.path[:], environment = connection.recv()
    except EOFError:  # nobody's
        return
    os.chdir(place)
    os.environ.update(environment)  # before CUDA looks
    redirect_to_log(folder)
    faulthandler.enable()

    def send(kind: str, content: object) -> None:
        if os.getpid() != own:
            os._exit(1)  # a model has forked, and the copy came back here
        connection.send((kind, content))

    worker = Worker(folder, options, lambda phase: send("phase", phase), lambda record: send("record", record))
    send("done", None)
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            send("done", getattr(worker, method)(*arguments))
        except (SweepError, OSError) as error:
            send("error", error)
        except Exception as error:
            traceback.print_exc()
            send("failed", one_line(error))
