"""The straight line for one point: model, reference, compile, check, time. Leaves a record whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trt_sweep import backends
from trt_sweep.backends import base
from trt_sweep.backends.engine_store import Store
from trt_sweep.backends.tensorrt import engine
from trt_sweep.errors import NO_MEMORY, Refused, Unsupported, one_line
from trt_sweep.machine import devices, locks, nvml, versions
from trt_sweep.measure import health, memory
from trt_sweep.measure.measurement import Measurement, Window
from trt_sweep.measure.timer import Timer
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model, float32_mode
from trt_sweep.points import check
from trt_sweep.points.build import BuildResult, _bare, engine_key
from trt_sweep.points.phases import DISK, PHASES, RECORDING
from trt_sweep.points.point import Point, Report
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.results import columns
from trt_sweep.results.columns import Axes
from trt_sweep.results.record import SAMPLES, Record
from trt_sweep.results.store import now, write, write_json

log = logging.getLogger(__name__)


class BuildGroup:
    """One build (or `measure.rebuilds` of them) and the points that are timed on it, round after round.

    `folder(point)` is where a point's record and artifacts go; `phase` hears what is being done; `shared` is what the
    jobs of one process have in common; engines are taken from `store`. Leaving the context undoes what the backend set
    up.
    """

    def __init__(
        self,
        points: list[Point],
        sweep_id: str,
        folder: Callable[[Point], Path],
        phase: Callable[[str], None] = lambda name: None,
        *,
        shared: ProcessCache | None = None,
        store: Store | None = None,
    ) -> None:
        self.sweep_id, self.hear, self.shared, self.store = sweep_id, phase, shared or ProcessCache(), store or Store()
        self.stack = contextlib.ExitStack()
        self.builds: list[BuildResult] = []
        self.lines = [PointRun(self, point, folder(point)) for point in points]

    def __enter__(self) -> BuildGroup:
        return self

    def __exit__(self, *_: object) -> None:
        """Undo what the backend set up; the points are done."""
        self.stack.close()
        self.builds.clear()
        for line in self.lines:
            line.timers.clear()


class PointRun:
    """A point on its walk along the straight line; what it has reached is kept for the record if it stops early."""

    def __init__(self, job: BuildGroup, point: Point, folder: Path) -> None:
        self._job, self.point, self.config, self.folder = job, point, point.config, folder
        self.phase = "model"
        self.device: torch.device | None = None
        self.compiled = base.Compiled(None)
        self.timers: list[Timer] = []
        self.measurement: Measurement | None = None
        self.accuracy = columns.Accuracy()
        self.memory = columns.Memory()
        self.quantization = columns.Quantization()
        self._watches: list[health.Watch] = []
        self._remeasured = 0
        self._created: str | None = None
        self._inside: columns.Profile | None = None
        self._before: Record | None = None  # the row of a point that is only looked into, which keeps what it says
        self._status = "interrupted"
        self._reason: str | None = None
        self.interleaved: bool | None = None
        self._first_call = True  # after the build
        self._same: PointRun | None = None  # runs the same engine in the same way, and is timed for both

    def start(self) -> Record:
        """Build, check, time the first round and write the record; only KeyboardInterrupt passes, and after that."""
        write_json(self.folder / "config.json", self.config.to_dict())
        self.write()  # interrupted, unless more comes of it; nothing of an earlier attempt is left
        return self._guarded(self._run)

    @property
    def rounds(self) -> int:
        """How many rounds the point is to be timed in all: points that are not ranked have their first only."""
        slow = self.measurement is not None and self.measurement.slow(self.config.measure.max_s)
        return self.config.measure.rounds if self._status == "ok" and not slow else 1

    def again(self) -> Record:
        """Time another round and write the record anew."""
        return self._guarded(self._round)

    @property
    def to_profile(self) -> bool:
        """Whether engines are still to be looked into, once all rounds are done."""
        wanted = self.config.profile and self.device is not None and self.device.type == "cuda"
        return wanted and self._inside is None and self._status == "ok" and backends.get(self.config.backend).TENSORRT

    def look(self, record: Record) -> Record:
        """Build, and look into the engines of a point that was timed before: nothing else of its row changes."""
        self._before = record
        try:
            self.device = devices.resolve(self.config.device)
            with torch.no_grad():
                self._build(backends.get(self.config.backend), self.device)
        except Exception as error:
            log.exception("the engines could not be built again to be profiled")
            self._inside = columns.Profile(profile_reason=one_line(error))
            return self.write()
        return self.profile()

    def profile(self) -> Record:
        """Look into the engines and write the record anew; a failure of that is said in it, and spoils nothing."""
        from trt_sweep.points import profile  # and pandas with it, which no other step needs

        assert self.device is not None
        build = self._job.builds[0]
        try:
            self._inside = profile.of_point(
                build.model, self.compiled, self._settings(self.device), engine_key(self.config, self.compiled)
            )
        except Exception as error:
            log.exception("the engines could not be profiled")
            self._inside = columns.Profile(profile_reason=one_line(error))
        return self.write()

    def report(self, record: Record) -> Report:
        """What a sweep needs to know of the point, once this record is written."""
        by_method = {}
        if record.status == "ok" and self.measurement is not None:
            by_method = {name: self.measurement.timing(name) for name in self.measurement.methods}
        return Report(record, self.rounds, by_method, to_profile=self.to_profile)

    def write(self) -> Record:
        """Write the record as the point stands."""
        self._job.hear(RECORDING)
        if self._before is not None:
            record = dataclasses.replace(self._before, **vars(self._profile_columns(self._before.gpu_ms)))
            write(self.folder, record)
            return record
        self._created = self._created or now()
        rounds = len(self.measurement.windows[0]) if self.measurement is not None else 0
        record = Record(
            point_id=self.config.point_id,
            sweep_id=self._job.sweep_id,
            jobs=self.point.jobs,
            merged_axes=self.point.merged,
            created_utc=self._created,
            status=self._status,
            phase=None if self._status in ("ok", "dryrun") else self.phase,
            reason=self._reason,
            final=self._status != "interrupted" and (self._status != "ok" or rounds >= self.rounds),
            interleaved=self.interleaved,
            **self._columns(),
        )
        write(self.folder, record)
        return record

    def _guarded(self, step: Callable[[], str]) -> Record:
        interrupted: KeyboardInterrupt | None = None
        try:
            self._status = step()
        except KeyboardInterrupt as error:
            if self._status == "ok":  # an earlier round was finished
                raise
            self._status, self._reason, interrupted = "interrupted", "interrupted from the keyboard", error
        except Unsupported as error:
            self._status, self._reason = "unsupported", one_line(error)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK:
                raise
            log.exception("the point failed")
            self._status, self._reason = PHASES[self.phase], one_line(error)
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or NO_MEMORY.search(str(error)):
                self._status = "out_of_memory"
            low = self.config.base_precision in ("fp16", "bf16") and self.phase not in ("model", "reference")
            if isinstance(error, NotImplementedError) and self.config.device == "cpu" and low:
                self._status = "unsupported"
                self._reason = (
                    f"precision={self.config.precision}: torch lacks a kernel for it on a CPU ({self._reason}); "
                    "use precision=fp32"
                )
        record = self.write()
        if interrupted is not None:
            raise interrupted
        return record

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._job.hear(phase)

    def _settings(self, device: torch.device) -> base.BuildContext:
        config, job = self.config, self._job
        store = dataclasses.replace(job.store, read=config.reuse and config.measure.rebuilds == 1)
        hear, keep, reuse = self._enter, self._keep, self._built_before
        return base.BuildContext(config, device, self.folder, hear, keep, job.stack, job.shared, reuse, store)

    def _source(self, device: torch.device) -> PreparedModel:
        return PreparedModel(self.config, device, self._job.shared, self._enter)

    def _keep(self, compiled: base.Compiled) -> None:
        self.compiled = compiled
        self.write()  # interrupted, unless more comes of it: what is known outlives a crash
        self._job.hear(self.phase)

    def _run(self) -> str:
        """Walk on from what an earlier point of this build left, or from the start; returns the status."""
        config, backend = self.config, backends.get(self.config.backend)
        if config.dryrun and not backend.TENSORRT:
            raise Unsupported(
                f"dryrun=true plans TensorRT engines, and backend={config.backend} has none: drop one of the two"
            )
        # A plan runs nothing, but where there is a GPU it looks at the model there, as the build would.
        device = devices.resolve("auto" if config.dryrun else config.device)
        if device.type == "cpu" and not config.dryrun:
            if config.precision == "tf32":
                raise Unsupported("precision=tf32: a CPU has no TF32; use fp32")
            if config.cuda_graphs:
                raise Unsupported("cuda_graphs=true: CUDA graphs need a GPU")
            if config.measure.cold_cache:
                raise Unsupported("measure.cold_cache=true flushes the L2 cache of a GPU; there is none here")
        self.device = None if config.dryrun else device
        with torch.no_grad():
            if self._job.builds:
                self._reuse(self._job.builds)
                if config.quantized:
                    self._quantize(self._source(device))
            for _ in range(len(self._job.builds), 1 if config.dryrun else config.measure.rebuilds):
                self._build(backend, device)
            if config.dryrun:
                return "dryrun"
            status = self._check(device) if self._same is None else self._as_timed(self._same)
        return self._round() if status == "ok" else status

    def _build(self, backend: base.Backend, device: torch.device) -> None:
        config = self.config
        shared = self._job.shared
        settings = self._settings(device)
        at_any_size = ("refused", config.unsized.build_id)
        if (refused := shared.get(at_any_size)) is not None and not config.dynamic:
            self.phase = "build"
            raise Unsupported(f"{refused} (at another batch size; not tried again at this one)")
        source = self._source(device)
        self._enter("model")
        model = source.model()
        self._enter("reference")
        if config.dryrun and not config.quantized:
            model()
        else:
            source.reference(self.phase)  # a reference that proves nothing is worth no build
        if config.quantized:
            self._enter("quantization")
            model = self._quantize(source)
        self.phase = "partition" if config.dryrun else "build"  # until the backend says more
        if backend.TENSORRT and device.type == "cuda" and not config.dryrun:
            with locks.building(device, self._enter, self.phase):
                engine.set_up(device)
        error: Exception | None = None
        try:
            with float32_mode(config.precision):
                self.compiled = backend.plan(model, settings) if config.dryrun else self._compile(model, settings)
        except Exception as failure:
            error = _bare(failure)
            if isinstance(failure, Refused) and not config.dynamic:  # a range may be what it refuses
                shared.put(at_any_size, str(failure))
            raise
        finally:
            self._job.builds.append(BuildResult(config.point_id, model, self.compiled, error, self.phase))
        key = engine_key(config, self.compiled)
        if key is not None and self.compiled.build.engine_reused_from is None:
            shared.put(key, self)

    def _compile(self, model: Model, settings: base.BuildContext) -> base.Compiled:
        held = memory.Build(settings.device)
        with held.charged():
            compiled = backends.get(self.config.backend).compile(model, settings)
        # One that was built for another point brings what it holds along.
        return compiled if compiled.held is not None else dataclasses.replace(compiled, held=held)

    def _built_before(self, planned: base.Compiled) -> base.Compiled | None:
        key = engine_key(self.config, planned)
        found: PointRun | None = self._job.shared.get(key) if key is not None else None
        if found is None:
            return None
        compiled = found.compiled
        build = dataclasses.replace(
            compiled.build, export_s=planned.build.export_s, build_s=None, engine_reused_from=found.config.point_id
        )
        self._first_call = False
        if found._status == "ok" and found.config.accuracy == self.config.accuracy:
            self._same = found
        return dataclasses.replace(
            compiled, build=build, partition=planned.partition, ignored_axes=planned.ignored_axes
        )

    def _quantize(self, source: PreparedModel) -> Model:
        model, self.quantization = source.quantized(self.phase)
        return model

    def _reuse(self, builds: list[BuildResult]) -> None:
        first = builds[0]
        build = dataclasses.replace(first.compiled.build, build_s=None, engine_reused_from=first.point_id)
        self.compiled = dataclasses.replace(first.compiled, build=build)
        for built in builds:
            if built.error is not None:
                self.phase = built.phase
                raise built.error

    def _check(self, device: torch.device) -> str:
        """Bind each build and compare its outputs; "ok", or "inaccurate" with the reason kept."""
        config = self.config
        self._enter("accuracy")
        reference, spread = self._source(device).reference(self.phase)
        found: list[check.FirstCalls] = []
        for index, built in enumerate(self._job.builds):
            running = functools.partial(self.running, index)
            calls = check.make(built.compiled, config, device, reference, running=running, enter=self._enter)
            found.append(calls)
            self.timers.append(calls.timer)
        # NaN is worse than any number.
        worst = max((each.accuracy for each in found), key=lambda item: (not item.finite, item.rel_l2_error))
        self.accuracy = dataclasses.replace(worst, reference_spread=spread)
        known = [each.peak_bytes for each in found if each.peak_bytes is not None]
        self.memory = columns.Memory(peak_gpu_bytes=max(known) if len(known) == len(found) else None)
        engines = {built.compiled.build.engine_id for built in self._job.builds} - {None}
        builds: list[list[Window]] = [[] for _ in self._job.builds]
        first_call_ms = found[0].took_ms if self._first_call else None
        self.measurement = Measurement(
            builds,
            config.timed.batch_size,
            first_call_ms,
            len(engines) or None,
            cudnn_benchmark=bool(self.compiled.build.cudnn_benchmark),
        )
        if self.accuracy.accurate:
            return "ok"
        self._reason = (
            f"relative L2 error {self.accuracy.rel_l2_error:.2g} against the FP32 reference is above "
            f"accuracy.rel_l2.{config.precision}={config.accuracy.rel_l2[config.precision]}"
            if self.accuracy.finite
            else "the output is not finite although the FP32 reference is"
        )
        self._round()  # its times are of interest all the same
        self.phase = "accuracy"
        return "inaccurate"

    def _as_timed(self, same: PointRun) -> str:
        """Take over what another point's calls have shown, and its windows to come."""
        assert same.measurement is not None
        self.phase, self.accuracy, self.memory = "timing", same.accuracy, same.memory
        # One list of windows for both.
        self.measurement = dataclasses.replace(same.measurement, first_call_ms=None, timed_with=same.config.point_id)
        return "ok"

    @contextlib.contextmanager
    def running(self, index: int = 0) -> Iterator[None]:
        """What the calls of a build need around them."""
        compiled = self._job.builds[index].compiled
        benchmark = bool(compiled.build.cudnn_benchmark)
        with torch.no_grad(), float32_mode(self.config.precision, benchmark), compiled.running():
            yield

    def window(self, index: int = 0) -> Window:
        """A timed window of a build; one with a bad verdict is timed again once, and then taken as it is."""
        assert self.device is not None
        monitor, timer = nvml.monitor(self.device), self.timers[index]
        with self.running(index), locks.exclusive(self.device, self._job.hear):
            window = timer.window(monitor, self._enter)
            if window.watch.verdict()[0] not in (health.OK, None):
                self._remeasured += 1
                window = timer.window(monitor, self._enter)
        return window

    def _round(self) -> str:
        measurement = self.measurement
        assert measurement is not None
        if self._same is not None:
            if self._same._status != "ok":
                raise RuntimeError(f"point {self._same.config.point_id}, timed for this one too: {self._same._reason}")
            self._watches, self._remeasured = self._same._watches, self._same._remeasured
        else:
            for index, windows in enumerate(measurement.windows):
                windows.append(self.window(index))
                self._watches.append(windows[-1].watch)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{SAMPLES}"
        np.savez_compressed(temporary.open("wb"), allow_pickle=False, **measurement.samples())
        temporary.replace(self.folder / SAMPLES)
        return "ok"

    def _profile_columns(self, gpu_ms: float | None) -> columns.Profile:
        inside = self._inside or columns.Profile(profile_reason=self._not_to_profile())
        if inside.layers_ms is None or gpu_ms is None:
            return inside
        return dataclasses.replace(inside, layers_over_gpu=inside.layers_ms / gpu_ms)

    def _not_to_profile(self) -> str | None:
        device = self.device.type if self.device is not None else None
        return self.point.no_profile(self._status, device, backends.get(self.config.backend).TENSORRT)

    def _columns(self) -> dict[str, Any]:
        """The record's columns, as far as the walk came."""
        config, compiled, measurement = self.config, self.compiled, self.measurement
        reached = {
            "device": str(self.device) if self.device is not None else None,
            "runtime": compiled.runtime or config.runtime,
            "ignored_axes": compiled.ignored_axes,
        }
        complete = measurement is not None and all(measurement.windows)
        timed = measurement.timing() if measurement is not None and complete else columns.Timing()
        parts = (
            Axes(**(self.point.axes | reached)),
            versions.environment(self.device),
            compiled.partition,
            self.quantization,
            compiled.build,
            timed,
            self.accuracy,
            self.memory,
            health.summary(self._watches, self._remeasured),
            self._profile_columns(timed.gpu_ms),
        )
        return {name: value for part in parts for name, value in vars(part).items()}
