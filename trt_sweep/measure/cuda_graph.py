"""A call as a CUDA graph, for whatever brings no CUDA graphs of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trt_sweep.errors import one_line

WARMUP_CALLS = 3


class CaptureError(Exception):
    """CUDA cannot capture a call; its text is CUDA's reason."""


def record_graph(function: Callable[[], Any], device: torch.device) -> tuple[torch.cuda.CUDAGraph, Any]:
    """`function()` as a graph, with the outputs that a replay overwrites; raises CaptureError where that fails.

    Warm-up and capture follow the notes on CUDA graphs of PyTorch's documentation.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_CALLS):
            function()
    torch.cuda.current_stream(device).wait_stream(stream)
    try:
        # torch's own capture stream lies on the device that captured first. Background threads, such as RTX's that
        # compiles kernels, may go on meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            return graph, function()
    except RuntimeError as error:
        torch.cuda.synchronize(device)
        raise CaptureError(one_line(error).partition(" Search for")[0]) from error
