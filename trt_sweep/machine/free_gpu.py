"""Choose a GPU for a sweep where there are several.

Imports no torch: once torch is imported, CUDA_VISIBLE_DEVICES comes too late.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import pynvml

from trt_sweep.machine.locks import file_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"


def visible_gpus() -> list[str]:
    """Return the UUIDs of the GPUs that a process may use.

    Empty without NVML, and where a slice of a GPU (MIG) was chosen.
    """
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
        return []  # CUDA numbers the fastest GPU first, NVML does not
    chosen = [found[int(name)] if name.isdecimal() and int(name) < len(found) else name for name in names]
    return chosen if all(name in found for name in chosen) else []


@contextlib.contextmanager
def claim_free_gpu(preferred: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Claim a GPU that no other sweep has claimed, and give the environment variables that select it.

    The claim lasts as long as the context. The GPUs in `preferred`, by UUID, are tried first. The environment is empty
    where there is one GPU at most, or where all are claimed: sweeps on one GPU take turns, window by window.
    """
    choice = sorted(visible_gpus(), key=lambda uuid: uuid not in preferred)
    with contextlib.ExitStack() as held:
        for uuid in choice if len(choice) > 1 else []:
            try:
                held.enter_context(file_lock(f"{uuid}.claim"))
            except OSError:  # it is taken, or another user's file cannot be opened
                continue
            yield {VISIBLE: uuid}
            return
        yield {}
