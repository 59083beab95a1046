"""Sweep one axis at a time: the defaults, each value of each axis alone, then what helped, together.

trtexec's tuner goes this way by the least time that it saw. Here a value has helped where it is proved to be faster
than the defaults, by the intervals that a sweep gives.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from trt_sweep.backends.torchtrt import arguments, installed
from trt_sweep.config.options import OBJECTIVES
from trt_sweep.errors import SweepError
from trt_sweep.machine import versions
from trt_sweep.results import ranking, table
from trt_sweep.results.stats import differences, estimates
from trt_sweep.results.stats.visits import LEVEL

ARGUMENT = "+compile."
CLOCKS = {"latency": "latency_ms", "throughput": "latency_ms", "gpu": "gpu_ms"}  # that have intervals


class OneAtATime(BasicSweeper):
    """Two batches: alone, and `together` unless that is false. A job that fails stops neither; Hydra hears of it last.

    Of `params`, which a ready sweep has, the compilation arguments that the installed version lacks are left out. Where
    `not_tried` is given, arguments that it takes are named which stand neither there nor in `params`.
    """

    def __init__(self, params: dict[str, str] | None, *, together: bool = True, not_tried: list[str] | None) -> None:
        super().__init__(max_batch_size=None, params=params)
        self._puts_together, self._not_tried = together, not_tried
        self._frontend = "dynamo"

    def setup(self, **given: Any) -> None:
        """Take a launcher whose failed jobs do not stop the sweep."""
        super().setup(**given)
        self._tolerant = _Tolerant(self.launcher)
        self.launcher = self._tolerant

    def sweep(self, arguments: list[str]) -> Any:
        """Run both batches; raise SweepError at the end where a job failed."""
        backend = [argument.partition("=")[2] for argument in arguments if argument.startswith("backend=")]
        self._frontend = backend[-1] if backend else str(self.config.backend if self.config else "dynamo")
        returns = super().sweep(arguments)
        failed = self._tolerant.failed
        if failed:
            count = f"{len(failed)} of {self._tolerant.jobs} jobs did not succeed"
            raise SweepError(f"{count}; the first: {failed[0]._return_value}")
        return returns

    def _parse_config(self) -> list[str]:
        asked = {name: name.removeprefix(ARGUMENT) for name in self.params if name.startswith(ARGUMENT)}
        known = _taken(self._frontend)
        missing = {name: bare for name, bare in asked.items() if known and bare not in known}
        if missing:
            lacks = f"{installed.torch_tensorrt().name} ({self._frontend}) has not got it"
            print(f"left out, since {lacks}: {', '.join(missing.values())}", file=sys.stderr)
            self.params = {name: value for name, value in self.params.items() if name not in missing}
        new = set() if self._not_tried is None else known - {*self._not_tried, *asked.values()}
        if new:
            print(f"not tried, since this sweep does not know it: {', '.join(sorted(new))}", file=sys.stderr)
        return list(super()._parse_config())

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        """Return the first batch: what all jobs have in common, then that with each value."""
        common, alone = [], []
        for override in overrides:
            key = override.get_key_element()
            if not override.is_sweep_override():
                common.append(f"{key}={override.get_value_element_as_str()}")
            elif override.is_discrete_sweep():
                alone += [f"{key}={value}" for value in override.sweep_string_iterator()]
            else:
                raise SweepError(f"{override.input_line} is not allowed: one_at_a_time takes lists of values, a=1,2,3")
        return [[common, *([*common, value] for value in alone)]]

    def is_done(self) -> bool:
        """Return whether no batch is left: there is a second, unless fewer than two axes have helped."""
        assert self.overrides is not None
        if self.batch_index == 1 and len(self.overrides) == 1 and self._tolerant.jobs:
            together = self._together()
            if together:
                self.overrides = [*self.overrides, together]
        return bool(super().is_done())

    def _together(self) -> list[list[str]]:
        assert self.overrides is not None and self.config is not None
        common, *others = self.overrides[0]
        alone = [job[-1] for job in others]
        rows = table.load(str(self.config.hydra.sweep.dir))
        if (rows["status"] == "dryrun").any():
            print("planned only: which values help is seen where there is a GPU", file=sys.stderr)
            return []
        helped = helping(rows, str(self.config.objective), alone)
        print(f"proved to be better than the defaults, each alone: {', '.join(helped) or 'nothing'}", file=sys.stderr)
        if not self._puts_together:
            for line in told(rows, str(self.config.objective), alone):
                print(line, file=sys.stderr)
            return []
        by_axis: dict[str, list[str | None]] = {}
        for value in helped:
            by_axis.setdefault(value.partition("=")[0], [None]).append(value)
        combined = ([value for value in chosen if value is not None] for chosen in itertools.product(*by_axis.values()))
        return [[*common, *chosen] for chosen in combined if len(chosen) > 1]


class _Tolerant(Launcher):
    """A launcher whose jobs that failed are kept apart from its returns, which would stop the sweeper."""

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher
        self.jobs, self.failed = 0, list[JobReturn]()

    def setup(self, **given: Any) -> None:
        """Do nothing: the launcher was set up before."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs and return those that succeeded."""
        returns = self._launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        self.jobs += len(returns)
        self.failed += [job for job in returns if job.status != JobStatus.COMPLETED]
        return [job for job in returns if job.status == JobStatus.COMPLETED]


