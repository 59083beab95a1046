"""Keep the garbage collector out of what is timed, or allocates much and lets go of nothing."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_disabled(*, collect: bool = True) -> Iterator[None]:
    """Keep Python's garbage collector out, as the standard library's timeit does of the calls that it times.

    It runs once before, where `collect` asks for that.
    """
    if collect:
        gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
