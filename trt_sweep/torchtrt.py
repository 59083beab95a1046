"""The installed Torch-TensorRT at work: its defaults, its modules' engines, its runtime's settings."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from trt_sweep import api, conversion, loading
from trt_sweep.backends.base import Bind, Call, Compiled, Running, Settings, binding
from trt_sweep.backends.engine_store import Store
from trt_sweep.backends.tensorrt import layer_timers, timing_cache
from trt_sweep.config import sweep
from trt_sweep.config.sweep import NAMES, SweepConfig
from trt_sweep.errors import Unsupported
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models.inputs import inputs_over_range
from trt_sweep.models.model import Inputs
from trt_sweep.results.store import write_json

AXES = frozenset(
    {
        *("min_block_size", "optimization_level", "runtime", "runtime_cache", sweep.SPECIALIZATION),
        *("cache", "cache_snapshot", "profiling_verbosity", "compile"),
    }
)
T = TypeVar("T")


def effective(config: SweepConfig, frontend: str) -> SweepConfig:
    """Fill in the defaults of the installed Torch-TensorRT; raises SweepError where that is none, or cannot be."""
    loading.require_installed(config.backend)
    if not api.torch_tensorrt().has(frontend):
        return config  # the row will say so
    config = timing_cache.effective(api.torch_tensorrt().effective(config, frontend))
    if frontend not in ("dynamo", "torch_compile"):
        return config
    level = config.optimization_level
    return dataclasses.replace(
        config,
        optimization_level=default_optimization_level() if level is None else level,
        profiling_verbosity=config.profiling_verbosity or NAMES,
    )


@functools.cache
def default_optimization_level() -> int | None:
    """The level of a fresh builder; None for RTX, which has no effect of it, and where no builder can be asked."""
    if api.torch_tensorrt().rtx or not torch.cuda.is_available():
        return None
    trt = importlib.import_module("tensorrt")
    return int(trt.Builder(trt.Logger(trt.Logger.ERROR)).create_builder_config().builder_optimization_level)


def further_arguments(settings: Settings, frontend: str) -> dict[str, Any]:
    """The device, and a file of the point's own for each cache that builds share by default; an old one is removed."""
    names = api.torch_tensorrt().cache_paths(frontend)
    caches = {name: settings.folder / f"{name.removesuffix('_path')}.bin" for name in names}
    for path in caches.values():
        path.unlink(missing_ok=True)
    if "timing_cache_path" in caches:
        caches["timing_cache_path"] = timing_cache.prepare(settings.config, settings.folder)
    return {"device": settings.device, **{name: str(path) for name, path in caches.items()}}


def built(build: Callable[[], T], settings: Settings) -> tuple[T, dict[str, Any]]:
    """What a compilation gives, and the columns that it decides; where the cache is to be warm it is run twice."""

    def run(store: Store) -> tuple[T, dict[str, Any]]:
        cache_id = timing_cache.content_id(settings.folder / timing_cache.FILE)
        using = dataclasses.replace(settings, store=store)
        start = time.perf_counter()
        with torch.cuda.device(settings.device), conversion.building(using, cache_id) as tally:
            made = build()
            synchronize(settings.device)
        took_s = time.perf_counter() - start
        stored = tally.stored if store.folder is not None else None
        return made, {"build_s": tally.build_s(took_s), "engines_stored": stored, "cache_id": cache_id}

    if settings.config.cache == "warm":
        run(Store())
    return run(settings.store)


def finish(
    modules: Sequence[torch.nn.Module],
    module: Callable[..., Any],
    planned: Compiled,
    settings: Settings,
    *,
    arguments: dict[str, Any],
    built: dict[str, Any],
) -> Compiled:
    """What is known of a build: its engines, in the `modules` behind `module`, and how inputs are bound to it.

    `built` is what `built` said of it.
    Raises RuntimeError where there are not as many engines as were planned.
    """
    frontend = settings.config.backend
    _save_arguments(settings.folder, arguments, frontend)
    engines = serialized(modules)
    if len(engines) != planned.partition.engines:
        raise RuntimeError(
            f"{planned.partition.engines} engines were planned and {len(engines)} were built: the row would not say "
            "what ran"
        )
    changes: dict[str, Any] = {**built, **describe(engines)}
    configure_runtime(modules, module, settings)
    bind, running, changes["cuda_graphs_method"] = binding_of(module, len(engines), settings)
    build = dataclasses.replace(planned.build, **changes)
    inside = [layer_timers.of_module(child) for child in engine_modules(modules)]
    holds = module if isinstance(module, torch.nn.Module) else None
    return dataclasses.replace(
        planned, bind=bind, running=running, build=build, runtime=runtime_of(modules), probes=inside, module=holds
    )


