"""What a configuration leads to on this machine: its points, and the columns that are known before anything runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trt_sweep import backends, gpu, models, records
from trt_sweep.config import SweepConfig
from trt_sweep.records import Axes


@dataclass(frozen=True)
class Point:
    """An effective configuration with the Hydra jobs that lead to it; a baseline has none.

    `merged` names what the jobs differ in, without a difference to the point.
    """

    config: SweepConfig
    jobs: list[int] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)


def effective(config: SweepConfig) -> list[SweepConfig]:
    """The points that a configuration leads to here: defaults filled in, unused axes unset, the device resolved.

    One, or one for each size at which a dynamic dimension is timed. A TensorRT point without a GPU becomes a dry run.
    Raises SweepError where a point cannot work, before anything is built.
    """
    backend = backends.get(config.backend)
    models.check(config.model)
    fields = {item.name: item for item in dataclasses.fields(SweepConfig)}
    unset: dict[str, Any] = {}
    for name in backends.OPTIONAL_AXES - backend.AXES:
        factory = fields[name].default_factory
        unset[name] = fields[name].default if factory is dataclasses.MISSING else factory()
    device = gpu.resolve(config.device)
    if backend.TENSORRT and device.type != "cuda":
        unset["dryrun"] = True
    config = backend.effective(dataclasses.replace(config, **unset, device=str(device)))
    config = dataclasses.replace(config, cuda_graphs=bool(config.cuda_graphs))
    if not config.dynamic:
        return [dataclasses.replace(config, time_at=None)]
    if config.dryrun and backend.TENSORRT and backend.DYNAMIC:
        return [dataclasses.replace(config, time_at=None)]
    if backend.DYNAMIC:
        return [dataclasses.replace(config, time_at=[size]) for size in config.sizes]
    return [config.at(size) for size in config.sizes]


def axes(config: SweepConfig) -> dict[str, Any]:
    """The columns that a configuration decides by itself, before anything has run."""
    timed = config.timed
    modes = backends.get(config.backend).AXES & {"torchscript", "inductor"}
    shapes = [[timed.batch_size] * item.batched + item.shape for item in timed.model.inputs]
    same = {name: getattr(config, name) for name in records.columns(Axes) if hasattr(config, name)}
    return same | {
        "model": config.model.name,
        "weights": config.model.weights,
        "seed": config.model.seed,
        "mode": next((getattr(config, name).mode for name in modes), None),
        "batch_size": timed.batch_size,
        "input_shapes": " ".join("x".join(map(str, shape)) or "()" for shape in shapes),
        "dynamic_range": ":".join(map(str, config.dynamic)) if config.dynamic else None,
        "time_at": config.time_at[0] if config.time_at else None,
        "cold_cache": config.measure.cold_cache,
        "compile": " ".join(f"{name}={value}" for name, value in sorted(config.compile.items())) or None,
    }
