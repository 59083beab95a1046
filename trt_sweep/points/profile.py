"""Look inside the engines: where the time of a call goes, and each layer's, apart from the timed windows."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from trt_sweep import backends
from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.backends.tensorrt.layer_timers import LayerTimer, LayerTimes
from trt_sweep.config.point import DETAILED
from trt_sweep.errors import Unsupported
from trt_sweep.machine import locks
from trt_sweep.measure import clocks
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.model import Inputs, Model, float32_mode
from trt_sweep.points import trace
from trt_sweep.results.layers import profiles
from trt_sweep.results.measured import Profile
from trt_sweep.results.store import write_json

log = logging.getLogger(__name__)

# Fewer of either where they take longer: a trace has thousands of events for each second that the host launches.
WARMUP_CALLS, TRACED_CALLS, TRACED_S = 5, 10, 2.0
# With layers reported. The first calls are dropped: RTX compiles kernels, and the host's time is learned.
LEARNED_CALLS, DROPPED_CALLS, CALLS = 2, 3, 50
LAYERS_S = 10.0  # seconds after which no further call is profiled, once there are LEAST_CALLS
LEAST_CALLS, LEAST_S = 10, 60.0  # and fewer than that where calls are so slow
LEAD, LEAD_S = 1.5, 0.1  # times what the host takes, and seconds at most
TRACE = "trace.json.gz"


def of_point(model: Model, compiled: Compiled, context: BuildContext, key: str | None) -> Profile:
    """Look into the engines of a point that has been timed, or into others built for that.

    That is where the timed ones do not tell of their layers, or CUDA graphs hide them. One thread calls, and copies
    nothing. What is found under `key` is shared with the points of the same engine. Raises Unsupported where a backend
    keeps its engines to itself, and whatever goes wrong on the way.
    """
    config, device, cache = context.config, context.device, context.cache
    if compiled.layer_timers is None:
        raise Unsupported(f"backend={config.backend} keeps its engines to itself")
    found: tuple[str, Profile] | None = cache.get(("profile", key)) if key is not None else None
    if found is not None:
        return dataclasses.replace(found[1], profile_from=found[0])
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(float32_mode(config.precision))
        if config.profiling_verbosity != DETAILED or config.cuda_graphs:
            compiled = _detailed(model, context, stack)
        stack.enter_context(locks.device_lock(device, context.phase))
        context.phase("profile")  # behind the wait, which no limit counts
        stack.enter_context(compiled.running())
        inside = look_inside(compiled, example_inputs(config.timed, device), device, context.folder)
    if key is not None:
        cache.put(("profile", key), (config.point_id, inside))
    return inside


def _detailed(model: Model, context: BuildContext, stack: contextlib.ExitStack) -> Compiled:
    """Another build, of engines that tell everything; `stack` undoes it."""
    others = dataclasses.replace(
        context,
        config=dataclasses.replace(context.config, profiling_verbosity=DETAILED, cuda_graphs=False),
        folder=Path(stack.enter_context(tempfile.TemporaryDirectory())),
        keep=lambda _: None,
        stack=stack,
        reuse=lambda _: None,
    )
    return backends.get(context.config.backend).compile(model, others)


def look_inside(compiled: Compiled, inputs: Inputs, device: torch.device, folder: Path) -> Profile:
    """Trace some calls, then have the engines report their layers' times in some more; write both into `folder`.

    The columns of the row; `compiled` must have `layer_timers` and no CUDA graphs.
    """
    assert compiled.bind is not None and compiled.layer_timers is not None
    stream = torch.cuda.Stream(device)
    whole = _whole(compiled.layer_timers)
    with torch.cuda.stream(stream), _marked(compiled.layer_timers):
        plain = compiled.bind(inputs)

        def call() -> None:
            with record_function(f"{trace.ENGINE} 0") if whole else contextlib.nullcontext():
                plain()

        spent = _trace(call, device, folder)
        shutil.rmtree(folder / profiles.ENGINES, ignore_errors=True)
        times = _layer_times(call, compiled.layer_timers, device)
    for number, (timer, samples) in enumerate(zip(compiled.layer_timers, times, strict=True)):
        place = folder / profiles.ENGINES / str(number)
        write_json(place / profiles.LATENCY, samples)
        write_json(place / profiles.INFO, json.loads(timer.information() or "{}"))
        if timer.modules:
            write_json(place / profiles.ONNX_MODULES, timer.modules)
    write_json(folder / profiles.TIME, spent)
    if not times:
        return _columns(folder, None, spent)
    engine_id, calls = compiled.build.engine_id, max((len(each) for one in times for each in one.values()), default=0)
    about = {"engine_id": engine_id, "engines": len(times), "calls": calls}
    about["runtime"] = compiled.layer_timers[0].runtime
    write_json(folder / profiles.ENGINES / profiles.PROFILE, about)
    return _columns(folder, engine_id, spent)


def _whole(timers: list[LayerTimer] | None) -> bool:
    """Whether the whole call is one engine's."""
    return bool(timers) and timers[0].module is None  # type: ignore[index]


