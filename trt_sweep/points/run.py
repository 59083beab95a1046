"""Walk one point along the straight line: model, reference, build, check, time. It leaves a record whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch

from trt_sweep import backends
from trt_sweep.backends.base import BuildContext, Compiled, Running
from trt_sweep.errors import Unsupported, one_line
from trt_sweep.machine import locks, nvml
from trt_sweep.machine.devices import resolve
from trt_sweep.measure import health
from trt_sweep.measure.measurement import Measurement, Visit
from trt_sweep.measure.threads import CallThread
from trt_sweep.measure.timer import Timer
from trt_sweep.models.model import float32_mode
from trt_sweep.points import artifacts, build, check, choices, failure, row
from trt_sweep.points.phases import RECORDING
from trt_sweep.points.point import Point, Report, Standing
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.points.state import GroupContext, PointState
from trt_sweep.results import store
from trt_sweep.results.measured import Profile
from trt_sweep.results.record import BASELINE, Record

log = logging.getLogger(__name__)


class PointRun:
    """A point on its way; `state` is what it has reached, and what its record is made of."""

    def __init__(self, point: Point, folder: Path, group: GroupContext) -> None:
        self.point, self.config, self.folder, self._group = point, point.config, folder, group
        self.state = PointState(enough=False if group.racing else None)
        self.timers: list[Timer] = []
        self._threads: list[choices.Run[Any]] = []  # in which the calls of each build are made
        self._around: list[Running] = []  # the context of these calls
        self._timed_with: PointRun | None = None  # runs the same engine in the same way, and is timed for both
        self._record_before: Record | None = None  # of a point that is only looked into: it keeps what it says

    def start(self) -> Record:
        """Build, check and time the first round; only KeyboardInterrupt passes, and after the record."""
        store.write_json(self.folder / "config.json", self.config.to_dict())
        (self.folder / artifacts.OUTPUTS).unlink(missing_ok=True)
        self._send()  # interrupted, unless more comes of it; nothing of an earlier attempt is left
        record = self._guarded(self._run)
        assert record is not None
        return record

    def again(self) -> Record | None:
        """Visit the point once more; return its record where that was the last time, or the point failed."""
        return self._guarded(self._visit)

    def standing(self, over_ms: float | None) -> Standing:
        """Return the record as it would be now, which is not written, and what limits of single calls are judged by."""
        record = row.record(self.point, self.state, self._group.sweep_id, profile=False)
        measurement = self.state.measurement
        return Standing(record, measurement.over(over_ms) if measurement is not None and over_ms is not None else None)

    def finish(self) -> Record:
        """Visit the point no more; return its record, which is final."""
        self.state.enough = True
        if self._timed_with is not None and self.state.status == "ok":
            self._guarded(self._visit)  # takes over the visits
        elif self.state.measurement is not None:
            artifacts.write_samples(self.folder, self.state.measurement)
        return self._send()

    def tie(self, anchor: PointRun) -> None:
        """Keep the visits of this point as well, which other groups of points have too."""
        if self.state.measurement is not None:
            self.state.measurement.anchor = anchor.state.measurement

    @property
    def rounds(self) -> int:
        """Return how many visits follow the first."""
        return self.state.rounds(self.config.measure)

    @property
    def to_profile(self) -> bool:
        """Return whether engines are still to be looked into, once all rounds are done."""
        device = self.state.device
        wanted = self._group.options.profile and device is not None and device.type == "cuda"
        missing = self.state.profile is None and self.state.status == "ok"
        return wanted and missing and backends.get(self.config.backend).TENSORRT

    def look(self, record: Record) -> Record:
        """Build, and look into the engines of a point that was timed before: nothing else of its row changes."""
        self._record_before = record
        try:
            device = self.state.device = resolve(self.config.device)
            with torch.no_grad():
                self._build(device)
        except Exception as error:
            log.exception("the engines could not be built again to be profiled")
            self.state.profile = Profile(profile_reason=one_line(error))
            return self._send()
        return self.profile()

    def profile(self) -> Record:
        """Look into the engines; a failure of that is said in the record, and spoils nothing."""
        from trt_sweep.points import profile  # and pandas with it, which no other step needs

        assert self.state.device is not None
        compiled = self.state.compiled
        key = self._engine_key(compiled, alone=True)  # one call is looked into, whatever load it was timed under
        try:
            context = self._context(self.state.device)
            self.state.profile = profile.of_point(self._group.builds[0].model, compiled, context, key)
        except Exception as error:
            log.exception("the engines could not be profiled")
            self.state.profile = Profile(profile_reason=one_line(error))
        return self._send()

    def report(self, record: Record) -> Report:
        """Return what a sweep needs to know of the point, once it has this record."""
        by_method = {}
        measurement = self.state.measurement
        if record.status == "ok" and measurement is not None:
            by_method = {name: measurement.timing(name) for name in measurement.methods}
        return Report(record, self.rounds, by_method, to_profile=self.to_profile)

    def _send(self) -> Record:
        """Make the record as the point stands, and hand it on to be written."""
        self._group.on_phase(RECORDING)
        if self._record_before is not None:
            record = row.with_profile(self._record_before, self.point, self.state)
        else:
            record = row.record(self.point, self.state, self._group.sweep_id, profile=self._group.options.profile)
        self._group.on_record(record)
        return record

    def _guarded(self, step: Callable[[], str]) -> Record | None:
        """Take a step, and turn what it raises into the status and the reason of the row.

        Return the record; None after a visit that was neither the first nor the last.
        """
        state = self.state
        interrupted: KeyboardInterrupt | None = None
        try:
            state.status = step()
        except KeyboardInterrupt as error:
            if state.status == "ok":  # an earlier round was finished
                raise
            state.status, state.reason, interrupted = "interrupted", "interrupted from the keyboard", error
        except Exception as error:
            if failure.of_disk(error):
                raise
            if not isinstance(error, Unsupported):
                log.exception("the point failed")
            state.status, state.reason = failure.outcome(error, state.phase, self.config)
        if step == self._visit and interrupted is None and not state.final(self.config.measure):
            return None
        record = self._send()
        if interrupted is not None:
            raise interrupted
        return record

    def _enter(self, phase: str) -> None:
        self.state.phase = phase
        self._group.on_phase(phase)

    def _context(self, device: torch.device) -> BuildContext:
        group = self._group
        store = dataclasses.replace(group.store, read=group.options.reuse and self.config.measure.rebuilds == 1)
        told = self._enter, self._keep
        return BuildContext(
            self.config, device, self.folder, *told, group.stack, group.cache, self._built_before, store
        )

    def _source(self, device: torch.device) -> PreparedModel:
        return PreparedModel(self.config, device, self._group.cache, self._enter)

    def _engine_key(self, compiled: Compiled, *, alone: bool = False) -> str | None:
        """Return the name of an engine and how it runs, or of the engine `alone`: whoever calls it, and with what."""
        return build.engine_key(self.config, compiled, self._group.options.reuse, alone=alone)

    def _keep(self, compiled: Compiled) -> None:
        self.state.compiled = compiled
        self._send()  # interrupted, unless more comes of it: what is known outlives a crash
        self._group.on_phase(self.state.phase)

    def _run(self) -> str:
        """Walk on from what an earlier point of this build left, or from the start; return the status."""
        config, state, builds = self.config, self.state, self._group.builds
        # A plan runs nothing, but where there is a GPU it looks at the model there, as the build would.
        device = resolve("auto" if config.dryrun else config.device)
        build.require_possible(config, device.type)
        state.device = None if config.dryrun else device
        with torch.no_grad():
            if builds:
                build.reuse(state, builds)
                if config.quantized:
                    _, state.quantization = self._source(device).quantized(state.phase)
            for _ in range(len(builds), 1 if config.dryrun else config.measure.rebuilds):
                self._build(device)
            if config.dryrun:
                return "dryrun"
            if self._timed_with is None:
                status = self._check(device)
            else:
                status = state.take_over(self._timed_with.state, self.point.id, self._timed_with.point.id)
                artifacts.write_outputs(self.folder, state.outputs)
        return self._visit() if status == "ok" else status

    def _build(self, device: torch.device) -> None:
        build.build(self.state, self._context(device), self._source(device), self._group.builds)
        compiled = self.state.compiled
        key, engine = self._engine_key(compiled), self._engine_key(compiled, alone=True)
        if engine is not None and compiled.build.engine_reused_from is None:
            self._group.cache.put(engine, self)
        if key is not None and self._timed_with is None:
            self._group.cache.put(key, self)

    def _built_before(self, planned: Compiled) -> Compiled | None:
        """Return what another point of the same partition and arguments has built, None where there is none."""
        key, engine = self._engine_key(planned), self._engine_key(planned, alone=True)
        same: PointRun | None = self._group.cache.get(key) if key is not None else None
        found: PointRun | None = self._group.cache.get(engine) if engine is not None else None
        if found is None:
            return None
        self.state.first_call = False
        if same is not None and same.state.status == "ok" and same.config.accuracy == self.config.accuracy:
            self._timed_with = same
        return build.from_other(found.state.compiled, planned, found.point.id)

    def _check(self, device: torch.device) -> str:
        """Bind each build and compare its outputs; return "ok", or "inaccurate" with the reason kept."""
        config, state, builds = self.config, self.state, self._group.builds
        self._enter("accuracy")
        reference = self._source(device).beside_eager(state.phase)
        found: list[check.FirstCalls] = []
        chosen: list[float] = []
        for index, built in enumerate(builds):
            run: choices.Run[Any] = choices.here
            chooses = built.compiled.build.cudnn_benchmark and config.backend == BASELINE
            if chooses and config.measure.cudnn_choices > 1 and config.streams == 1:  # else each thread chooses
                run, calls, work = self._choose(index, device, reference)
                chosen += work
            else:
                calls = self._first_calls(index, device, reference)
            self._threads.append(run)
            self._around.append(calls.running)
            found.append(calls)
            self.timers.append(calls.timer)
            self._group.stack.callback(calls.timer.close)
        state.accuracy, state.memory, state.outputs = check.worst(found, reference.spread)
        state.accuracy = check.probed(state.accuracy, self._source(device), self.folder, state.phase)
        artifacts.write_outputs(self.folder, self.state.outputs)
        engines = {built.compiled.build.engine_id for built in builds} - {None}
        state.measurement = Measurement(
            [[] for _ in builds],
            config.timed.batch_size,
            found[0].took_ms if state.first_call else None,
            len(engines) or None,
            visit_group=self._group.visit_group,
            point_id=self.point.id,
            choices=chosen or None,
            streams=config.streams,
        )
        if state.accuracy.accurate is not False:
            return "ok"
        wrong = next((calls.together for calls in found if calls.together), None)
        state.reason = wrong or check.why_inaccurate(state.outputs, reference.eager, config, state.accuracy.first_wrong)
        self._visit()  # its times are of interest all the same
        state.phase = "accuracy"
        return "inaccurate"

    def _first_calls(
        self, index: int, device: torch.device, reference: Any, *, again: bool = False
    ) -> check.FirstCalls:
        """Make the first calls of a build; `again` without the user's function."""
        config, running = self.config, functools.partial(self.running, index)
        if again:
            config = dataclasses.replace(config, accuracy=dataclasses.replace(config.accuracy, evaluate={}))
        compiled = self._group.builds[index].compiled
        return check.make(compiled, config, device, reference, running=running, enter=self._enter)

    def _choose(
        self, index: int, device: torch.device, reference: Any
    ) -> tuple[CallThread, check.FirstCalls, list[float]]:
        """Have cuDNN choose several times, see `choices.fastest`."""

        def make(number: int) -> check.FirstCalls:
            return self._first_calls(index, device, reference, again=number > 0)

        def gpu_ms(timer: Timer) -> dict[str, float]:
            with self.running(index), locks.device_lock(device, self._group.on_phase):
                self._enter("accuracy")  # again, where it had to wait
                return timer.gpu_ms()

        thread, calls, chosen = choices.fastest(self.config.measure.cudnn_choices, make, gpu_ms)
        self._group.stack.callback(thread.close)
        return thread, calls, chosen

    @contextlib.contextmanager
    def running(self, index: int = 0) -> Iterator[None]:
        """Set up what the calls of a build need around them."""
        compiled = self._group.builds[index].compiled
        benchmark = bool(compiled.build.cudnn_benchmark)
        with torch.no_grad(), float32_mode(self.config.precision, benchmark), compiled.running():
            yield

    def release(self) -> None:
        """Let go of the calls; the point is done."""
        self.timers.clear()
        self._around.clear()

    def window(self, index: int = 0, number: int = 0) -> Visit:
        """Make visit `number` of a build; one with a bad verdict is made again once, and then taken as it is."""
        return cast(Visit, self._threads[index](functools.partial(self._window, index, number)))

    def _window(self, index: int, number: int) -> Visit:
        assert self.state.device is not None
        monitor, timer = nvml.monitor(self.state.device), self.timers[index]
        with self._around[index](), locks.device_lock(self.state.device, self._group.on_phase):
            window = timer.visit(monitor, number, self._enter)
            if window.health.verdict()[0] not in (health.OK, None):
                self.state.remeasured += 1
                window = timer.visit(monitor, number, self._enter)
        return window

    def _visit(self) -> str:
        """Visit each build, or take over the visits of the point that is timed for this one; return "ok"."""
        state = self.state
        assert state.measurement is not None
        if self._timed_with is not None:
            other = self._timed_with.state
            if other.status != "ok":
                raise RuntimeError(f"point {self._timed_with.point.id}, timed for this one too: {other.reason}")
            state.window_health, state.remeasured = other.window_health, other.remeasured
        else:
            for index, windows in enumerate(state.measurement.windows):
                windows.append(self.window(index, len(windows)))
                state.window_health.append(windows[-1].health)
        first = len(state.measurement.windows[0]) == 1
        if first or state.timed(self.config.measure):
            artifacts.write_samples(self.folder, state.measurement)
        return "ok"
