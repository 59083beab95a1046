"""Which GPU a sweep takes where there are several; imports no torch, so that the choice can still be made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import pynvml
from filelock import Timeout

from trt_sweep.machine.locks import file_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that a process may use; empty without NVML, and where a slice of one (MIG) was chosen."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        kinds = {str(pynvml.nvmlDeviceGetName(handle)) for handle in handles}
    except pynvml.NVMLError:
        return []
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return found
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if any(name.isdecimal() for name in names) and len(kinds) > 1 and os.environ.get(ORDER) != "PCI_BUS_ID":
        return []  # CUDA counts the fastest first
    chosen = [found[int(name)] if name.isdecimal() and int(name) < len(found) else name for name in names]
    return chosen if all(name in found for name in chosen) else []


@contextlib.contextmanager
def claim_free_gpu(preferred: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """The environment that shows a process one GPU which no other sweep has claimed, for as long as the context lasts.

    Those of `preferred`, by UUID, are tried first.

    Empty where there is one GPU at most, or where all are claimed: sweeps on one GPU take turns by the window.
    """
    choice = sorted(visible_gpus(), key=lambda uuid: uuid not in preferred)
    with contextlib.ExitStack() as held:
        for uuid in choice if len(choice) > 1 else []:
            claim = file_lock(f"{uuid}.claim")
            try:
                held.enter_context(claim.acquire(blocking=False))
            except Timeout:
                continue
            yield {VISIBLE: uuid}
            return
        yield {}
