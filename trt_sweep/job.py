"""The straight line for one point: model, reference, compile, check, time. Returns a record whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trt_sweep import accuracy, backends, gpu, models, records, timing
from trt_sweep.config import SweepConfig
from trt_sweep.errors import Unsupported, one_line
from trt_sweep.records import Axes, Record

log = logging.getLogger(__name__)

SAMPLES = "samples.npz"
# The phases of a point in their order, and the status of a row whose point ends in them.
PHASES = {
    "model": "build_failed",
    "reference": "run_failed",
    "export": "build_failed",
    "partition": "build_failed",
    "build": "build_failed",
    "accuracy": "run_failed",
    "warmup": "run_failed",
    "timing": "run_failed",
}


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


@dataclass
class _Built:
    """What the first point of a build leaves to the others."""

    point_id: str
    model: models.Model
    compiled: backends.Compiled
    error: Exception | None = None
    phase: str = "model"


class Job:
    """One build, and the points that are timed on it one after another: more than one for a range of sizes."""

    def __init__(self, sweep_id: str, phase: Callable[[str], None] = lambda name: None) -> None:
        self._sweep_id, self._hear = sweep_id, phase
        self._built: _Built | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Job:
        gc.collect()  # what earlier points left in reference cycles may hold the GPU's memory
        torch.cuda.empty_cache()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Undo what the backend set up; the points are done."""
        self._stack.close()
        self._built = None

    def run(self, point: Point, folder: Path) -> Record:
        """Do a point and write its record into `folder`; only KeyboardInterrupt passes, once the record is written."""
        config = point.config
        line = _Line(config, folder, self._hear, self._stack)
        folder.mkdir(parents=True, exist_ok=True)
        records.write_json(folder / "config.json", config.to_dict())
        interrupted: KeyboardInterrupt | None = None
        reason: str | None = None
        try:
            status = line.run(self._built)
        except KeyboardInterrupt as error:
            status, reason, interrupted = "interrupted", "interrupted from the keyboard", error
        except Unsupported as error:
            status, reason = "unsupported", one_line(error)
        except torch.OutOfMemoryError as error:
            status, reason = "out_of_memory", one_line(error)
        except Exception as error:
            log.exception("the point failed")
            status, reason = PHASES[line.phase], one_line(error)
            low = config.precision in ("fp16", "bf16") and line.phase not in ("model", "reference")
            if isinstance(error, NotImplementedError) and config.device == "cpu" and low:
                status = "unsupported"
                reason = (
                    f"precision={config.precision}: torch lacks a kernel for it on a CPU ({reason}); use precision=fp32"
                )
        if status == "inaccurate":
            reason = line.verdict
        self._built = self._built or line.built
        record = Record(
            point_id=config.point_id,
            sweep_id=self._sweep_id,
            jobs=point.jobs,
            merged_axes=point.merged,
            created_utc=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            status=status,
            phase=None if status in ("ok", "dryrun") else line.phase,
            reason=reason,
            **line.columns(),
        )
        records.write(folder, record)
        if interrupted is not None:
            raise interrupted
        return record