def helping(rows: pd.DataFrame, objective: str, alone: list[str]) -> list[str]:
    """Return the values that are proved to be better than the defaults.

    `rows` has job 0 with the defaults, then one job for each of `alone`.

    Raises SweepError for an objective without intervals, and where the defaults themselves did not succeed.
    """
    usable, _ = _usable(rows, objective)
    sides = ((value, _difference(usable, job, objective)) for job, value in enumerate(alone, 1))
    return [value for value, found in sides if found is not None and found.side(len(alone)) < 0]


def told(rows: pd.DataFrame, objective: str, alone: list[str]) -> list[str]:
    """Return a line for each value: what it does to the time, with its interval, and to the error of the output."""
    usable, clock = _usable(rows, objective)
    by_job = _by_job(rows)
    base, lines = usable[0], []
    for job, value in enumerate(alone, 1):
        row, found = by_job.get(job), _difference(usable, job, objective)
        if row is None or found is None:
            lines.append(f"{value}: no {clock}" + ("" if row is None else f", {row['status']}: {row['reason']}"))
            continue
        low, high = found.interval(1 - (1 - LEVEL) / len(alone))
        same = not pd.isna(row["engine_id"]) and row["engine_id"] == base["engine_id"]
        shown = "the same engine" if same else f"{clock} {_percent(found.value)} [{_percent(low)}, {_percent(high)}]"
        effect = "" if found.side(len(alone)) else "none shown: "
        errors = [f"{error:.1e}" for error in (row["rel_l2_error"], base["rel_l2_error"]) if not pd.isna(error)]
        lines.append(f"{value}: {effect}{shown}" + (f"; error {errors[0]}, was {errors[1]}" if errors[1:] else ""))
    return lines


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.2g} %"


def _taken(frontend: str) -> set[str]:
    """Return the compilation arguments that may be given to the installed version; none where there is none."""
    if frontend not in installed.FRONTENDS or versions.flavor() is None:
        return set()
    return set(installed.torch_tensorrt().parameters(frontend)) - {*arguments.AXES, *arguments.OURS, *arguments.FIXED}


def _by_job(rows: pd.DataFrame) -> dict[int, pd.Series]:
    return {job: row for _, row in rows.iterrows() for job in reversed(row["jobs"])}


def _usable(rows: pd.DataFrame, objective: str) -> tuple[dict[int, pd.Series], str]:
    """Return the rows that were timed, by job, and the column of the time; raise what `helping` raises."""
    if objective not in CLOCKS:
        raise SweepError(f"objective={objective} has no interval to judge by: use one of {', '.join(CLOCKS)}")
    clock = CLOCKS[objective]
    by_job = _by_job(rows)
    usable = {job: row for job, row in by_job.items() if row["status"] == "ok" and not pd.isna(row[clock])}
    if 0 not in usable:
        why = f": {by_job[0]['reason']}" if 0 in by_job and not pd.isna(by_job[0]["reason"]) else ""
        raise SweepError(
            f"the defaults have no {OBJECTIVES[objective]}{why}; without them nothing can be said of values"
        )
    return usable, clock


def _difference(usable: dict[int, pd.Series], job: int, objective: str) -> differences.Difference | None:
    """Return how a job's time differs from that of the defaults; None where it was not timed in the same way."""
    base, row = usable[0], usable.get(job)
    # Times of the GPU by two methods are not set against each other.
    if row is None or (CLOCKS[objective] == "gpu_ms" and row["gpu_ms_method"] != base["gpu_ms_method"]):
        return None
    return differences.difference((1, -1), [_estimate(one, objective) for one in (row, base)])


def _estimate(row: pd.Series, objective: str) -> estimates.Estimate:
    """Return the time of a call, or for throughput that of one item of its batch."""
    return ranking.per_item(row) if objective == "throughput" else ranking.estimate(row, CLOCKS[objective])
