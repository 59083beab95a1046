"""Find the points that configurations lead to on this machine, checked before any is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trt_sweep import backends
from trt_sweep.config.checks import flat
from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.model import IN_MEMORY, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig, digest, plain
from trt_sweep.errors import SweepError
from trt_sweep.machine import versions
from trt_sweep.machine.devices import resolve
from trt_sweep.models import input_files, quantization
from trt_sweep.models.factory import resolve as resolve_model
from trt_sweep.models.quantization import calibration
from trt_sweep.points.point import Plan, Point, by_build
from trt_sweep.results import record
from trt_sweep.results.axes import OPTIONAL_AXES, TABLE, Axes
from trt_sweep.results.record import BASELINE


def plan(configs: Mapping[int, PointConfig], options: SweepOptions) -> Plan:
    """Return the points of these jobs: each once, those of one build together, their eager baselines first.

    Raises SweepError, naming the job, where one cannot work.
    """
    points: dict[str, Point] = {}
    for number, config in configs.items():
        try:
            leads_to = effective(config)
        except SweepError as error:
            raise SweepError(f"job {number}: {error}") from error
        for single in leads_to:
            jobs = points.setdefault(single.point_id, point_of(single, options)).jobs
            if number not in jobs:
                jobs.append(number)
    for point in points.values():
        point.merged.extend(_differences([configs[number] for number in point.jobs]))
    baselines: dict[str, Point] = {}
    for point in points.values():
        for config in _baselines(point.config) if options.baselines else ():
            if config.point_id not in points:
                baselines.setdefault(config.point_id, point_of(config, options))
    everything = [*([point] for point in baselines.values()), *by_build(points.values())]
    devices = {None if point.config.dryrun else point.config.device for build in everything for point in build}
    environments = {name: versions.environment(resolve(name) if name else None) for name in devices}
    return Plan(everything, environments)


def point_of(config: PointConfig, options: SweepOptions) -> Point:
    """Return the point of an effective configuration."""
    alone = config.dryrun or not options.reuse or config.measure.rebuilds > 1
    return Point(config, axes=axes(config), stored=backends.get(config.backend).STORED and not alone)


def _differences(configs: list[PointConfig]) -> list[str]:
    first, *others = (vars(config) for config in configs)
    every = [item.name for item in dataclasses.fields(PointConfig)]
    names = [name for name in every if any(other[name] != first[name] for other in others)]
    return [f"{name}.mode" if name in TABLE["mode"].config else name for name in names]


def _baselines(config: PointConfig) -> list[PointConfig]:
    """Return eager in the precision of a point (the one beside quantized parts) and in FP32; none for a plan."""
    plain = config.backend == BASELINE and not (config.cuda_graphs or config.quantized or config.keep_fp32)
    if config.dryrun or plain:
        return []
    bare: dict[str, Any] = {"cuda_graphs": False, "keep_fp32": [], "quantization": QuantizationConfig()}
    at_size = dataclasses.replace(config.timed, backend=BASELINE, **bare)
    precisions = dict.fromkeys((config.base_precision, "fp32"))
    return [found for name in precisions for found in effective(dataclasses.replace(at_size, precision=name))]


def effective(config: PointConfig) -> list[PointConfig]:
    """Return the points that a configuration leads to: defaults filled in, unused axes unset, the device resolved.

    One, or one for each size at which a dynamic dimension is timed. A TensorRT point without a GPU becomes a dry run.
    Raises SweepError where a point cannot work, before anything is built.
    """
    backend = backends.get(config.backend)
    config = dataclasses.replace(config, model=input_files.resolved(resolve_model(config.model)))
    config = _kept(quantization.resolve(config))
    fields = {item.name: item for item in dataclasses.fields(PointConfig)}
    unset: dict[str, Any] = {}
    for name in OPTIONAL_AXES - backend.AXES:
        factory = fields[name].default_factory
        unset[name] = fields[name].default if factory is dataclasses.MISSING else factory()
    device = resolve(config.device)
    if backend.TENSORRT and device.type != "cuda":
        unset["dryrun"] = True
    if not any(item.batched for item in config.model.tensors):
        unset["batch_size"] = 1  # no input has a batch that could be larger
    config = backend.effective(dataclasses.replace(config, **unset, device=str(device)))
    config = dataclasses.replace(config, cuda_graphs=bool(config.cuda_graphs))
    if not config.ranges:
        return [dataclasses.replace(config, time_at=None)]
    if config.dryrun and backend.TENSORRT and backend.DYNAMIC:
        return [dataclasses.replace(config, time_at=None)]
    if not backend.DYNAMIC:
        return [config.at(sizes) for sizes in config.combinations]
    one = len(config.ranges) == 1  # which needs no name
    timed = [next(iter(sizes.values())) if one else sizes for sizes in config.combinations]
    return [dataclasses.replace(config, time_at=[sizes]) for sizes in timed]


def _kept(config: PointConfig) -> PointConfig:
    """Return the configuration without `keep_fp32` where all is in FP32.

    Raises SweepError for what a quantized model cannot have.
    """
    if config.accuracy.probe and config.quantized:
        raise SweepError(
            f"accuracy.probe is not allowed with precision={config.precision}: it is not for quantized models; "
            "leave it out"
        )
    if config.keep_fp32 and config.quantized:
        raise SweepError(
            f"keep_fp32 is not allowed with precision={config.precision}: it goes with fp16, bf16 and autocast; use "
            "quantization.skip"
        )
    return dataclasses.replace(config, keep_fp32=[]) if config.precision in ("fp32", "tf32") else config


def axes(config: PointConfig) -> dict[str, Any]:
    """Return the columns that a configuration decides by itself, before anything has run."""
    timed = config.timed
    modes = backends.get(config.backend).AXES & set(TABLE["mode"].config)
    how = config.quantization
    calibrates = how.method is not None and quantization.get_method(how.method).CALIBRATES
    factory = _factory_arguments(config.model)
    shapes = [[timed.batch_size] * item.batched + item.shape for item in timed.model.tensors]
    ranges = {item.name: ":".join(map(str, item[:3])) for item in config.ranges.values()}
    one = len(ranges) == 1
    same = {name: getattr(config, name) for name in record.columns(Axes) if hasattr(config, name)}
    return same | {
        "model": config.model.name,
        "keep_fp32": " ".join(config.keep_fp32) or None,
        "weights": config.model.weights,
        "seed": config.model.seed,
        "task_id": digest(plain(timed.model) | {"factory": _task(config.model)}),
        "factory": " ".join(f"{name}={value}" for name, value in sorted(factory.items())),
        "quantization_method": how.method,
        "quantization_skip": " ".join(how.skip) or None,
        "calibration": calibration.name(config) if calibrates else None,
        "calibration_samples": how.samples if calibrates else None,
        "mode": next((getattr(config, name).mode for name in modes), None),
        "batch_size": timed.batch_size,
        "input_shapes": " ".join("x".join(map(str, shape)) or "()" for shape in shapes),
        "dynamic_range": " ".join(text if one else f"{name}={text}" for name, text in ranges.items()) or None,
        "time_at": config.time_at[0] if config.time_at and one else None,
        "cold_cache": config.measure.cold_cache,
        "compile": " ".join(f"{name}={value}" for name, value in sorted(config.compile.items())) or None,
    }


def _factory_arguments(model: ModelConfig) -> dict[str, Any]:
    """Return what a model's factory is called with, by its joined names; nothing that the model's name says already."""
    if model.factory.get("_target_") == IN_MEMORY:
        return {}
    said = {("_target_", model.factory.get("_target_")), ("name", model.name)}
    return {name: value for name, value in flat(model.factory) if (name, str(value)) not in said}


def _task(model: ModelConfig) -> object:
    """Return what tells factories of different work apart: arguments do not, they are settings like any other."""
    return model.factory if model.factory.get("_target_") == IN_MEMORY else model.factory.get("_target_")