class _Line:
    """One walk along the straight line; what it has reached is kept for the record when it stops early."""

    def __init__(
        self, config: SweepConfig, folder: Path, phase: Callable[[str], None], stack: contextlib.ExitStack
    ) -> None:
        self.config, self.folder, self._hear, self._stack = config, folder, phase, stack
        self.phase = "model"
        self.device: torch.device | None = None
        self.verdict: str | None = None
        self.built: _Built | None = None
        self.compiled = backends.Compiled(None)
        self.timing, self.accuracy = records.Timing(), records.Accuracy()

    def enter(self, phase: str) -> None:
        self.phase = phase
        self._hear(phase)

    def keep(self, compiled: backends.Compiled) -> None:
        self.compiled = compiled

    def run(self, built: _Built | None) -> str:
        """Walk on from what an earlier point of this build left, or from the start; returns the status."""
        config, backend = self.config, backends.get(self.config.backend)
        if config.dryrun and not backend.TENSORRT:
            raise Unsupported(
                f"dryrun=true plans TensorRT engines, and backend={config.backend} has none: drop one of the two"
            )
        # A plan runs nothing, but where there is a GPU it looks at the model there, as the build would.
        device = gpu.resolve("auto" if config.dryrun else config.device)
        if device.type == "cpu" and not config.dryrun:
            if config.precision == "tf32":
                raise Unsupported("precision=tf32: a CPU has no TF32; use fp32")
            if config.cuda_graphs:
                raise Unsupported("cuda_graphs=true: CUDA graphs need a GPU")
        self.device = None if config.dryrun else device
        with torch.no_grad():
            self.built = self._build(backend, device) if built is None else self._reuse(built)
            if config.dryrun:
                return "dryrun"
            return self._time(self.built, device)

    def _build(self, backend: backends.Backend, device: torch.device) -> _Built:
        config = self.config
        settings = backends.Settings(config, device, self.folder, self.enter, self.keep, self._stack)
        self.enter("model")
        model = models.build(config, device)
        self.enter("reference")
        if config.dryrun:
            model()
        else:
            self._reference(model, device)  # a reference that proves nothing is worth no build
        self.phase = "partition" if config.dryrun else "build"  # until the backend says more
        try:
            with models.float32_mode(config.precision):
                self.compiled = (backend.plan if config.dryrun else backend.compile)(model, settings)
        except Exception as error:
            self.built = _Built(config.point_id, model, self.compiled, error, self.phase)
            raise
        return _Built(config.point_id, model, self.compiled)

    def _reference(self, model: models.Model, device: torch.device) -> tuple[models.Inputs, Any, float]:
        """Inputs of the size that is timed, what the FP32 model makes of them, and how far other inputs move that."""
        inputs, other = (models.inputs(self.config.timed, device, other) for other in (False, True))
        with models.float32_mode("fp32"):
            reference = model.module(*inputs.args, **inputs.kwargs)
            accuracy.require_variance(reference)
            spread = accuracy.spread(reference, model.module(*other.args, **other.kwargs))
        accuracy.require_dependence(spread)
        return inputs, reference, spread

    def _reuse(self, built: _Built) -> _Built:
        build = dataclasses.replace(built.compiled.build, engine_reused_from=built.point_id)
        self.compiled = dataclasses.replace(built.compiled, build=build)
        if built.error is not None:
            self.phase = built.phase
            raise built.error
        return built

    def _time(self, built: _Built, device: torch.device) -> str:
        config = self.config
        assert built.compiled.bind is not None
        self.enter("accuracy")
        inputs, reference, spread = self._reference(built.model, device)
        with models.float32_mode(config.precision, bool(self.compiled.build.cudnn_benchmark)):
            call = built.compiled.bind(inputs)
            outputs, first_call_ms = timing.first_call(call, device)
            tolerance = config.accuracy.rel_l2[config.precision]
            checked = accuracy.check(outputs, reference, tolerance)
            self.accuracy = dataclasses.replace(checked, reference_spread=spread)
            del outputs, reference
            measured = timing.measure(call, device, config.measure, self.enter)
        self.timing = measured.timing(config.timed.batch_size, first_call_ms)
        raw = {"latency_ms": measured.latency_ms}
        if measured.enqueue_ms is not None:
            raw["enqueue_ms"] = measured.enqueue_ms
        np.savez_compressed(self.folder / SAMPLES, allow_pickle=False, **raw)
        if self.accuracy.accurate:
            return "ok"
        self.phase = "accuracy"
        self.verdict = (
            f"relative L2 error {self.accuracy.rel_l2_error:.2g} against the FP32 reference is above "
            f"accuracy.rel_l2.{config.precision}={tolerance}"
            if self.accuracy.finite
            else "the output is not finite although the FP32 reference is"
        )
        return "inaccurate"

    def columns(self) -> dict[str, Any]:
        """The record's columns, as far as the walk came."""
        config, compiled = self.config, self.compiled
        reached = {
            "device": str(self.device) if self.device is not None else None,
            "runtime": compiled.runtime or config.runtime,
            "ignored_axes": compiled.ignored_axes,
        }
        parts = (
            Axes(**(axes(config) | reached)),
            gpu.environment(self.device),
            compiled.partition,
            compiled.build,
            self.timing,
            self.accuracy,
        )
        return {name: value for part in parts for name, value in vars(part).items()}


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
        "compile": " ".join(f"{name}={value}" for name, value in sorted(config.compile.items())) or None,
    }
