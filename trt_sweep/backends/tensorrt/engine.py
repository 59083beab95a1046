"""Load a serialized engine and run it by TensorRT's own Python API."""

from __future__ import annotations

import copy
import functools
import time
from typing import Any

import torch

from trt_sweep.backends.tensorrt.library import _logger, is_rtx, library
from trt_sweep.config.point import SPECIALIZATION, PointConfig
from trt_sweep.errors import Unsupported


@functools.cache
def set_up(device: torch.device) -> None:
    """Load and run an engine of one layer: the library's own first steps in a process are none of a model's."""
    trt = library()
    builder = trt.Builder(_logger())
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    layer = network.add_unary(network.add_input("x", trt.float32, (1,)), trt.UnaryOperation.EXP)
    network.mark_output(layer.get_output(0))
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    Engine(bytes(engine), None, device)(torch.zeros(1, device=device))
    torch.cuda.synchronize(device)


class Engine:
    """Run a loaded engine: `engine(*args, **kwargs)` returns its outputs, which the next call overwrites.

    Positional inputs go in the network's order, keyword inputs by their names.
    """

    def __init__(
        self, serialized: bytes, config: PointConfig | None, device: torch.device, cache: bytes | None = None
    ) -> None:
        """Deserialize the engine and make an execution context, on RTX with the settings of `config`.

        `load_s` is the time that takes, without setting up the library. `cache` is the content of a runtime cache to
        start from. Raise Unsupported for a setting of RTX elsewhere.
        """
        trt = library()
        if config is not None:
            set_up(device)
        start = time.perf_counter()
        with torch.cuda.device(device):
            self._runtime = trt.Runtime(_logger())
            self._engine = self._runtime.deserialize_cuda_engine(serialized)
            if self._engine is None:
                raise RuntimeError("TensorRT cannot load its engine; log.txt says why")
            self.native_cuda_graphs = hasattr(self._engine, "create_runtime_config") and hasattr(
                trt, "CudaGraphStrategy"
            )
            self._cache: Any = None
            self._config = config
            self._context = self._create_context(config, cache)
        self.load_s = time.perf_counter() - start
        self._device, self._stream = device, torch.cuda.Stream(device)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._inputs, self._outputs = inputs, [name for name in names if name not in inputs]
        self._bound: list[tuple[int, torch.Size]] = []
        self._results: list[torch.Tensor] = []

    def _create_context(self, config: PointConfig | None, cache: bytes | None) -> Any:
        trt = library()
        if config is None:
            return self._engine.create_execution_context()
        if not is_rtx():
            for name in ("runtime_cache", SPECIALIZATION):
                if getattr(config, name) is not None:
                    raise Unsupported(f"{name}={getattr(config, name)}: only TensorRT-RTX has it")
            return self._engine.create_execution_context()
        how = self._engine.create_runtime_config()
        if config.runtime_cache is not None:
            self._cache = how.create_runtime_cache()
            if cache is not None:
                self._cache.deserialize(cache)
            how.set_runtime_cache(self._cache)
        strategy = getattr(config, SPECIALIZATION)
        if strategy is not None:
            kinds = trt.DynamicShapesKernelSpecializationStrategy
            how.dynamic_shapes_kernel_specialization_strategy = getattr(kinds, strategy.upper())
        if config.cuda_graphs:
            how.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(how)

    def another(self) -> Engine:
        """Return the same loaded engine with an execution context of its own, for another thread."""
        found = copy.copy(self)
        warm = self._config is not None and self._config.runtime_cache == "warm"
        with torch.cuda.device(self._device):
            found._context = found._create_context(self._config, self.cache_content() if warm else None)
        found._bound, found._results, found._stream = [], [], torch.cuda.Stream(self._device)
        return found

    def information(self) -> str:
        """Return what the inspector says of the engine's layers, as JSON."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(library().LayerInformationFormat.JSON))

    def report_to(self, profiler: Any) -> None:
        """Have each call report its layers' times to a `tensorrt.IProfiler`; stop that with None."""
        if profiler is not None:
            self._context.profiler = profiler
            return
        with torch.cuda.device(self._device):
            self._context = self._create_context(self._config, None)
        self._bound = []

    def cache_content(self) -> bytes:
        """Return what the runtime cache holds by now."""
        return bytes(self._cache.serialize())

    def __call__(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> list[torch.Tensor]:
        bound = [(tensor.data_ptr(), tensor.shape) for tensor in (*args, *kwargs.values())]
        if bound != self._bound:
            self._bind([*zip(self._inputs, args, strict=False), *kwargs.items()])
            self._bound = bound
        given = torch.cuda.current_stream(self._device)
        if given != torch.cuda.default_stream(self._device):
            self._run(given)
        else:  # on which CUDA captures no graph, and TensorRT would wait
            self._stream.wait_stream(given)
            self._run(self._stream)
            given.wait_stream(self._stream)
        return self._results

    def _run(self, stream: torch.cuda.Stream) -> None:
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT could not run the engine: what it logged says why")

    def _bind(self, given: list[tuple[str, torch.Tensor]]) -> None:
        for name, tensor in given:
            if not tensor.is_contiguous():
                raise ValueError(f"input {name} is not contiguous")
            self._context.set_input_shape(name, tuple(tensor.shape))
            self._context.set_tensor_address(name, tensor.data_ptr())
        self._results = []
        for name in self._outputs:
            dtype = _torch_type(self._engine.get_tensor_dtype(name))
            result = torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=dtype, device=self._device)
            self._context.set_tensor_address(name, result.data_ptr())
            self._results.append(result)


def _torch_type(kind: Any) -> torch.dtype:
    names = {"HALF": "float16", "BF16": "bfloat16", "FLOAT": "float32", "BOOL": "bool"}
    found: torch.dtype = getattr(torch, names.get(kind.name, kind.name.lower()))
    return found
