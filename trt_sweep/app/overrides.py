"""Write a value of Python's as Hydra reads it on a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trt_sweep.config import hydra
from trt_sweep.config.compose import OPEN
from trt_sweep.errors import SweepError
from trt_sweep.models import in_memory
from trt_sweep.models.model import DTYPE

CALLED = ("accuracy.evaluate", "quantization.calibration")  # settings that name what is called, or made


def written(name: str, value: Any) -> str:
    """Return the override that sets `name` to a value; raise SweepError for one that no setting can have.

    A function, or data, for a setting that names one stays in this process.
    """
    if name in CALLED and not isinstance(value, Mapping | str | None):
        value = in_memory.call_of(value)
    adds = name.startswith(OPEN) or isinstance(value, Mapping)  # keys that the schema does not name
    return f"{'++' * adds}{name}={_value(name, value)}"


def _value(name: str, value: Any) -> str:
    if isinstance(value, np.generic | torch.Tensor) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, torch.dtype):
        names = {dtype: precision for precision, dtype in reversed(DTYPE.items())}
        value = names.get(value, value) if name == "precision" else value
        value = str(value).removeprefix("torch.")
    if isinstance(value, str | Path):
        return hydra.quoted(str(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_value(name, item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | set | np.ndarray):
        return "[" + ",".join(_value(name, item) for item in value) + "]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    kinds = "a number, a text, a flag, None, or lists and dicts of them"
    raise SweepError(f"{name} is a {type(value).__name__}: give {kinds}")
