"""Be a user whom file permissions bind."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

# Linux's capabilities, man 7 capabilities: to read and write any file whatever its permissions.
PASSING_BY = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
VERSION_3 = 0x20080522


@contextlib.contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Give up, while it lasts, root's right to pass permissions by; another user has none.

    Root stays root: what only root may read, such as a virtual environment of its own, can still be imported.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, held) == 0, os.strerror(ctypes.get_errno())
    before = held[0]  # the effective ones; the permitted ones stay, so that they can be taken up again
    held[0] &= ~PASSING_BY
    assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        held[0] = before
        assert libc.capset(header, held) == 0, os.strerror(ctypes.get_errno())