def _save_arguments(folder: Path, arguments: dict[str, Any], frontend: str) -> None:
    """Keep every argument that the compiler saw, its defaults included."""
    defaults = {name: item.default for name, item in api.torch_tensorrt().parameters(frontend).items()}
    caches = {name: Path(str(arguments[name])).name for name in api.torch_tensorrt().cache_paths(frontend)}
    plain = {
        name: sorted(map(str, value)) if isinstance(value, set) else value if _plain(value) else str(value)
        for name, value in (defaults | arguments | caches).items()
    }
    write_json(folder / "compile_arguments.json", plain)


def engine_modules(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Module]:
    """The modules that hold an engine, in the order of the submodules."""
    found = (child for module in modules for _, child in module.named_modules())
    return [child for child in found if getattr(child, "serialized_engine", None)]


def serialized(modules: Iterable[torch.nn.Module]) -> list[bytes]:
    """The engines of compiled modules as they would be saved."""
    return [bytes(child.serialized_engine) for child in engine_modules(modules)]  # type: ignore[arg-type]


def _plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | None)


def describe(engines: list[bytes]) -> dict[str, Any]:
    """Size of the engines together, and the hash that names them; the hash is None without an engine."""
    digest = hashlib.sha256()
    for engine in engines:
        digest.update(hashlib.sha256(engine).digest())
    return {"engine_bytes": sum(map(len, engines)), "engine_id": digest.hexdigest()[:16] if engines else None}


def runtime_of(modules: Iterable[torch.nn.Module]) -> str | None:
    """The runtime that executes the engines of compiled modules; None without an engine."""
    return next((layer_timers.runtime_of(child) for child in engine_modules(modules)), None)


def configure_runtime(modules: Sequence[torch.nn.Module], module: Callable[..., Any], settings: Settings) -> None:
    """Give RTX's engines their runtime cache and specialization strategy, until the point ends (2.13 on).

    A cold cache is an empty one; a warm one was filled by calls of `module`, saved and loaded again into new execution
    contexts. Without `runtime_cache` none is attached: the library's default is a file that all
    processes of a user share, and the order of the points would show in their first calls.
    """
    if not api.torch_tensorrt().runtime_settings:
        return
    runtime = importlib.import_module("torch_tensorrt.runtime")
    config = settings.config
    strategy = getattr(config, sweep.SPECIALIZATION)
    chosen: dict[str, Any] = {} if strategy is None else {sweep.SPECIALIZATION: strategy}
    path = settings.folder / "runtime_cache.bin"
    path.unlink(missing_ok=True)

    def attach(cache: Any, stack: contextlib.ExitStack) -> None:
        for behind in modules:
            stack.enter_context(runtime.runtime_config(behind, runtime_cache=cache, **chosen))

    if config.runtime_cache == "warm":
        filled = runtime.RuntimeCache(str(path))
        with contextlib.ExitStack() as once:
            attach(filled, once)
            for inputs in inputs_over_range(config, settings.device):
                cast = inputs.to(settings.dtype)
                module(*cast.args, **cast.kwargs)
            synchronize(settings.device)
            filled.save()
    cache = None if config.runtime_cache is None else runtime.RuntimeCache(str(path))
    if cache is not None:
        cache.load()
    attach(cache, settings.stack)


def binding_of(module: Any, engines: int, settings: Settings) -> tuple[Bind, Running, str | None]:
    """How inputs become a call of a compiled module, in which context, and the `cuda_graphs_method` behind it.

    CUDA graphs are Torch-TensorRT's own, whose switch is the whole process's, so that they are on while this point runs
    only: one graph of the whole module where operators stay in PyTorch, otherwise RTX's native graphs where the version
    has them, or one graph per engine. Raises Unsupported where there is no engine to capture.
    """
    if not settings.config.cuda_graphs:
        return binding(module, settings), contextlib.nullcontext, None
    runtime = importlib.import_module("torch_tensorrt.runtime")
    in_torch = any("_run_on_gpu" in name for name, _ in module.named_children())
    if not engines and not in_torch:
        raise Unsupported("cuda_graphs=true: Torch-TensorRT captures engines, and there is none here")
    native = api.torch_tensorrt().runtime_settings and not in_torch  # RTX's would be nested in the module's
    how = {"cuda_graph_strategy": "whole_graph_capture"} if native else {}
    now: dict[str, Any] = {}

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        with contextlib.ExitStack() as now["stack"]:
            yield
        now.clear()

    def bind(inputs: Inputs) -> Call:
        own = inputs.to(settings.dtype)

        def call() -> Any:
            if "module" not in now:  # at the first call, which is then what a deployment pays
                now["module"] = now["stack"].enter_context(runtime.enable_cudagraphs(module, **how))
            return now["module"](*own.args, **own.kwargs)

        return call

    return bind, running, "rtx" if native else "torch_tensorrt_module" if in_torch else "torch_tensorrt_engine"
