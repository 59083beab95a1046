"""Convert what was planned for engines, so that a dry run tells what is refused."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from trt_sweep.backends.base import BuildContext, Compiled, GraphDryRun
from trt_sweep.backends.torchtrt import build_errors, installed, partitioner
from trt_sweep.errors import Unsupported
from trt_sweep.models.model import Model

log = logging.getLogger(__name__)


def checked(
    planned: Compiled, graphs: Callable[[], list[GraphDryRun]], model: Model, context: BuildContext
) -> Compiled:
    """Return the plan of a dry run; raise Unsupported for what a build would refuse, as the build itself would.

    `graphs()` are partitioned. Each partition is converted once, to TensorRT's networks, from which nothing is built:
    that takes tenths of a second. TensorRT-RTX makes networks without a GPU. The standard one does not, and then
    nothing is said. Plans that are no dry runs come back as they are.
    """
    config, rtx = context.config, installed.torch_tensorrt().rtx
    if not config.dryrun or not (rtx or torch.cuda.is_available()):
        return planned
    context.phase("build")
    # The partitioner takes every quantize node; whether there is an engine for it is known to the builder alone.
    builds = config.quantized and rtx

    def tried() -> tuple[int | None, Unsupported | None]:
        try:
            with build_errors.explained(build_errors.what(config)), model.lowering():
                sizes = _converted(graphs(), builds)
        except Unsupported as error:
            return None, type(error)(str(error))  # without its traceback, which holds the graphs
        except Exception:  # a lack of memory or of a GPU here says nothing of a build there
            log.warning("the networks could not be made, so that nothing is known of them", exc_info=True)
            return None, None
        return sum(sizes) if builds else None, None

    size, refused = context.once(f"conversion {planned.partition.partition_id}", tried)
    if refused is not None:
        raise type(refused)(str(refused))
    return replace(planned, build=replace(planned.build, engine_bytes=size))


def _converted(graphs: list[GraphDryRun], builds: bool) -> list[int]:
    """Convert each part that is to be an engine; return their sizes where they are built, too."""
    sizes = []
    with partitioner.trackers(), torch.no_grad():
        for tracker, graph in graphs:
            for name, child in graph.named_children():
                if partitioner.is_engine(name) and isinstance(child, torch.fx.GraphModule):
                    interpreter = _network(child, tracker.compilation_settings)
                    sizes += [_built(interpreter)] if builds else []
    return sizes


def _network(module: torch.fx.GraphModule, settings: Any) -> Any:
    """Return the library's interpreter with the network that it makes of a part of the graph, as before each build."""
    library: Any = importlib.import_module("torch_tensorrt.dynamo.conversion._conversion")
    partitioning = importlib.import_module("torch_tensorrt.dynamo.partitioning")
    interpreter = library.TRTInterpreter(
        module,
        partitioning.construct_submodule_inputs(module),
        output_dtypes=library.infer_module_output_dtypes(module, truncate_double=settings.truncate_double),
        compilation_settings=settings,
    )
    interpreter._construct_trt_network_def()
    return interpreter


def _built(interpreter: Any) -> int:
    """Return the size of the engine that TensorRT-RTX builds, for whatever it builds for by default."""
    config = interpreter._populate_trt_builder_config()
    engine = interpreter.builder.build_serialized_network(interpreter.ctx.net, config)
    if engine is None:
        raise RuntimeError("build_serialized_network returned None")
    return int(engine.nbytes)
