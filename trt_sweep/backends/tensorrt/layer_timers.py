"""Time the layers inside engines, in Torch-TensorRT's two runtimes and in TensorRT's own."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Protocol

import torch

from trt_sweep.backends.tensorrt.engine import Engine
from trt_sweep.backends.tensorrt.library import library

LayerTimes = list[tuple[str, float]]  # ms, in the order of execution
# The C++ runtime writes names into JSON as they are, quotes included, so a line is read for itself.
_ROW = re.compile(r'^    "name": "(.*)",\n    "timeMs": ([-+.\deE]+),$', re.M)


class LayerTimer(Protocol):
    """Report how long each layer of an engine takes, between `attach` and `detach`; calls are slower meanwhile.

    `module` runs the engine; it is None where the whole call does. `modules` are the paths of the PyTorch modules
    behind the layers, by the names that the layers have there; it is empty where the layers' own names say it.
    """

    runtime: str
    module: torch.nn.Module | None
    modules: dict[str, str]

    def information(self) -> str:
        """Return the inspector's JSON; it is empty where the engine was built to tell nothing."""

    def attach(self) -> None:
        """Begin to report."""

    def reported(self) -> LayerTimes:
        """Return the times of the layers in the one call that was made since this was last asked."""

    def detach(self) -> None:
        """End reporting; the execution context is a new one, which RTX compiles its kernels for at the next call."""


def runtime_of(module: Any) -> str:
    """Return which runtime executes the engine in a module of Torch-TensorRT's: python or cpp."""
    # Up to 2.12 the module is another one, from 2.13 on the engine inside it.
    kinds = type(module).__name__, type(getattr(module, "engine", None)).__name__
    return "python" if kinds[0] == "PythonTorchTensorRTModule" or kinds[1] == "TRTEngine" else "cpp"


def of_module(module: torch.nn.Module) -> LayerTimer:
    """Return the timer for a module of Torch-TensorRT's."""
    return PythonLayerTimer(module) if runtime_of(module) == "python" else CppLayerTimer(module)


class CppLayerTimer:
    """Time layers by `enable_profiling`, which writes a file after each call with the sums over all calls so far."""

    runtime = "cpp"

    def __init__(self, module: Any) -> None:
        self.module = module
        self.modules: dict[str, str] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._sums: dict[str, float] = {}

    def information(self) -> str:
        return str(self.module.get_layer_info())

    def attach(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._sums = {}
        self.module.enable_profiling(profiling_results_dir=self._folder.name, profile_format="trex")

    def reported(self) -> LayerTimes:
        assert self._folder is not None
        path = next(Path(self._folder.name).glob("*_engine_execution_profile.trace"), None)
        if path is None:
            raise RuntimeError("Torch-TensorRT's C++ runtime wrote no profile of an engine")
        sums = {name: float(ms) for name, ms in _ROW.findall(path.read_text(encoding="utf-8", errors="replace"))}
        times = [(name, max(ms - self._sums.get(name, 0.0), 0.0)) for name, ms in sums.items()]
        self._sums = sums
        return times

    def detach(self) -> None:
        self.module.disable_profiling()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _recorder() -> Any:
    """Return a `tensorrt.IProfiler` that collects what it is told in its list `times`."""
    base = library().IProfiler

    class Recorder(base):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            base.__init__(self)
            self.times: LayerTimes = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append((layer_name, ms))

    return Recorder()


class _Recorded:
    """Time layers by a recorder that is handed to an execution context."""

    _recorder: Any = None

    def reported(self) -> LayerTimes:
        times, self._recorder.times = self._recorder.times, []
        return list(times)


class PythonLayerTimer(_Recorded):
    """Time layers by our own `tensorrt.IProfiler` on the context, which `enable_profiling` then leaves alone."""

    runtime = "python"

    def __init__(self, module: Any) -> None:
        self.module = module
        self.modules: dict[str, str] = {}

    def information(self) -> str:
        return str(self.module.get_layer_info())

    def attach(self) -> None:
        self._recorder = _recorder()
        # The module's own up to 2.12, from 2.13 on that of the engine inside it.
        holder = self.module if hasattr(self.module, "context") else self.module.get_engine()
        holder.context.profiler = self._recorder
        self.module.enable_profiling()

    def detach(self) -> None:
        self.module.disable_profiling()


class EngineLayerTimer(_Recorded):
    """Time layers by TensorRT's own Python API."""

    runtime = "tensorrt"
    module: torch.nn.Module | None = None

    def __init__(self, engine: Engine, modules: dict[str, str]) -> None:
        self._engine, self.modules = engine, modules

    def information(self) -> str:
        return self._engine.information()

    def attach(self) -> None:
        self._recorder = _recorder()
        self._engine.report_to(self._recorder)

    def detach(self) -> None:
        self._engine.report_to(None)
