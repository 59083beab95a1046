"""A call as a CUDA graph, for whatever brings no CUDA graphs of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trt_sweep.errors import Unsupported, one_line
from trt_sweep.models.model import Inputs

WARMUP_CALLS = 3


class CaptureError(Exception):
    """CUDA cannot capture a call; its text is CUDA's reason."""


def record(function: Callable[[], Any], device: torch.device) -> tuple[torch.cuda.CUDAGraph, Any]:
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


def capture(function: Callable[..., Any], inputs: Inputs, device: torch.device) -> Callable[[], Any]:
    """A callable that replays `function(*args, **kwargs)` as one CUDA graph, captured at its first call.

    Each call copies the caller's inputs into the graph's own, as a service must; the outputs are the graph's, and the
    next call overwrites them. The first call raises Unsupported, with CUDA's reason, where the function cannot be
    captured.
    """
    given = [*inputs.args, *inputs.kwargs.values()]
    own = Inputs(
        tuple(tensor.clone() for tensor in inputs.args), {k: tensor.clone() for k, tensor in inputs.kwargs.items()}
    )
    static = [*own.args, *own.kwargs.values()]
    captured: list[tuple[torch.cuda.CUDAGraph, Any]] = []

    def call() -> Any:
        if not captured:
            try:
                captured.append(record(lambda: function(*own.args, **own.kwargs), device))
            except CaptureError as error:
                raise Unsupported(f"cuda_graphs=true: CUDA cannot capture this call ({error})") from error
        if static:
            torch._foreach_copy_(static, given)
        graph, outputs = captured[0]
        graph.replay()
        return outputs

    return call