@contextlib.contextmanager
def _marked(timers: list[LayerTimer]) -> Iterator[None]:
    """While it lasts, each engine's part of a call bears its number in the profiler's trace."""
    with contextlib.ExitStack() as stack:
        for number, timer in enumerate(timers):
            if timer.module is not None:
                for handle in _hooks(timer.module, f"{trace.ENGINE} {number}"):
                    stack.callback(handle.remove)
        yield


def _hooks(module: torch.nn.Module, name: str) -> list[Any]:
    open_marks: list[Any] = []

    def before(*_: Any) -> None:
        open_marks.append(record_function(name))
        open_marks[-1].__enter__()

    def after(*_: Any) -> None:
        open_marks.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def _trace(call: clocks.Call, device: torch.device, folder: Path) -> dict[str, Any]:
    start = now = time.monotonic()
    took_s = 0.0
    for number in range(WARMUP_CALLS):
        call()
        clocks.synchronize(device)
        took_s, now = time.monotonic() - now, time.monotonic()
        if number and now - start > TRACED_S:  # not after the first, which compiles what it needs
            break
    traced = min(TRACED_CALLS, max(int(TRACED_S / took_s), 1))
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(traced):
            with record_function(trace.CALL):
                call()
        clocks.synchronize(device)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "trace.json"
        profiler.export_chrome_trace(str(path))
        content = path.read_bytes()
    with gzip.open(folder / TRACE, "wb") as file:
        file.write(content)
    return trace.where_time_goes(json.loads(content)["traceEvents"])


def _layer_times(call: clocks.Call, timers: list[LayerTimer], device: torch.device) -> list[dict[str, list[float]]]:
    """By engine: the samples of each layer in ms, in the order of execution."""
    found: list[dict[str, list[float]]] = [{} for _ in timers]
    if not timers:
        return found
    with contextlib.ExitStack() as stack:
        leads = []
        for timer in timers:
            timer.attach()
            stack.callback(timer.detach)
            leads.append(_Lead(device))
            if timer.module is not None:
                stack.callback(timer.module.register_forward_pre_hook(leads[-1].before).remove)
                stack.callback(timer.module.register_forward_hook(leads[-1].after).remove)
        whole = leads[0] if _whole(timers) else None
        start = time.monotonic()
        for number in range(DROPPED_CALLS + CALLS):
            took_s = time.monotonic() - start
            if number >= DROPPED_CALLS + LEAST_CALLS and took_s > LAYERS_S:
                break
            if number > DROPPED_CALLS and took_s > LEAST_S:
                break
            for lead in leads:
                lead.learning = number < LEARNED_CALLS
            if whole is not None:
                whole.before()
            call()
            if whole is not None:
                whole.after()
            clocks.synchronize(device)
            for samples, timer in zip(found, timers, strict=True):
                _add(samples, timer.reported() if number >= DROPPED_CALLS else _dropped(timer))
    return found


class _Lead:
    """Keeps the GPU busy while the host issues an engine's layers.

    What a layer reports is the time between two events around it: where the GPU is ahead of the host, it includes the
    host's gaps, and these differ between the runtimes by a factor of ten.
    """

    def __init__(self, device: torch.device) -> None:
        self.learning = True
        self._device, self._host_s, self._began = device, math.inf, 0.0

    def before(self, *_: Any) -> None:
        if not self.learning:
            clocks.spin(self._device, min(LEAD * self._host_s, LEAD_S))
        self._began = time.perf_counter()

    def after(self, *_: Any) -> None:
        if self.learning:
            self._host_s = min(self._host_s, time.perf_counter() - self._began)


def _dropped(timer: LayerTimer) -> LayerTimes:
    timer.reported()
    return []


def _add(samples: dict[str, list[float]], times: LayerTimes) -> None:
    """Another call's times; a name that comes twice in a call is one layer run twice, and counts with its sum."""
    once: dict[str, float] = {}
    for name, ms in times:
        once[name] = once.get(name, 0.0) + ms
    for name, ms in once.items():
        samples.setdefault(name, []).append(round(ms, 6))


def _columns(folder: Path, engine_id: str | None, spent: dict[str, Any]) -> Profile:
    parts = {
        "engines_gpu_ms": sum(row["gpu_ms"] for row in spent["engines"]),
        "fallback_gpu_ms": sum(row["gpu_ms"] for row in spent["fallback"]),
        "traced_span_ms": spent["span_ms"],
        "traced_idle_ms": spent["idle_ms"],
    }
    if engine_id is None:
        return Profile(**parts)
    table = profiles.load(folder)
    moved = table[table["moves"].fillna(False).astype(bool)]
    precisions = profiles.precisions(table)
    return Profile(
        profile_engine_id=engine_id,
        layers=len(table),
        layers_ms=float(table["median_ms"].sum()),
        moves_ms=float(moved["median_ms"].sum()),
        layer_precisions=" ".join(f"{name}:{number}" for name, number in precisions.items()) or None,
        **parts,
    )
