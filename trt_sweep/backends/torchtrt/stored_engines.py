"""Ask the store first where Torch-TensorRT turns a part of the graph into an engine.

Its own engine cache is left off. Under immutable weights, the default, it does nothing, and its key leaves out the
arguments of operators.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import time
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.fx.node import map_arg

from trt_sweep.backends import engine_store
from trt_sweep.backends.base import BuildContext
from trt_sweep.backends.engine_store import Tally
from trt_sweep.backends.tensorrt import library
from trt_sweep.backends.torchtrt import installed
from trt_sweep.backends.torchtrt.arguments import ignored_axes
from trt_sweep.machine import versions

# Settings that decide what goes into engines, where files are or how engines run, but not what one of them is.
NO_EFFECT = frozenset(
    {
        "min_block_size",
        "torch_executed_ops",
        "require_full_compilation",
        "pass_through_build_failures",
        "dryrun",
        "timing_cache_path",
        "runtime_cache_path",
        "lazy_engine_init",
        "cache_built_engines",
        "reuse_cached_engines",
        "use_python_runtime",
    }
)


@contextlib.contextmanager
def building(context: BuildContext, cache_id: str | None) -> Iterator[Tally]:
    """Take engines from `context.store` where it has them, and yield the tally of how many.

    `cache_id` names what the timing cache holds at the start.
    """
    conversion = importlib.import_module("torch_tensorrt.dynamo.conversion._conversion")
    convert, result_type = conversion.interpret_module_to_result, conversion.SerializedInterpreterResult
    ignored = frozenset(ignored_axes(installed.torch_tensorrt(), context.config, context.config.backend))
    ignored -= {"disable_tf32"}  # it changes no output, but the bytes of an engine
    tally = Tally()

    def converted(module: torch.fx.GraphModule, inputs: Any, compilation: Any, *args: Any, **kwargs: Any) -> Any:
        def depends_on() -> dict[str, Any]:
            return {
                "graph": _graph(module),
                "inputs": [str(each) for each in inputs],
                "settings": engine_store.settings_of(compilation, NO_EFFECT | ignored),
                "converters": _converters(),
                "timing_cache": [context.config.cache, cache_id],
                "profiling_verbosity": context.config.profiling_verbosity,
                **engine_store.surroundings(versions.environment(context.device)),
            }

        # Of the graph alone, by sympy and torch's types: found anew rather than stored. Converting empties the module.
        of_graph = {"symbolic_shape_expressions": conversion.extract_symbolic_shape_expressions(module)}

        def make() -> tuple[bytes, dict[str, Any]]:
            details = convert(module, inputs, compilation, *args, **kwargs)._asdict()
            engine = details.pop("serialized_engine")
            return engine, {name: value for name, value in details.items() if name not in of_graph}

        start = time.perf_counter()
        with context.building():
            built = context.store.build(depends_on, make)
        tally.add(built, time.perf_counter() - start)
        return result_type(serialized_engine=built.engine, **built.details, **of_graph)

    with (
        mock.patch.object(conversion, "interpret_module_to_result", converted),
        _telling(context.config.profiling_verbosity),
    ):
        yield tally


@contextlib.contextmanager
def _telling(profiling_verbosity: str | None) -> Iterator[None]:
    """Make engines tell this much of their layers.

    Torch-TensorRT offers its debugger for that, which also logs and watches the build. The builder's own setting does
    the same without slowing it.
    """
    if profiling_verbosity is None:
        yield
        return
    interpreter = importlib.import_module("torch_tensorrt.dynamo.conversion._TRTInterpreter").TRTInterpreter
    populate = interpreter._populate_trt_builder_config

    def populated(self: Any, *args: Any, **kwargs: Any) -> Any:
        config = populate(self, *args, **kwargs)
        config.profiling_verbosity = library.verbosity(profiling_verbosity)
        return config

    with mock.patch.object(interpreter, "_populate_trt_builder_config", populated):
        yield


def _graph(module: torch.fx.GraphModule) -> list[list[str]]:
    """Return each node with its arguments and its result's type or weights, and the names, which an engine bears."""
    rows = []
    for node in module.graph.nodes:
        arguments = map_arg((node.args, node.kwargs), lambda each: each.name)
        value = node.meta.get("val")
        shape = [str(value.dtype), str(tuple(value.shape))] if isinstance(value, torch.Tensor) else []
        held = _content(attrgetter(str(node.target))(module)) if node.op in ("get_attr", "call_module") else []
        rows.append([node.op, node.name, str(node.target), repr(arguments), *shape, *held])
    return rows


def _content(held: Any) -> list[str]:
    if isinstance(held, torch.nn.Module):
        return [type(held).__qualname__, *(each for item in held.state_dict().values() for each in _content(item))]
    if not isinstance(held, torch.Tensor):
        return [repr(held)]
    data = held.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return [str(held.dtype), str(tuple(held.shape)), hashlib.sha256(data.data).hexdigest()]


def _converters() -> dict[str, str]:
    """Return the files of converters that are not Torch-TensorRT's own, by name."""
    registry = importlib.import_module("torch_tensorrt.dynamo.conversion._ConverterRegistry")
    found = {}
    for listed in registry.DYNAMO_ATEN_CONVERTERS.values():
        for support in listed:
            function = inspect.unwrap(support.converter_implementation)
            if not (function.__module__ or "").startswith("torch_tensorrt."):
                source = Path(inspect.getsourcefile(function) or "").read_bytes()
                found[f"{function.__module__}.{function.__qualname__}"] = hashlib.sha256(source).hexdigest()
    return found
