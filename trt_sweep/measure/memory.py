"""What a point needs of the GPU's memory, told apart from all else that its process holds.

A process keeps the FP32 model, references, and other points' builds. So nothing is read off as a total: a build is
charged with its weights, with what appears outside of torch's allocator while it is made and called, and with what its
inputs and a call take of torch's allocator.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trt_sweep.machine.nvml import monitor
from trt_sweep.measure.clocks import synchronize
from trt_sweep.measure.timer import Timer

CALLS = 2  # after the first one, which tunes and captures: the last of them is the one that counts


class BuildMemory:
    """The bytes that one build holds, beside what its calls take; null on a CPU and where they cannot be told."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._outside: int | None = 0 if device.type == "cuda" else None

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Charge it with what this process takes meanwhile, and keeps, outside of torch's allocator.

        That is where TensorRT keeps its weights and execution contexts.
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
        """All that the build holds; `module` is what has its weights in torch, if any."""
        return None if self._outside is None else max(self._outside, 0) + weight_bytes(module, self._device)


class CallMemory:
    """The bytes of torch's allocator that a call takes on top of its build: inputs, activations, outputs, graphs."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._cuda = device, device.type == "cuda"
        gc.collect()  # what other points have left, and would else go meanwhile
        self._kept = 0
        self._before = {item["segment_pool_id"] for item in self._private()}

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Count what is allocated meanwhile and kept, less what is let go: inputs, the first call, its outputs."""
        before = self._allocated()
        yield
        self._kept += self._allocated() - before

    def prepare(self, timer: Timer) -> None:
        """Have cuBLAS make the workspace that it keeps for each stream, which is no point's own."""
        if self._cuda:
            with timer.on_stream():
                one = torch.ones(1, 1, device=self._device)
                torch.mm(one, one)

    def peak(self, timer: Timer) -> int | None:
        """With what a further call takes at its peak; null on a CPU. Errors of the call pass through."""
        if not self._cuda:
            return None
        with timer.on_stream():
            for _ in range(CALLS):
                synchronize(self._device)
                torch.cuda.reset_peak_memory_stats(self._device)
                before = self._allocated()
                timer.call()
        # What CUDA graphs keep for their next replay is allocated to nobody. Earlier graphs, which may end at any time,
        # have pools of their own.
        own = [item for item in self._private() if item["segment_pool_id"] not in self._before]
        idle: int = sum(item["total_size"] - item["allocated_size"] for item in own)
        return self._kept + torch.cuda.max_memory_allocated(self._device) - before + idle

    def _allocated(self) -> int:
        return torch.cuda.memory_allocated(self._device) if self._cuda else 0

    def _private(self) -> list[dict[str, Any]]:
        """The segments of torch's allocator that belong to CUDA graphs."""
        segments = torch.cuda.memory_snapshot() if self._cuda else []
        here = [item for item in segments if item["device"] == self._device.index]
        return [item for item in here if item["segment_pool_id"] != (0, 0)]


def weight_bytes(module: torch.nn.Module | None, device: torch.device) -> int:
    """Bytes on a device of a module's parameters and buffers, and of a TorchScript one's constants; 0 without one.

    What several share counts once.
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
    """What a quantized tensor is made of, or the tensor itself."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _plain(getattr(tensor, name))
