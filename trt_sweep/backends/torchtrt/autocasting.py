"""Tell Torch-TensorRT's autocast which modules stay in FP32, and which values it may look at."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from typing import Any

import torch

from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, Unsupported, one_line
from trt_sweep.models import mixed, patterns
from trt_sweep.models.model import Model

EXCLUDED = "autocast_excluded_nodes"
SEVERAL = re.compile(r"'(list|tuple)' object has no attribute 'to'")
BY_VALUE = ("autocast_max_output_threshold", "autocast_max_depth_of_reduction")


class _OwnInputs(list[tuple[torch.Tensor, ...]]):
    """The inputs of a point, as the one batch that autocast looks at."""

    def __str__(self) -> str:
        return "the inputs of the point"


def arguments(model: Model, config: PointConfig) -> dict[str, Any]:
    """Return the arguments that depend on the model; raise SweepError for an exclusion that matches no module.

    Autocast looks at values only where it is given a batch of inputs: it gets the point's where a threshold is set.
    """
    found: dict[str, Any] = {}
    given = config.compile.get(EXCLUDED, [])
    for pattern in given:
        _require_match(model.module, pattern)
    # It compares the start of the name of the innermost module that an operator stands in.
    kept = [rf"{re.escape(name)}(\..*)?$" for name in mixed.outermost(model.module, model.keep_fp32)]
    if kept:
        found[EXCLUDED] = {*kept, *given}
    if set(BY_VALUE) & config.compile.keys():
        found["autocast_calibration_dataloader"] = _OwnInputs([model.inputs.tensors])
    return found


def own(program: torch.export.ExportedProgram, arguments: dict[str, Any]) -> torch.export.ExportedProgram:
    """Return a copy for a compilation with autocast, which changes the program that it is given; weights are shared."""
    if not arguments.get("enable_autocast"):
        return program
    shared = (*program.state_dict.values(), *program.constants.values())
    return copy.deepcopy(program, {id(value): value for value in shared})


@contextlib.contextmanager
def explained(arguments: dict[str, Any]) -> Iterator[None]:
    """Raise Unsupported where autocast meets an operator that it cannot take (read and seen in 2.14)."""
    try:
        yield
    except AttributeError as error:
        if not (arguments.get("enable_autocast") and SEVERAL.search(str(error))):
            raise
        raise Unsupported(
            "Torch-TensorRT's autocast fails at an operator that returns several tensors, as split, chunk and unbind "
            "do: use precision=fp16 with keep_fp32, or write the model without it"
        ) from error


def _require_match(module: torch.nn.Module, pattern: str) -> None:
    setting = f"compile.{EXCLUDED}"
    try:
        matched = any(re.match(pattern, name) for name, _ in module.named_modules())
    except re.error as error:
        raise SweepError(f"{setting}={pattern} is no regular expression: {one_line(error)}") from error
    if not matched:
        raise patterns.no_match(module, setting, pattern)
