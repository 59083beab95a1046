"""Make the record of a point from what it has reached."""

from __future__ import annotations

import dataclasses
from typing import Any

from trt_sweep import backends
from trt_sweep.machine.versions import environment
from trt_sweep.measure import health
from trt_sweep.points.point import Point
from trt_sweep.points.state import PointState
from trt_sweep.results import store
from trt_sweep.results.axes import Axes
from trt_sweep.results.measured import Profile, Timing
from trt_sweep.results.record import Record


def record(point: Point, state: PointState, sweep_id: str, *, profile: bool) -> Record:
    """Return the record as the point stands; `profile` says whether its engines were to be looked into."""
    state.created_utc = state.created_utc or store.now()
    return Record(
        point_id=point.id,
        sweep_id=sweep_id,
        jobs=point.jobs,
        merged_axes=point.merged,
        created_utc=state.created_utc,
        status=state.status,
        phase=None if state.status in ("ok", "dryrun") else state.phase,
        reason=state.reason,
        final=state.final(point.config.measure),
        interleaved=state.interleaved,
        **_columns(point, state, profile),
    )


def with_profile(before: Record, point: Point, state: PointState) -> Record:
    """Return a record of before with what its engines have shown since."""
    return dataclasses.replace(before, **vars(_profile(point, state, before.gpu_ms, wanted=True)))


def _columns(point: Point, state: PointState, profile: bool) -> dict[str, Any]:
    compiled, measurement = state.compiled, state.measurement
    reached = {
        "device": str(state.device) if state.device is not None else None,
        "runtime": compiled.runtime or point.config.runtime,
        "ignored_axes": compiled.ignored_axes,
    }
    complete = measurement is not None and all(measurement.windows)
    timed = measurement.timing() if measurement is not None and complete else Timing()
    parts = (
        Axes(**(point.axes | reached)),
        environment(state.device),
        compiled.partition,
        state.quantization,
        compiled.build,
        timed,
        state.accuracy,
        state.memory,
        health.summary(state.window_health, state.remeasured),
        _profile(point, state, timed.gpu_ms, wanted=profile),
    )
    return {name: value for part in parts for name, value in vars(part).items()}


def _profile(point: Point, state: PointState, gpu_ms: float | None, *, wanted: bool) -> Profile:
    found = state.profile
    if found is None:
        device = state.device.type if state.device is not None else None
        tensorrt = backends.get(point.config.backend).TENSORRT
        found = Profile(profile_reason=point.no_profile(state.status, device, tensorrt) if wanted else None)
    if found.layers_ms is None or gpu_ms is None:
        return found
    return dataclasses.replace(found, layers_over_gpu=found.layers_ms / gpu_ms)
