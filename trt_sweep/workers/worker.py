"""Run points: keep their builds, do as a sweep asks, and say which phase it is in."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from trt_sweep import backends
from trt_sweep.backends import base
from trt_sweep.backends.engine_store import PAUSED, PRIVATE, Store
from trt_sweep.backends.torchtrt import loading
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.machine import devices, nvml
from trt_sweep.machine.output import LOG, redirect_output, redirect_to_log
from trt_sweep.models import quantization
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model, float32_mode
from trt_sweep.points import plan
from trt_sweep.points.build import engine_key
from trt_sweep.points.group import BuildGroup
from trt_sweep.points.point import Plan, Point, Preview, Report, Standing
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.points.run import PointRun
from trt_sweep.points.state import GroupContext
from trt_sweep.results.axes import RUN_ONLY
from trt_sweep.results.record import Record
from trt_sweep.workers.protocol import OnPhase, OnRecord

LEAK_BYTES = 1 << 30  # of the GPU's memory; what libraries keep for themselves stays below


class Worker:
    """Hold the points of one sweep that are in hand. It has what `WorkerClient` asks for.

    `on_phase` is told of each phase; `on_record` is given each record, to be written.
    """

    def __init__(self, folder: Path, options: SweepOptions, on_phase: OnPhase, on_record: OnRecord) -> None:
        self._folder, self._options, self._on_phase, self._on_record = folder, options, on_phase, on_record
        self._held = contextlib.ExitStack()
        self._runs: dict[str, PointRun] = {}
        self._last: PointRun | None = None
        self._cache = ProcessCache()
        self._free: dict[torch.device, int] = {}
        self._store: Store | None = None
        self._builds: dict[str, set[str]] = {}  # by what parts of the model their engines are made of
        self._aside_for = "", ""
        self._visit_group = secrets.token_hex(4)
        self._racing = False

    def plan(self, configs: Mapping[int, PointConfig]) -> Plan:
        """Return the points that these jobs lead to, see `plan.plan`; raises SweepError."""
        with redirect_output(self._folder / LOG):
            found = plan.plan(configs, self._options)
        self.prepare(found.builds)
        return found

    def prepare(self, builds: list[list[Point]]) -> None:
        """Import what these need and make the CUDA context, so that the first of them does not wait for it."""
        configs = [build[0].config for build in builds]
        for config in (build[0].config for build in builds if build[0].stored):
            self._builds.setdefault(config.parts_key(RUN_ONLY), set()).add(config.build_id)
        with redirect_output(self._folder / LOG):
            if any(backends.get(config.backend).TENSORRT for config in configs):
                with contextlib.suppress(SweepError):  # the point will say so
                    loading.load()
            for device in {config.device for config in configs}:
                self._note_free(torch.device(device))
        gc.collect()
        gc.freeze()  # what is there by now stays; a collection before each window need not go through it

    def open(self, build: list[Point]) -> None:
        """Take the points of a build in hand."""
        device = torch.device(build[0].config.device)
        with redirect_output(self._folder / LOG):
            self._note_free(device)
            context = GroupContext(
                self._folder.name,
                self._options,
                self._on_phase,
                self._on_record,
                self._cache,
                self._engine_store(build[0].config),
            )
            context.visit_group, context.racing = self._visit_group, self._racing
            group = self._held.enter_context(BuildGroup(build, self._points, context))
        self._runs |= {run.point.id: run for run in group.runs}

    def _note_free(self, device: torch.device) -> None:
        """Note what memory there is before anything is made; the first look makes the process's CUDA context."""
        if device.type == "cuda" and device not in self._free:
            with contextlib.suppress(RuntimeError):  # a GPU without room for a context: the point will say so
                self._free[device] = torch.cuda.mem_get_info(device)[0]

    def move(self, folder: Path, options: SweepOptions) -> None:
        """Work for another sweep, once the last one's points are closed."""
        self._folder, self._options, self._store, self._builds = folder, options, None, {}
        nvml.BUILDER_PIDS.clear()
        redirect_to_log(folder)

    def build_ahead(self, point: Point) -> None:
        """Only build, into the store. What fails is not said: the process that times the point will meet it too."""
        config, backend = point.config, backends.get(point.config.backend)
        try:
            with self.aside(config) as (model, context):
                backend.compile(model, context)
        except Exception:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # raises where no CUDA call works in this process any more
        gc.collect()
        torch.cuda.empty_cache()

    def preview(self, point: Point) -> Preview:
        """Return what the point would be built from, without building it."""
        config, backend = point.config, backends.get(point.config.backend)
        if not backend.TENSORRT:
            return Preview(config.build_id)
        try:
            with self.aside(config) as (model, context):
                planned = backend.plan(model, context)
        except Exception as error:
            return Preview(config.build_id, reason=one_line(error))
        key = engine_key(config, planned, self._options.reuse, alone=True)
        return Preview(key or config.build_id, planned.partition)

    @contextlib.contextmanager
    def aside(self, config: PointConfig) -> Iterator[tuple[Model, base.BuildContext]]:
        """Give a model and what its backend is given, where no point is in hand; the files are gone afterwards."""
        device = devices.resolve("auto" if config.dryrun else config.device)
        of_model, of_size = config.unsized.source_key, config.source_key
        before_model, before_size = self._aside_for
        # What is shared is of one model; its programs for another batch size hold weights of their own.
        if before_model != of_model or (before_size != of_size and not devices.has_room(device)):
            self._cache.clear()
        self._aside_for = of_model, of_size
        with TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            stack.enter_context(redirect_output(folder / LOG))
            store = dataclasses.replace(self._engine_store(config), paused=self._folder / PRIVATE / PAUSED)
            context = base.BuildContext(
                config, device, folder, self._on_phase, lambda _: None, stack, self._cache, store=store
            )
            model = PreparedModel(config, device, self._cache).model()
            model, _ = quantization.quantize_cached(model, config, device, self._cache)
            with torch.no_grad(), float32_mode(config.precision):
                yield model, context

    def anchor(self, point: Point) -> Report:
        """Build a point of an earlier group again, by which this one is tied to it.

        Its record stays as it is. What is written goes into a folder that is deleted with the group.
        """
        private = self._folder / PRIVATE
        private.mkdir(exist_ok=True)
        folder = Path(self._held.enter_context(TemporaryDirectory(dir=private)))
        context = GroupContext(
            self._folder.name,
            self._options,
            self._on_phase,
            lambda _: None,
            self._cache,
            self._engine_store(point.config),
        )
        context.racing = self._racing
        with redirect_output(self._folder / LOG):
            (run,) = self._held.enter_context(BuildGroup([point], lambda _: folder, context)).runs
            self._runs[point.id] = run
            return self._report(run, run.start())

    def tie(self, anchor_id: str, point_ids: list[str]) -> None:
        """Have these points keep the visits of an anchor."""
        for point_id in point_ids:
            self._runs[point_id].tie(self._runs[anchor_id])

    def beside(self, pids: list[int]) -> None:
        """Note which processes build for the same sweep, and so are not of others."""
        nvml.BUILDER_PIDS.clear()
        nvml.BUILDER_PIDS.update(pids)

    def start(self, point_id: str) -> Report:
        """Build, check and time a point for the first time."""
        run = self._last = self._runs[point_id]
        with redirect_output(run.folder / LOG):
            return self._report(run, run.start())

    def visit(self, point_id: str) -> Report | None:
        """Visit a point once more; return None unless that was the last time, or the point failed."""
        run = self._runs[point_id]
        run.state.interleaved = run.state.interleaved or self._last is not run
        self._last = run
        with redirect_output(run.folder / LOG):
            record = run.again()
            return None if record is None else self._report(run, record)

    def race(self) -> None:
        """Visit the points that will be taken in hand until `finish`, however often `measure.visits` says."""
        self._racing = True

    def standing(self, point_ids: list[str], over_ms: float | None) -> dict[str, Standing]:
        """Return how points stand, see `PointRun.standing`."""
        return {point_id: self._runs[point_id].standing(over_ms) for point_id in point_ids}

    def finish(self, point_id: str) -> Report:
        """Visit a point no more."""
        run = self._runs[point_id]
        with redirect_output(run.folder / LOG):
            return self._report(run, run.finish())

    def restart(self, point_ids: list[str]) -> None:
        """Begin the visits of these points anew, with those that have come since."""
        self._visit_group = secrets.token_hex(4)
        for point_id in point_ids:
            self._runs[point_id].state.restart(self._visit_group)

    def profile(self, point_id: str) -> Report:
        """Look into the engines of a point that has been timed for the last time."""
        run = self._runs[point_id]
        with redirect_output(run.folder / LOG):
            return self._report(run, run.profile())

    def look(self, point_id: str, record: Record) -> Report:
        """Look into the engines of a point that another process has timed."""
        run = self._runs[point_id]
        with redirect_output(run.folder / LOG):
            return self._report(run, run.look(record))

    def has_room(self, device: str) -> bool:
        """Return whether another build may be kept beside those in hand."""
        return devices.has_room(torch.device(device))

    def close(self) -> str | None:
        """Let go of all points; return what speaks against taking more in hand, None where nothing does."""
        self._runs.clear()
        self._cache.clear()
        self._visit_group = secrets.token_hex(4)
        if self._options.build_workers and self._store is not None and self._store.folder == self._folder / PRIVATE:
            for path in self._store.taken:
                path.unlink(missing_ok=True)
            self._store.taken.clear()
        self._last, self._racing = None, False
        try:
            with redirect_output(self._folder / LOG):  # the libraries may have something to say
                self._held.close()
                gc.collect()
                # What others take for their builds cannot be told from what stays behind.
                for device, free in self._free.items() if not nvml.BUILDER_PIDS else ():
                    torch.cuda.synchronize(device)
                    torch.cuda.empty_cache()
                    kept = free - torch.cuda.mem_get_info(device)[0]
                    if kept > LEAK_BYTES:
                        return f"{kept / 2**30:.1f} GiB of the GPU's memory were not given back"
        except Exception as error:
            return one_line(error)
        return None

    def _engine_store(self, config: PointConfig) -> Store:
        """Return where the engines of a point are kept: where others may need them, else nowhere."""
        kept = self._options.cache_dir
        if self._store is None:
            self._store = Store(Path(kept).expanduser().absolute() if kept else self._folder / PRIVATE)
        alike = self._builds.get(config.parts_key(RUN_ONLY), ())
        return self._store if kept or self._options.build_workers or len(alike) > 1 else Store()

    def _points(self, point: Point) -> Path:
        return self._folder / "points" / point.id

    def _report(self, run: PointRun, record: Record) -> Report:
        report = run.report(record)
        if not torch.cuda.is_initialized():
            return report
        try:
            torch.cuda.synchronize()
        except Exception:  # an illegal access leaves no CUDA call working in this process
            return dataclasses.replace(report, fit=False, to_profile=False)
        return report
