"""Record a call as a CUDA graph, for backends that make no CUDA graphs themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trt_sweep.errors import one_line

WARMUP_CALLS = 3


class CaptureError(Exception):
    """Report that CUDA cannot capture a call; the text is CUDA's reason."""


def record_graph(function: Callable[[], Any], device: torch.device) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Record `function()` as a CUDA graph; return the graph, and the outputs that each replay overwrites.

    Warm-up and capture follow the notes on CUDA graphs in PyTorch's documentation. Raises CaptureError where CUDA
    refuses.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_CALLS):
            function()
    torch.cuda.current_stream(device).wait_stream(stream)
    try:
        # On our own stream, since torch's capture stream stays on the device that captured first. Background threads
        # may go on meanwhile, such as the one in which RTX compiles kernels.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            return graph, function()
    except RuntimeError as error:
        torch.cuda.synchronize(device)
        raise CaptureError(one_line(error).partition(" Search for")[0]) from error
