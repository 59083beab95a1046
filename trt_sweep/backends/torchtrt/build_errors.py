"""Raise Unsupported in the builder's own words where Torch-TensorRT or TensorRT refuses a program."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch

from trt_sweep.backends.torchtrt import installed, partitioner
from trt_sweep.errors import NO_MEMORY, Refused, Unsupported, one_line


class _Errors(logging.Handler):
    """Collect what TensorRT logs as an error: its builder returns None, and says why nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise Unsupported, in the library's own words, where the builder refuses a network; Refused for a converter."""
    logger = logging.getLogger("torch_tensorrt [TensorRT Conversion Context]")
    errors = _Errors()
    logger.addHandler(errors)
    try:
        yield
    except Exception as error:
        # torch.fx says which node was being converted; the builder gives None, which the library asserts or raises.
        reason, converting, _ = str(error).partition("While executing")
        refused = converting or "build_serialized_network" in reason or isinstance(error, AssertionError)
        said = errors.said[-1] if errors.said else reason
        if not refused or NO_MEMORY.search(f"{said} {error}"):
            raise
        kind = Refused if converting else Unsupported
        raise kind(
            f"{what}: {installed.torch_tensorrt().name} refuses it: {one_line(Unsupported(said), 400)}"
        ) from error
    finally:
        logger.removeHandler(errors)


class _Stub(torch.nn.Module):
    """Stand in for an engine's module."""

    def set_output_tensors_as_unowned(self, unowned: bool) -> None:
        """Do nothing: no one runs it."""


@contextlib.contextmanager
def building_on_the_cpu() -> Iterator[list[bytes]]:
    """Let `torch_tensorrt.dynamo.compile` put its engines into the yielded list and load none, so it needs no GPU.

    Each is built for whatever the builder builds for by default. TensorRT-RTX's builds without a GPU; the standard
    one's does not, and then raises what the library does.
    """
    compiler = importlib.import_module("torch_tensorrt.dynamo._compiler")
    conversion: Any = importlib.import_module("torch_tensorrt.dynamo.conversion._conversion")
    engines: list[bytes] = []

    def convert(module: torch.fx.GraphModule, inputs: Any, settings: Any, *_: Any, **__: Any) -> _Stub:
        types = conversion.infer_module_output_dtypes(module, truncate_double=settings.truncate_double)
        interpreter = conversion.TRTInterpreter(module, inputs, output_dtypes=types, compilation_settings=settings)
        interpreter._construct_trt_network_def()
        built = interpreter.builder.build_serialized_network(
            interpreter.ctx.net, interpreter._populate_trt_builder_config()
        )
        if built is None:
            raise RuntimeError("build_serialized_network returned None")
        engines.append(bytes(built))
        return _Stub()

    with partitioner.trackers(), mock.patch.object(compiler, "convert_module", convert):
        yield engines
