"""Quantize models by a method that is found by its name: one file in `methods` each. To add one, add its file.

A method is a module with
- `PRECISION`: what it quantizes to, int8, fp8 or int4
- `PACKAGES`: the packages that it needs, by the names that are imported
- `CALIBRATES`: whether it needs calibration data
- `ONE_SIZE`: True where its result works at the batch size of its data only; may be left out
- `RECIPE`: the library's name for it, where that library's file (`_modelopt`, `_torchao`) has a REPRODUCTION
- `quantize(model, dtype, data, skipped)`: returns a `Quantized`, or raises Unsupported with the reason
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol, cast

import torch

from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.point import AUTO, PointConfig
from trt_sweep.errors import SweepError, Unsupported, one_line
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models import patterns
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import DTYPE, Inputs, Model, float32_mode
from trt_sweep.models.quantization import calibration, methods
from trt_sweep.results.columns import Quantization


class NothingQuantized(SweepError):
    """Report that no layer was quantized: the method takes none, or `quantization.skip` leaves none."""


@dataclass(frozen=True)
class Quantized:
    """Hold a quantized module, which is not cast any more, and the number of its quantized layers.

    torch.export and Torch-TensorRT must run inside the context that `lowering` makes, see `Model`.
    """

    module: torch.nn.Module
    layers: int
    lowering: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext


class Method(Protocol):
    """Describe what a module in `methods` must offer."""

    PRECISION: str
    PACKAGES: tuple[str, ...]
    CALIBRATES: bool

    def quantize(self, model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
        """Return a quantized copy of a model in FP32; what is not quantized has `dtype`.

        `data` are FP32 batches, empty unless CALIBRATES. `skipped` names the modules that are not quantized.
        """


def method_names() -> list[str]:
    """Return the names of all methods."""
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__) if not module.name.startswith("_"))


def get_method(name: str) -> Method:
    """Return the method of that name; raise SweepError where there is none, or a package that it needs is missing."""
    if name not in method_names():
        near = get_close_matches(name, method_names(), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(method_names())}"
        raise SweepError(f"quantization.method={name} is not known: {hint}")
    method = cast(Method, importlib.import_module(f"{methods.__name__}.{name}"))
    missing = [package for package in method.PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SweepError(
            f"quantization.method={name} needs {' and '.join(missing)}, which this Python has not: "
            "pip install 'trt-sweep[quantization]'"
        )
    return method


def resolve(config: PointConfig) -> PointConfig:
    """Resolve `precision=auto`, and reset fields that are not used.

    Raises SweepError where method and precision do not fit.
    """
    own, precision = config.quantization, config.precision
    if precision == AUTO:
        precision = get_method(own.method).PRECISION if own.method is not None else "fp16"
        config = dataclasses.replace(config, precision=precision)
    if not config.quantized:
        return dataclasses.replace(config, quantization=QuantizationConfig())
    if own.method is None:
        able = [name for name in method_names() if name.split("_", 1)[1].startswith(precision)]
        raise SweepError(f"precision={precision} needs quantization.method: use one of {', '.join(able)}")
    method = get_method(own.method)
    if precision != method.PRECISION:
        raise SweepError(
            f"quantization.method={own.method} goes with precision={method.PRECISION}, not {precision}: "
            "precision=auto takes the one that each method goes with"
        )
    if not method.CALIBRATES:
        unused = QuantizationConfig()
        own = dataclasses.replace(own, calibration=unused.calibration, samples=unused.samples)
    return dataclasses.replace(config, quantization=own)


def quantize_cached(
    model: Model, config: PointConfig, device: torch.device, cache: ProcessCache
) -> tuple[Model, Quantization]:
    """Return the model for the backends, quantized if the precision asks for it, and the columns of the record.

    It is quantized once for all points. Calibration sees the same samples at every batch size, so one quantized module
    serves all sizes, unless the method has ONE_SIZE. Raises SweepError for data and patterns that do not fit the model,
    Unsupported where the method cannot take it.
    """
    if not config.quantized:
        return model, Quantization()
    name = config.quantization.method
    one_size = name is not None and getattr(get_method(name), "ONE_SIZE", False)
    key = ("quantized", (config if one_size else config.unsized).quantized_key, str(device))
    made, facts = cache.get_or_make(key, torch.no_grad()(lambda: quantize(model, config, device)))
    return dataclasses.replace(made, inputs=model.inputs, dynamic=model.dynamic), facts


def quantize(model: Model, config: PointConfig, device: torch.device) -> tuple[Model, Quantization]:
    """Quantize a model in FP32; return it with the columns of the record.

    Raises what `quantize_cached` raises.
    """
    name = config.quantization.method
    if name is None:  # the backend does not use it
        raise Unsupported(
            f"precision={config.precision}: backend={config.backend} is given no quantized models here; use "
            "backend=dynamo, or backend=eager for the fake-quantized model in PyTorch"
        )
    method, skipped = get_method(name), patterns.within(model.module, config.quantization.skip, "quantization.skip")
    model = dataclasses.replace(model, inputs=model.inputs.to(torch.float32), as_given=None)
    data = calibration.batches(config, device) if method.CALIBRATES else []
    start = time.perf_counter()
    with torch.no_grad(), float32_mode("fp32"):
        try:
            made = method.quantize(model, DTYPE[config.base_precision], data, skipped)
        except (ImportError, NotImplementedError, AssertionError) as error:
            raise Unsupported(f"quantization.method={name}: {one_line(error)}") from error
    synchronize(device)
    if not made.layers:
        raise NothingQuantized(f"quantization.method={name} quantizes no layer of this model: check quantization.skip")
    facts = Quantization(quantized_layers=made.layers, quantization_s=time.perf_counter() - start)
    return dataclasses.replace(model, module=made.module, typed=True, lowering=made.lowering), facts
