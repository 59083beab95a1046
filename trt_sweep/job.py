"""The straight line for one point: model, reference, compile, check, time. Returns a record whatever happens."""

from __future__ import annotations

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
    """An effective configuration with the Hydra jobs that lead to it; a baseline has none."""

    config: SweepConfig
    jobs: list[int] = field(default_factory=list)


def effective(config: SweepConfig) -> SweepConfig:
    """The configuration that takes effect here: defaults filled in, unused axes null, the device resolved.

    A TensorRT point without a GPU becomes a dry run. Raises SweepError where the point cannot work, before anything
    is built.
    """
    backend = backends.get(config.backend)
    models.check(config.model)
    unused = {"min_block_size", "optimization_level", "runtime"} - backend.AXES
    nothing: dict[str, Any] = dict.fromkeys(unused)
    config = dataclasses.replace(config, **nothing)
    if backend.TENSORRT:
        on_gpu = gpu.resolve(config.device).type == "cuda"
        config = dataclasses.replace(config, dryrun=config.dryrun or not on_gpu)
    return backend.effective(dataclasses.replace(config, device=str(gpu.resolve(config.device))))


def run(point: Point, folder: Path, sweep_id: str, phase: Callable[[str], None] = lambda name: None) -> Record:
    """Do a point and write its record into `folder`; only KeyboardInterrupt passes, once the record is written."""
    config = point.config
    gc.collect()  # what earlier points left in reference cycles may hold the GPU's memory
    torch.cuda.empty_cache()
    line = _Line(config, folder, phase)
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(folder / "config.json", config.to_dict())
    interrupted: KeyboardInterrupt | None = None
    reason: str | None = None
    try:
        status = line.run()
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
    record = Record(
        point_id=config.point_id,
        sweep_id=sweep_id,
        jobs=point.jobs,
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

    def __init__(self, config: SweepConfig, folder: Path, phase: Callable[[str], None]) -> None:
        self.config, self.folder, self._hear = config, folder, phase
        self.phase = "model"
        self.device: torch.device | None = None
        self.verdict: str | None = None
        self.compiled = backends.Compiled(None)
        self.timing, self.accuracy = records.Timing(), records.Accuracy()

    def enter(self, phase: str) -> None:
        self.phase = phase
        self._hear(phase)

    def keep(self, compiled: backends.Compiled) -> None:
        self.compiled = compiled

    def run(self) -> str:
        config, backend = self.config, backends.get(self.config.backend)
        if config.dryrun and not backend.TENSORRT:
            raise Unsupported(
                f"dryrun=true plans TensorRT engines, and backend={config.backend} has none: drop one of the two"
            )
        # A plan runs nothing, but where there is a GPU it looks at the model there, as the build would.
        device = gpu.resolve("auto" if config.dryrun else config.device)
        if config.precision == "tf32" and device.type == "cpu" and not config.dryrun:
            raise Unsupported("precision=tf32: a CPU has no TF32; use fp32")
        self.device = None if config.dryrun else device
        settings = backends.Settings(config, device, self.folder, self.enter, self.keep)
        self.enter("model")
        model = models.build(config, device)
        with torch.no_grad():
            self.enter("reference")
            with models.float32_mode("fp32"):
                reference = model()
            if config.dryrun:
                self.compiled = backend.plan(model, settings)
                return "dryrun"
            accuracy.require_variance(reference)
            return self._run(model, reference, backend, settings)

    def _run(self, model: models.Model, reference: Any, backend: backends.Backend, settings: backends.Settings) -> str:
        config, device = self.config, settings.device
        with models.float32_mode(config.precision):
            self.compiled = backend.compile(model, settings)
        call = self.compiled.call
        assert call is not None
        with models.float32_mode(config.precision, bool(self.compiled.build.cudnn_benchmark)):
            self.enter("accuracy")
            outputs, first_call_ms = timing.first_call(call, device)
            tolerance = config.accuracy.rel_l2[config.precision]
            self.accuracy = accuracy.check(outputs, reference, tolerance)
            del outputs, reference
            measured = timing.measure(call, device, config.measure, self.enter)
        self.timing = measured.timing(config.batch_size, first_call_ms)
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
        axes = Axes(
            model=config.model.name,
            model_id=config.model_id,
            weights=config.model.weights,
            seed=config.model.seed,
            backend=config.backend,
            precision=config.precision,
            batch_size=config.batch_size,
            device=str(self.device) if self.device is not None else None,
            min_block_size=config.min_block_size,
            optimization_level=config.optimization_level,
            runtime=compiled.runtime or config.runtime,
            dryrun=config.dryrun,
            ignored_axes=compiled.ignored_axes,
        )
        parts = (
            axes,
            gpu.environment(self.device),
            compiled.partition,
            compiled.build,
            self.timing,
            self.accuracy,
        )
        return {name: value for part in parts for name, value in vars(part).items()}
