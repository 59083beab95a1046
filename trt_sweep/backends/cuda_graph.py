"""Capture a call as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from trt_sweep.errors import Unsupported
from trt_sweep.measure.cuda_graph import CaptureError, record_graph
from trt_sweep.models.model import Inputs


def capture(function: Callable[..., Any], inputs: Inputs, device: torch.device) -> Callable[[], Any]:
    """Return a callable that replays `function(*args, **kwargs)` as one CUDA graph, captured at its first call.

    Each call copies the caller's inputs into the graph's own, as a service must; the outputs are the graph's, and the
    next call overwrites them. The first call raises Unsupported, with CUDA's reason, where the function cannot be
    captured.
    """
    own = inputs.with_tensors([tensor.clone() for tensor in inputs.tensors])
    given, static = list(inputs.tensors), list(own.tensors)
    captured: list[tuple[torch.cuda.CUDAGraph, Any]] = []

    def call() -> Any:
        if not captured:
            try:
                captured.append(record_graph(lambda: function(*own.args, **own.kwargs), device))
            except CaptureError as error:
                raise Unsupported(f"cuda_graphs=true: CUDA cannot capture this call ({error})") from error
        if static:
            torch._foreach_copy_(static, given)
        graph, outputs = captured[0]
        graph.replay()
        return outputs

    return call
