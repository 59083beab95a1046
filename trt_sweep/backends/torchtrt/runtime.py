"""Set up the runtime of compiled modules, and bind inputs to their calls."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from trt_sweep.backends.base import Bind, BuildContext, Call, Running, binding
from trt_sweep.backends.tensorrt import layer_timers
from trt_sweep.backends.torchtrt import installed
from trt_sweep.config import point
from trt_sweep.errors import Unsupported
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models.inputs import inputs_over_range
from trt_sweep.models.model import Inputs


def engine_modules(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Module]:
    """Return the modules that hold an engine, in the order of the submodules."""
    found = (child for module in modules for _, child in module.named_modules())
    return [child for child in found if getattr(child, "serialized_engine", None)]


def runtime_of(modules: Iterable[torch.nn.Module]) -> str | None:
    """Return the runtime that executes the engines of compiled modules; None without an engine."""
    return next((layer_timers.runtime_of(child) for child in engine_modules(modules)), None)


def with_own_contexts(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a compiled module whose engines are loaded once more; weights in torch are shared.

    A deep copy would share the engines too, and with them the execution context, which is for one thread.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    shared |= {id(child): _loaded_again(child) for child in engine_modules([module])}
    return copy.deepcopy(module, shared)


def _loaded_again(child: Any) -> torch.nn.Module:
    """Return a copy of a module with an engine, which is deserialized anew and has the settings of the first."""
    found = copy.copy(child)
    found.engine = None
    if hasattr(child, "runtime_settings"):  # they are taken out of what is copied
        found._runtime_settings = child.runtime_settings
    if hasattr(child, "runtime_states"):  # of the Python runtime up to 2.12, what it knows of its last call
        found.runtime_states = copy.copy(child.runtime_states)
    found.setup_engine()
    loaded: torch.nn.Module = found
    return loaded


def configure_runtime(modules: Sequence[torch.nn.Module], module: Callable[..., Any], context: BuildContext) -> None:
    """Give RTX's engines their runtime cache and specialization strategy, until the point ends (2.13 on).

    A cold cache is an empty one; a warm one was filled by calls of `module`, saved and loaded again into new execution
    contexts. Without `runtime_cache` none is attached: the library's default is a file that all
    processes of a user share, and the order of the points would show in their first calls.
    """
    if not installed.torch_tensorrt().runtime_settings:
        return
    runtime = importlib.import_module("torch_tensorrt.runtime")
    config = context.config
    strategy = getattr(config, point.SPECIALIZATION)
    chosen: dict[str, Any] = {} if strategy is None else {point.SPECIALIZATION: strategy}
    path = context.folder / "runtime_cache.bin"
    path.unlink(missing_ok=True)

    def attach(cache: Any, stack: contextlib.ExitStack) -> None:
        for behind in modules:
            stack.enter_context(runtime.runtime_config(behind, runtime_cache=cache, **chosen))

    if config.runtime_cache == "warm":
        filled = runtime.RuntimeCache(str(path))
        with contextlib.ExitStack() as once:
            attach(filled, once)
            for inputs in inputs_over_range(config, context.device):
                cast = inputs.to(context.dtype)
                module(*cast.args, **cast.kwargs)
            synchronize(context.device)
            filled.save()
    cache = None if config.runtime_cache is None else runtime.RuntimeCache(str(path))
    if cache is not None:
        cache.load()
    attach(cache, context.stack)


def binding_of(
    modules: Sequence[torch.nn.Module], module: Callable[..., Any], engines: int, context: BuildContext
) -> tuple[Bind, Running, str | None]:
    """Return how inputs become a call of `module`, in which context, and its `cuda_graphs_method`.

    `modules` hold its engines. CUDA graphs are Torch-TensorRT's own. Their switch is the whole process's, so it is on
    only while this point runs. There is one graph of the whole module where operators stay in PyTorch, otherwise RTX's
    native graphs where the version has them, or one graph per engine. RTX's are a setting of the engines, which stays
    until the point ends: each change of it makes new execution contexts, whose kernels are compiled again. What
    torch.compile hands out is a function, and its engines are captured one by one. Raise Unsupported where there is no
    engine to capture.
    """
    if not context.config.cuda_graphs:
        return binding(module, context), contextlib.nullcontext, None
    in_torch = any("_run_on_gpu" in name for each in modules for name, _ in each.named_children())
    if not engines and not in_torch:
        raise Unsupported("cuda_graphs=true: Torch-TensorRT captures engines, and there is none here")
    whole = in_torch and isinstance(module, torch.nn.Module)
    native = installed.torch_tensorrt().runtime_settings and not whole  # RTX's would be nested in the module's
    if native:
        config = importlib.import_module("torch_tensorrt.runtime").runtime_config
        context.stack.enter_context(config([*modules], cuda_graph_strategy="whole_graph_capture"))
    now: dict[str, Any] = {}

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        try:
            with contextlib.ExitStack() as now["stack"]:
                yield
        finally:  # the next point of this build captures anew
            now.clear()

    def bind(inputs: Inputs) -> Call:
        own = inputs.to(context.dtype)

        def call() -> Any:
            if "module" not in now:  # at the first call, which is then what a deployment pays
                now["module"] = now["stack"].enter_context(_captured(module))
            return now["module"](*own.args, **own.kwargs)

        return call

    return bind, running, "rtx" if native else "torch_tensorrt_module" if whole else "torch_tensorrt_engine"


@contextlib.contextmanager
def _captured(module: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Switch Torch-TensorRT's CUDA graphs on, and yield what to call."""
    runtime = importlib.import_module("torch_tensorrt.runtime")
    with contextlib.ExitStack() as stack:
        if isinstance(module, torch.nn.Module):
            yield stack.enter_context(runtime.enable_cudagraphs(module))
            return
        stack.callback(runtime.set_cudagraphs_mode, runtime.get_cudagraphs_mode())
        runtime.set_cudagraphs_mode(True)
        yield module
