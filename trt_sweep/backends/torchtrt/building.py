"""Build by the installed Torch-TensorRT: fill in its defaults, run the build, collect what is known of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.backends.engine_store import Store
from trt_sweep.backends.tensorrt import layer_timers, timing_cache
from trt_sweep.backends.torchtrt import installed, loading, stored_engines
from trt_sweep.backends.torchtrt.arguments import with_defaults
from trt_sweep.backends.torchtrt.runtime import (
    binding_of,
    configure_runtime,
    engine_modules,
    runtime_of,
    with_own_contexts,
)
from trt_sweep.config.point import LAYER_NAMES, PointConfig
from trt_sweep.measure.clocks import synchronize
from trt_sweep.results.store import write_json

T = TypeVar("T")


def effective(config: PointConfig, frontend: str) -> PointConfig:
    """Fill in the defaults of the installed Torch-TensorRT; raises SweepError where that is none, or cannot be."""
    loading.require_installed(config.backend)
    if not installed.torch_tensorrt().has(frontend):
        return config  # the row will say so
    config = timing_cache.effective(with_defaults(installed.torch_tensorrt(), config, frontend))
    if frontend not in ("dynamo", "torch_compile"):
        return config
    level = config.optimization_level
    return dataclasses.replace(
        config,
        optimization_level=default_optimization_level() if level is None else level,
        profiling_verbosity=config.profiling_verbosity or LAYER_NAMES,
    )


@functools.cache
def default_optimization_level() -> int | None:
    """Return the level of a fresh builder; None for RTX, which ignores it, and without a GPU to ask."""
    if installed.torch_tensorrt().rtx or not torch.cuda.is_available():
        return None
    trt = importlib.import_module("tensorrt")
    return int(trt.Builder(trt.Logger(trt.Logger.ERROR)).create_builder_config().builder_optimization_level)


def further_arguments(context: BuildContext, frontend: str) -> dict[str, Any]:
    """Return the device, and a file of the point's own for each cache that builds share by default.

    Old files are removed.
    """
    names = installed.torch_tensorrt().cache_paths(frontend)
    caches = {name: context.folder / f"{name.removesuffix('_path')}.bin" for name in names}
    for path in caches.values():
        path.unlink(missing_ok=True)
    if "timing_cache_path" in caches:
        caches["timing_cache_path"] = timing_cache.prepare(context.config, context.folder)
    return {"device": context.device, **{name: str(path) for name, path in caches.items()}}


def built(build: Callable[[], T], context: BuildContext) -> tuple[T, dict[str, Any]]:
    """Return what a compilation gives and the columns that it decides; a warm cache takes two runs."""

    def run(store: Store) -> tuple[T, dict[str, Any]]:
        cache_id = timing_cache.content_id(context.folder / timing_cache.FILE)
        using = dataclasses.replace(context, store=store)
        start = time.perf_counter()
        with torch.cuda.device(context.device), stored_engines.building(using, cache_id) as tally:
            made = build()
            synchronize(context.device)
        took_s = time.perf_counter() - start
        stored = tally.stored if store.folder is not None else None
        return made, {"build_s": tally.build_s(took_s), "engines_stored": stored, "cache_id": cache_id}

    if context.config.cache == "warm":
        run(Store())
    return run(context.store)


def finish(
    modules: Sequence[torch.nn.Module],
    module: Callable[..., Any],
    planned: Compiled,
    context: BuildContext,
    *,
    arguments: dict[str, Any],
    built: dict[str, Any],
) -> Compiled:
    """Return what is known of a build: its engines, in the `modules` behind `module`, and how inputs are bound to it.

    `built` are the columns that the function of that name returned. Raise RuntimeError where there are not as many
    engines as were planned.
    """
    frontend = context.config.backend
    _save_arguments(context.folder, arguments, frontend)
    engines = serialized(modules)
    if len(engines) != planned.partition.engines:
        raise RuntimeError(
            f"{planned.partition.engines} engines were planned and {len(engines)} were built: the row would not say "
            "what ran"
        )
    changes: dict[str, Any] = {**built, **describe(engines)}
    configure_runtime(modules, module, context)
    bind, running, changes["cuda_graphs_method"] = binding_of(modules, module, len(engines), context)
    build = dataclasses.replace(planned.build, **changes)
    inside = [layer_timers.of_module(child) for child in engine_modules(modules)]
    holds = module if isinstance(module, torch.nn.Module) else None
    compiled = dataclasses.replace(
        planned,
        bind=bind,
        running=running,
        build=build,
        runtime=runtime_of(modules),
        layer_timers=inside,
        module=holds,
    )
    if holds is None:
        return compiled

    def another() -> Compiled:
        with torch.cuda.device(context.device):
            copied = with_own_contexts(holds)
        bind, running, _ = binding_of([copied], copied, len(engines), context)
        return dataclasses.replace(compiled, bind=bind, running=running)

    return dataclasses.replace(compiled, another=another)


def _save_arguments(folder: Path, arguments: dict[str, Any], frontend: str) -> None:
    """Keep every argument that the compiler saw, its defaults included."""
    defaults = {name: item.default for name, item in installed.torch_tensorrt().parameters(frontend).items()}
    caches = {name: Path(str(arguments[name])).name for name in installed.torch_tensorrt().cache_paths(frontend)}
    plain = {
        name: sorted(map(str, value)) if isinstance(value, set) else value if _plain(value) else str(value)
        for name, value in (defaults | arguments | caches).items()
    }
    write_json(folder / "compile_arguments.json", plain)


def serialized(modules: Iterable[torch.nn.Module]) -> list[bytes]:
    """Return the engines of compiled modules as they would be saved."""
    return [bytes(child.serialized_engine) for child in engine_modules(modules)]  # type: ignore[arg-type]


def _plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | None)


def describe(engines: list[bytes]) -> dict[str, Any]:
    """Return the size of all engines and the hash that names them; the hash is None without an engine."""
    digest = hashlib.sha256()
    for engine in engines:
        digest.update(hashlib.sha256(engine).digest())
    return {"engine_bytes": sum(map(len, engines)), "engine_id": digest.hexdigest()[:16] if engines else None}
