"""All that is known of the installed Torch-TensorRT: how to import it, what it accepts, what it ignores."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch

from trt_sweep import gpu
from trt_sweep.config import SweepConfig
from trt_sweep.errors import SweepError, Unsupported, one_line

ASSUMED_CAPABILITY = (9, 0)  # planned for where there is no GPU; recorded in the row
ASSUMED_MEMORY = 64 << 30


def require_installed() -> None:
    """Raise SweepError where no Torch-TensorRT that could work is installed; imports nothing."""
    if gpu.flavor() is None:
        raise SweepError(
            "backend=dynamo needs Torch-TensorRT, which is not installed: pip install 'trt-sweep[rtx]' "
            "(or 'trt-sweep[tensorrt]' from NVIDIA's package index), or use backend=eager or backend=inductor"
        )
    if torch.version.cuda is None:
        raise SweepError(
            f"backend=dynamo needs a CUDA build of torch, and {torch.__version__} is not one: reinstall torch "
            "from the default index, or use backend=eager or backend=inductor"
        )


@functools.cache
def load() -> ModuleType:
    """Import torch_tensorrt once (10 s or more), without a GPU too; raises SweepError where that fails."""
    require_installed()
    try:
        with assumed_gpu(), _without_broken_plugin():
            module = importlib.import_module("torch_tensorrt")
            importlib.import_module("torch_tensorrt.dynamo")
            importlib.import_module("torch_tensorrt.dynamo._compiler")
    except Exception as error:
        raise SweepError(
            f"torch_tensorrt cannot be imported ({one_line(error, 200)}): reinstall it together with the torch it was "
            "built for, pip install --upgrade --force-reinstall 'trt-sweep[rtx]'"
        ) from error
    return module


@contextlib.contextmanager
def assumed_gpu() -> Iterator[None]:
    """Where there is no GPU, answer the questions that Torch-TensorRT asks of one while it imports and plans.

    Yields with nothing changed where there is a GPU.
    """
    if torch.cuda.is_available():
        yield
        return
    major, minor = ASSUMED_CAPABILITY
    properties = SimpleNamespace(
        name="assumed", major=major, minor=minor, total_memory=ASSUMED_MEMORY, multi_processor_count=132
    )
    answers = {
        "get_device_capability": lambda *_: ASSUMED_CAPABILITY,
        "current_device": lambda: 0,
        "mem_get_info": lambda *_: (ASSUMED_MEMORY, ASSUMED_MEMORY),
        "get_device_properties": lambda *_: properties,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        yield


@contextlib.contextmanager
def _without_broken_plugin() -> Iterator[None]:
    """tensorrt_rtx ships a plugin package that cannot be imported; torch_tensorrt 2.11 trips over it: hide it."""
    find_spec = importlib.util.find_spec

    def guarded(name: str, package: str | None = None) -> Any:
        try:
            return find_spec(name, package)
        except ModuleNotFoundError:
            if name.startswith("tensorrt.plugin"):
                return None
            raise

    with mock.patch.object(importlib.util, "find_spec", guarded):
        yield


def is_rtx() -> bool:
    """Whether the installed flavour is TensorRT-RTX."""
    return bool(load().ENABLED_FEATURES.tensorrt_rtx)


def default_of(name: str) -> Any:
    """The default of an argument of `torch_tensorrt.dynamo.compile`; raises KeyError where it has none such."""
    return inspect.signature(load().dynamo.compile).parameters[name].default


@functools.cache
def default_optimization_level() -> int | None:
    """The level of a fresh builder; None for RTX, which has no effect of it, and where no builder can be asked."""
    if is_rtx() or not torch.cuda.is_available():
        return None
    trt = importlib.import_module("tensorrt")
    return int(trt.Builder(trt.Logger(trt.Logger.ERROR)).create_builder_config().builder_optimization_level)


def runtimes() -> tuple[str, ...]:
    """The runtimes that can be asked for, the default first.

    Up to 2.12 there are two modules, and `use_python_runtime` chooses. From 2.13 on they are one, which runs engines
    through the C++ extension where that is there and in Python where it is not.
    """
    torch_tensorrt = load()
    have_cpp = bool(torch_tensorrt.ENABLED_FEATURES.torch_tensorrt_runtime)
    runtime = importlib.import_module("torch_tensorrt.dynamo.runtime")
    if not hasattr(runtime, "PythonTorchTensorRTModule"):
        return ("cpp",) if have_cpp else ("python",)
    if not have_cpp:
        return ("python",)
    return ("python", "cpp") if default_of("use_python_runtime") else ("cpp", "python")


def arguments(config: SweepConfig) -> tuple[dict[str, Any], list[str]]:
    """Keyword arguments of `torch_tensorrt.dynamo.compile` for a point, and the axes that it accepts without effect.

    Raises Unsupported where the installed version cannot do what the point asks for.
    """
    wanted: dict[str, Any] = {
        "disable_tf32": config.precision != "tf32",
        "min_block_size": config.min_block_size,
        "optimization_level": config.optimization_level,
        # An engine cache answers with engines of other settings: its key leaves some out.
        "cache_built_engines": False,
        "reuse_cached_engines": False,
    }
    if config.runtime is not None:
        have = runtimes()
        if config.runtime not in have:
            raise Unsupported(
                f"runtime={config.runtime}: torch_tensorrt {load().__version__} runs engines in its {have[0]} runtime "
                "only; leave runtime out"
            )
        if len(have) > 1:
            wanted["use_python_runtime"] = config.runtime == "python"
    passed = {name: value for name, value in wanted.items() if value is not None}
    parameters = inspect.signature(load().dynamo.compile).parameters
    for name in passed:
        if name not in parameters:
            raise Unsupported(f"{name}: torch_tensorrt {load().__version__} has no such compilation argument")
    return passed, _ignored(config)


def _ignored(config: SweepConfig) -> list[str]:
    """What this flavour and version accepts without effect, as far as that was measured.

    TensorRT-RTX builds byte-identical engines at every optimization level. Release 1.4 computes FP32 in TF32 whether
    `disable_tf32` is set or not: on an H200 the outputs of resnet18, of one convolution and of one linear layer were
    equal to the last bit, 3e-4 away from eager without TF32.
    """
    found = []
    if is_rtx():
        if config.optimization_level is not None:
            found.append("optimization_level")
        if config.precision == "fp32" and (gpu.version("tensorrt-rtx", "tensorrt-rtx-cu13") or "").startswith("1.4."):
            found.append("disable_tf32")
    return found


def cache_paths() -> list[str]:
    """The arguments that name a cache file which builds share by default."""
    parameters = inspect.signature(load().dynamo.compile).parameters
    return [name for name in ("timing_cache_path", "runtime_cache_path") if name in parameters]


def engines(module: torch.nn.Module) -> list[bytes]:
    """The serialized engines of a compiled module, in the order of its submodules."""
    found = (getattr(child, "serialized_engine", None) for _, child in module.named_modules())
    return [bytes(engine) for engine in found if engine]


def runtime_of(module: torch.nn.Module) -> str | None:
    """The runtime that executes the engines of a compiled module; None without an engine."""
    for _, child in module.named_modules():
        if getattr(child, "serialized_engine", None):
            # Up to 2.12 the module is another one, from 2.13 on the engine inside it.
            kinds = type(child).__name__, type(getattr(child, "engine", None)).__name__
            return "python" if kinds[0] == "PythonTorchTensorRTModule" or kinds[1] == "TRTEngine" else "cpp"
    return None
