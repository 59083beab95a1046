"""The worker of a sweep: which GPU it is on, and when it is started, replaced and left to the next sweep."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from trt_sweep.config.point import PointConfig
from trt_sweep.machine import free_gpu
from trt_sweep.points.phases import HARNESS, START
from trt_sweep.points.point import Plan, Point
from trt_sweep.sweep.phase_times import PhaseTimes
from trt_sweep.workers import host, standby
from trt_sweep.workers.child import WorkerProcess
from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.protocol import Assignment, WorkerLost


class SweepWorker:
    """Start the worker when it is needed, and another where one is lost.

    `gpus` are those that earlier records name, by UUID. Where the sweep may run `anywhere`, a GPU that no other sweep
    has claimed is its own until `close`.
    """

    def __init__(
        self,
        assignment: Assignment,
        phase_times: PhaseTimes,
        *,
        gpus: list[str],
        anywhere: bool,
    ) -> None:
        self._assignment, self._phase_times = assignment, phase_times
        self._claim = contextlib.ExitStack()
        self._standby: WorkerProcess | None = None
        self._client: WorkerClient | None = None
        self._builds: list[list[Point]] = []
        self.environment = self._claimed(gpus, anywhere)

    def _claimed(self, gpus: list[str], anywhere: bool) -> Mapping[str, str]:
        """Return the environment that shows a GPU of our own, where there is a choice.

        That of the last sweep's worker comes first, if it fits; the worker is then ours as well.
        """
        left = standby.take()
        if left is not None and left.fits(gpus if anywhere else None):
            self._claim.enter_context(left.claim)
            self._standby = left.child
            return left.child.environment
        if left is not None:
            left.end()
        return self._claim.enter_context(free_gpu.claim_free_gpu(gpus)) if anywhere else {}

    def plan(self, configs: Mapping[int, PointConfig]) -> Plan:
        """Return what the worker makes of the jobs; one that was taken over may be lost to an earlier sweep's doing."""
        taken_over = self._standby is not None
        client = self.ready()
        self._phase_times.enter(START)
        try:
            found = client.plan(configs)
        except WorkerLost:
            if not taken_over:
                raise
            self.replace()
            found = self.ready().plan(configs)
        self._builds = found.builds
        self._phase_times.enter(HARNESS)
        return found

    def ready(self) -> WorkerClient:
        """Return the worker, started where there is none. Raises SweepError where none comes up."""
        if self._client is None:
            self._phase_times.enter(START)
            left, self._standby = self._standby, None
            self._client = host.start(self._assignment, self.environment, left)
            if self._builds:
                self._client.prepare(self._builds)
            self._phase_times.enter(HARNESS)
        return self._client

    @property
    def cold(self) -> bool:
        """Return whether the worker is still to be started."""
        return self._standby is None and self._client is None

    @property
    def full(self) -> bool:
        """Return whether the worker has been given all the builds that it may have."""
        isolation = self._assignment.options.isolation
        most = 1 if isolation.mode == "job" else isolation.max_jobs
        return self._client is not None and self._client.builds >= most

    def release_points(self) -> bool:
        """Have the worker let go of all points; return whether it may take more."""
        try:
            return self._client is None or self._client.close() is None
        except WorkerLost:
            return False

    def replace(self) -> None:
        """End the worker; the next is started when it is needed."""
        for worker in (self._standby, self._client):
            if worker is not None:
                worker.end()
        self._standby = self._client = None

    def close(self, keep: bool) -> None:
        """End the worker and give the GPU back, or leave both to the next sweep of this process."""
        client = self._client
        if keep and isinstance(client, WorkerProcess) and self._idle(client):
            standby.StandbyWorker(client, self._claim.pop_all())
            self._client = None
        self.replace()
        self._claim.close()

    def _idle(self, client: WorkerClient) -> bool:
        """Return whether the worker may be left to another sweep, now that nothing builds beside it."""
        try:
            client.beside([])
        except WorkerLost:
            return False
        return self.release_points()
