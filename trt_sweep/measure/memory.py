"""Measure the GPU memory that a point needs, apart from all else that its process holds.

A process also keeps the FP32 model, references, and other points' builds, so its total says little. A point's memory
is the sum of its weights, of what appears outside of torch's allocator while it is built and called, and of what its
inputs and a call take in torch's allocator.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trt_sweep.machine.nvml import monitor
from trt_sweep.measure.clocks import Call, synchronize
from trt_sweep.measure.timer import Timer

CALLS = 2  # after the first one, which tunes and captures; the last of them is measured


class BuildMemory:
    """Measure the bytes that one build holds between its calls; None on a CPU and where they cannot be told."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._outside: int | None = 0 if device.type == "cuda" else None

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Add the memory that this process takes meanwhile, and keeps, outside of torch's allocator.

        TensorRT keeps its weights and execution contexts there.
        """
        before = self._reading()
        yield
        after = self._reading()
        known = self._outside is not None and before is not None and after is not None
        self._outside = self._outside + after - before if known else None  # type: ignore[operator]

    def _reading(self) -> int | None:
        if self._device.type != "cuda":
            return None
        gc.collect()  # a builder that lives on in a reference cycle
        synchronize(self._device)
        used = monitor(self._device).process_bytes()
        return None if used is None else used - torch.cuda.memory_reserved(self._device)

    def bytes(self, module: torch.nn.Module | None) -> int | None:
        """Return all bytes that the build holds; `module` has its weights in torch, if any."""
        return None if self._outside is None else max(self._outside, 0) + weight_bytes(module, self._device)


class CallMemory:
    """Measure the bytes of torch's allocator that a call takes: inputs, activations, outputs and CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._cuda = device, device.type == "cuda"
        gc.collect()  # or memory of other points might be freed while this one is measured
        self._kept = 0
        self._before = {item["segment_pool_id"] for item in self._private()}

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Add the bytes that are allocated meanwhile and kept, less those that are freed."""
        before = self._allocated()
        yield
        self._kept += self._allocated() - before

    def prepare(self, timer: Timer) -> None:
        """Make cuBLAS allocate the workspace that it keeps for each stream, which belongs to no point."""

        def multiply() -> None:
            one = torch.ones(1, 1, device=self._device)
            torch.mm(one, one)

        if self._cuda:
            timer.in_turn([multiply] * len(timer.calls))

    def peak(self, timer: Timer) -> int | None:
        """Return the bytes that were added, and what a further call takes at its peak; None on a CPU.

        Calls of several threads take that at the same time. Errors of a call pass through.
        """
        if not self._cuda:
            return None

        def most(call: Call) -> int:
            for _ in range(CALLS):
                synchronize(self._device)
                torch.cuda.reset_peak_memory_stats(self._device)
                before = self._allocated()
                call()
            synchronize(self._device)
            return torch.cuda.max_memory_allocated(self._device) - before

        added = sum(timer.in_turn([partial(most, call) for call in timer.calls]))
        # What CUDA graphs keep for their next replay does not count as allocated. Graphs of earlier points have their
        # own pools and are left out.
        own = [item for item in self._private() if item["segment_pool_id"] not in self._before]
        idle: int = sum(item["total_size"] - item["allocated_size"] for item in own)
        return self._kept + added + idle

    def _allocated(self) -> int:
        return torch.cuda.memory_allocated(self._device) if self._cuda else 0

    def _private(self) -> list[dict[str, Any]]:
        """Return the segments of torch's allocator that belong to CUDA graphs."""
        segments = torch.cuda.memory_snapshot() if self._cuda else []
        here = [item for item in segments if item["device"] == self._device.index]
        return [item for item in here if item["segment_pool_id"] != (0, 0)]


def weight_bytes(module: torch.nn.Module | None, device: torch.device) -> int:
    """Return the bytes of a module's parameters, buffers and TorchScript constants on a device; 0 without a module.

    Memory that several tensors share counts once.
    """
    if module is None:
        return 0
    tensors: list[torch.Tensor] = [*module.parameters(), *module.buffers()]
    if isinstance(module, torch.jit.ScriptModule):  # frozen, it has neither
        graph: Any = module.inlined_graph
        values = [node.output().toIValue() for node in graph.findAllNodes("prim::Constant")]
        tensors += [value for value in values if isinstance(value, torch.Tensor)]
    plain = [part for tensor in tensors for part in _plain(tensor) if part.device == device]
    storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in plain}
    return sum(storages.values())


def _plain(tensor: Any) -> Iterator[torch.Tensor]:
    """Yield the plain tensors that a quantized tensor is made of, or the tensor itself."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _plain(getattr(tensor, name))
