"""Give a point as a module that is ready to call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from trt_sweep import backends
from trt_sweep.backends.base import BuildContext
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError
from trt_sweep.machine.devices import resolve
from trt_sweep.models import in_memory, quantization
from trt_sweep.models.arguments import Structure, taken_apart
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import DTYPE, float32_mode
from trt_sweep.points.prepared import PreparedModel


class CompiledModule(torch.nn.Module):
    """Call what a backend made of a module that is in memory.

    It takes what the module takes, of the sizes that it was built for, in FP32 or the precision of the point, and
    returns outputs in that precision. What a call returns is the caller's to keep.
    """

    def __init__(self, config: PointConfig) -> None:
        super().__init__()
        self._config, self._device, cache = config, resolve(config.device), ProcessCache()
        self._stack = contextlib.ExitStack()  # undone when the process ends: the engines are in use until then
        folder = Path(self._stack.enter_context(TemporaryDirectory()))
        context = BuildContext(
            config, self._device, folder, lambda phase: None, lambda compiled: None, self._stack, cache
        )
        with torch.no_grad(), float32_mode(config.precision):
            model = PreparedModel(config, self._device, cache).model()
            self._model, _ = quantization.quantize_cached(model, config, self._device, cache)
            self._compiled = backends.get(config.backend).compile(self._model, context)
        self._calls: dict[tuple[torch.Size, ...], tuple[list[torch.Tensor], Callable[[], Any]]] = {}
        self._graphs = contextlib.ExitStack()  # CUDA graphs are kept from call to call

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns."""
        tensors = self._tensors(args, kwargs)
        sizes = tuple(tensor.shape for tensor in tensors)
        with torch.no_grad(), float32_mode(self._config.precision, bool(self._compiled.build.cudnn_benchmark)):
            if self._config.cuda_graphs:
                if not self._calls:
                    self._graphs.enter_context(self._compiled.running())
                return self._call(sizes, tensors)
            with self._compiled.running():
                return self._call(sizes, tensors)

    def _call(self, sizes: tuple[torch.Size, ...], tensors: list[torch.Tensor]) -> Any:
        if sizes not in self._calls:
            self._calls[sizes] = self._bound(sizes, tensors)
        own, call = self._calls[sizes]
        for mine, given in zip(own, tensors, strict=True):
            mine.copy_(given)
        inputs = {mine.untyped_storage().data_ptr() for mine in own}

        def kept(output: torch.Tensor) -> torch.Tensor:
            """Copy what the next call overwrites: what lies in an input, and all that a CUDA graph returns."""
            overwritten = self._config.cuda_graphs or output.untyped_storage().data_ptr() in inputs
            return output.clone() if overwritten else output

        return torch.utils._pytree.tree_map_only(torch.Tensor, kept, call())

    def _bound(self, sizes: Any, tensors: list[torch.Tensor]) -> tuple[list[torch.Tensor], Callable[[], Any]]:
        """Return tensors that a call reads, and the call; raise SweepError for sizes that nothing was built for."""
        built = tuple(tensor.shape for tensor in self._model.inputs.tensors)
        if not self._config.ranges and sizes != built:
            shown = ["; ".join("x".join(map(str, shape)) for shape in shapes) for shapes in (sizes, built)]
            raise SweepError(f"inputs of {shown[0]} are not allowed: this was built for {shown[1]}")
        dtype, bind = DTYPE[self._config.base_precision], self._compiled.bind
        assert bind is not None
        inputs = self._model.inputs.with_tensors([tensor.to(self._device, copy=True) for tensor in tensors])
        own = inputs.to(dtype, bool(self._compiled.build.channels_last))
        return list(own.tensors), bind(own)

    def _tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """Return the tensors of a call in the order of the module's inputs."""
        held = in_memory.find(self._config.model)
        assert held is not None
        structure, tensors = taken_apart(args, kwargs)
        names, by_name = held.structure.names(), dict(zip(structure.names(), tensors, strict=True))
        if {*names} != {*by_name} or structure.constants() != held.structure.constants():
            raise SweepError(f"a call with {_told(structure)} is not allowed: it takes {_told(held.structure)}")
        return [by_name[name] for name in names]


def _told(structure: Structure) -> str:
    """Return what a call has: the names of its tensors, and all else with its value."""
    others = (f"{name}={value!r}" for name, value in structure.constants().items())
    return ", ".join([*structure.names(), *others]) or "nothing"
