"""The compile paths, one file each, found by name: to add one, add its file and conf/backend/<name>.yaml.

A backend is a module of this package with
- `AXES`: the root axes that it uses; the others are null in its rows, and points that differ in them alone are one
- `TENSORRT`: whether its engines need a GPU, so that a point without one is planned instead of timed
- `effective(config)`: the configuration with the library's defaults filled in
- `compile(model, settings)`: a `Compiled`, or Unsupported with the reason
- `plan(model, settings)`: a `Compiled` without a call; only where TENSORRT
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from trt_sweep.config import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import Model
from trt_sweep.records import Build, Partition


@dataclass(frozen=True)
class Settings:
    """What a backend is given beside the model.

    Files go into `folder`. `phase` hears which phase begins, `keep` what is known already, should the rest fail.
    """

    config: SweepConfig
    device: torch.device
    folder: Path
    phase: Callable[[str], None]
    keep: Callable[[Compiled], None]


@dataclass(frozen=True)
class Compiled:
    """What a backend gives back: the callable, and what is known of how it came about."""

    call: Callable[[], Any] | None
    build: Build = field(default_factory=Build)
    partition: Partition = field(default_factory=Partition)
    runtime: str | None = None
    ignored_axes: list[str] = field(default_factory=list)


class Backend(Protocol):
    AXES: frozenset[str]
    TENSORRT: bool

    def effective(self, config: SweepConfig) -> SweepConfig: ...
    def compile(self, model: Model, settings: Settings) -> Compiled: ...
    def plan(self, model: Model, settings: Settings) -> Compiled: ...


def names() -> list[str]:
    """The backends there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Backend:
    """The backend of that name; raises SweepError where there is none."""
    if name not in names():
        raise SweepError(f"backend={name} is not known: use one of {', '.join(names())}")
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))
