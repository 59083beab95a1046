"""The methods that quantize a model, one file each, found by name: to add one, add its file.

A method is a module of this package with
- `PRECISION`: what it quantizes to, int8, fp8 or int4
- `PACKAGES`: what must be installed for it, by the names that are imported
- `CALIBRATES`: whether it looks at data
- `ONE_SIZE`, where that is so: what it makes is for the batch size of its data only
- `RECIPE`, the library's name for it, where the file of that library (`_modelopt`, `_torchao`) has a REPRODUCTION
- `quantize(model, dtype, data, skipped)`: a `Quantized`, or Unsupported with the reason
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
from fnmatch import fnmatchcase
from typing import Any, Protocol, cast

import torch

from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.sweep import AUTO, SweepConfig
from trt_sweep.errors import SweepError, Unsupported, one_line
from trt_sweep.measure.clocks import synchronize
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import DTYPE, Inputs, Model, float32_mode
from trt_sweep.models.quantization import calibration, methods
from trt_sweep.results.columns import Quantization


class NothingQuantized(SweepError):
    """The method takes no layer of the model, or `quantization.skip` leaves none."""


@dataclass(frozen=True)
class Quantized:
    """A module whose weights have the types that they are to have, and how many of its layers are quantized.

    `lowering` gives what torch.export and Torch-TensorRT need around them, see `Model`.
    """

    module: torch.nn.Module
    layers: int
    lowering: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext


class Method(Protocol):
    PRECISION: str
    PACKAGES: tuple[str, ...]
    CALIBRATES: bool

    def quantize(self, model: Model, dtype: torch.dtype, data: list[Inputs], skipped: set[str]) -> Quantized:
        """`model` in FP32 stays as it is; `dtype` is the type beside what is quantized.

        `data` are FP32 batches, empty unless CALIBRATES; `skipped` the modules to be left as they are.
        """


def names() -> list[str]:
    """The methods there are."""
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__) if not module.name.startswith("_"))


def get(name: str) -> Method:
    """The method of that name; raises SweepError where there is none, or its package is missing."""
    if name not in names():
        near = get_close_matches(name, names(), 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names())}"
        raise SweepError(f"quantization.method={name} is not known: {hint}")
    method = cast(Method, importlib.import_module(f"{methods.__name__}.{name}"))
    missing = [package for package in method.PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SweepError(
            f"quantization.method={name} needs {' and '.join(missing)}, which this Python has not: "
            "pip install 'trt-sweep[quantization]'"
        )
    return method


def effective(config: SweepConfig) -> SweepConfig:
    """Resolve `precision=auto` and unset what is not used; raises SweepError where method and precision do not fit."""
    own, precision = config.quantization, config.precision
    if precision == AUTO:
        precision = get(own.method).PRECISION if own.method is not None else "fp16"
        config = dataclasses.replace(config, precision=precision)
    if not config.quantized:
        return dataclasses.replace(config, quantization=QuantizationConfig())
    if own.method is None:
        able = [name for name in names() if name.split("_", 1)[1].startswith(precision)]
        raise SweepError(f"precision={precision} needs quantization.method: use one of {', '.join(able)}")
    method = get(own.method)
    if precision != method.PRECISION:
        raise SweepError(
            f"quantization.method={own.method} goes with precision={method.PRECISION}, not {precision}: "
            "precision=auto takes the one that each method goes with"
        )
    if not method.CALIBRATES:
        unused = QuantizationConfig()
        own = dataclasses.replace(own, calibration=unused.calibration, samples=unused.samples)
    return dataclasses.replace(config, quantization=own)


def prepared(
    model: Model, config: SweepConfig, device: torch.device, shared: ProcessCache
) -> tuple[Model, Quantization]:
    """The model as the backends are to see it: quantized where the precision asks for it, made once for all points.

    Calibration sees the same samples at every batch size, so that one quantized module serves all, as a rule.
    Raises SweepError for data and patterns that do not fit the model, Unsupported where the method cannot take it.
    """
    if not config.quantized:
        return model, Quantization()
    one_size = config.quantization.method is not None and getattr(get(config.quantization.method), "ONE_SIZE", False)
    key = ("quantized", (config if one_size else config.unsized).quantized_key, str(device))
    made, facts = shared.once(key, lambda: apply(model, config, device))
    return dataclasses.replace(made, inputs=model.inputs, dynamic=model.dynamic), facts


def apply(model: Model, config: SweepConfig, device: torch.device) -> tuple[Model, Quantization]:
    """Likewise, made anew."""
    name = config.quantization.method
    if name is None:  # the backend does not use it
        raise Unsupported(
            f"precision={config.precision}: backend={config.backend} is given no quantized models here; use "
            "backend=dynamo, or backend=eager for the fake-quantized model in PyTorch"
        )
    method, skipped = get(name), _skipped(model.module, config.quantization.skip)
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


def _skipped(module: torch.nn.Module, patterns: list[str]) -> set[str]:
    """The modules that match a pattern, and those inside them; raises SweepError for a pattern without a match."""
    known = [name for name, _ in module.named_modules() if name]
    found: set[str] = set()
    for pattern in patterns:
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            near = get_close_matches(pattern, known, 3, 0.3) or known[:3]
            raise SweepError(f"quantization.skip={pattern} matches no module: there are {', '.join(near)} and others")
        found |= {name for name in known for outer in matched if name == outer or name.startswith(f"{outer}.")}
    return found
