"""Copy the inputs of a call to the GPU and its outputs back, as a server must that gets them from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trt_sweep.measure import outputs
from trt_sweep.measure.clocks import Call


def with_transfers(call: Call, inputs: Sequence[torch.Tensor]) -> Call:
    """Return a call that first copies its inputs, and last its outputs, between the GPU and pinned memory of the host.

    `inputs` are the tensors that the call reads. All is done on the current stream, and the host does not wait for it.
    The memory is allocated once. The outputs are a dict of the tensors by their names, which the next call overwrites.
    """
    given = [_pinned(tensor).copy_(tensor) for tensor in inputs]
    kept: dict[str, torch.Tensor] = {}

    def transferred() -> dict[str, torch.Tensor]:
        for tensor, source in zip(inputs, given, strict=True):
            tensor.copy_(source, non_blocking=True)
        for name, tensor in outputs.tensors(call()).items():
            if name not in kept or kept[name].shape != tensor.shape:
                kept[name] = _pinned(tensor)
            kept[name].copy_(tensor, non_blocking=True)
        return kept

    return transferred


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """Return memory of the host for a tensor, laid out as it is, from which a GPU copies by itself."""
    return torch.empty_like(tensor, device="cpu", pin_memory=True)
