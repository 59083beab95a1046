"""Choose the device that a point runs on, and tell whether its memory has room."""

from __future__ import annotations

import gc

import psutil
import torch

from trt_sweep.errors import SweepError


def resolve(device: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` stands for; raise SweepError where there is none."""
    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    if device == "cpu":
        return torch.device("cpu")
    if not available:
        raise SweepError(f"device={device} is not there: torch sees no CUDA device; use device=auto or device=cpu")
    index = int(device.partition(":")[2] or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise SweepError(f"device={device} is not there: use cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return torch.device("cuda", index)


def has_room(device: torch.device) -> bool:
    """Return whether less than half of the memory is in use, both the GPU's and the machine's."""
    if _half_free(device):
        return True
    gc.collect()  # reference cycles of earlier points may hold memory
    return _half_free(device)


def _half_free(device: torch.device) -> bool:
    if psutil.virtual_memory().percent > 50:
        return False
    if device.type != "cuda":
        return True
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return free > total / 2
