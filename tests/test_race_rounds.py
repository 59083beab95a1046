"""Which points a race visits, which it drops, and what it tries next; beside a worker whose times are known."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from test_sweep_rounds import Workers, point

from trt_sweep.analysis import race as analysis
from trt_sweep.config.options import SweepOptions
from trt_sweep.errors import SweepError
from trt_sweep.points.point import Plan, Point, Report, Standing
from trt_sweep.results.columns import Environment
from trt_sweep.results.limits import Limit
from trt_sweep.results.race import ONE_LEFT, Goal
from trt_sweep.results.record import Record
from trt_sweep.sweep.interrupts import Interrupts
from trt_sweep.sweep.labels import Labels
from trt_sweep.sweep.progress import Progress
from trt_sweep.sweep.race_rounds import RaceRounds
from trt_sweep.sweep.records import SweepRecords
from trt_sweep.sweep.search import Search
from trt_sweep.sweep.tuning import BUDGET, CUT, DROPPED, FAILED, IN, UNTRIED, VISITS, Tuning
from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.protocol import Assignment, WorkerLost


class Timed(WorkerClient):
    """Visit points whose calls take so many ms, by backend; 0 is a build that fails."""

    def __init__(self, folder: Path, points: list[Point], ms: dict[str, float], log: list[str]) -> None:
        super().__init__(Assignment(folder, SweepOptions(), lambda phase: None, lambda record: None))
        self._points, self._ms, self._log = {each.id: each for each in points}, ms, log
        self.visits: dict[str, list[float]] = {}
        self._draw = np.random.default_rng(0)

    def _record(self, point: Point, final: bool, **more: object) -> Record:
        visits = self.visits[point.id]
        timed = {"latency_ms": float(np.quantile(visits, 0.25)), "latency_ms_min": min(visits), "rel_l2_error": 0.0}
        if len(visits) > 1:
            timed |= {"latency_ms_visits": visits[:], "visit_group": "g", "sweep_id": "s"}
        return Record(**point.axes, point_id=point.id, status="ok", jobs=[0], final=final, **timed, **more)

    def _step(self, method: str, point_id: str, *more: object) -> Report | None:
        point = self._points[point_id]
        backend = str(point.axes["backend"])
        self._log.append(f"{method} {backend}")
        ms = self._ms[backend]
        if not ms:
            failed = Record(
                **point.axes, point_id=point_id, status="build_failed", phase="build", reason="no", final=True
            )
            return Report(failed, rounds=0)
        if method in ("start", "visit"):
            self.visits.setdefault(point_id, []).append(ms * float(np.exp(0.01 * self._draw.standard_normal())))
        return None if method == "visit" else Report(self._record(point, method == "finish"), rounds=48)

    def _ask(self, method: str, *arguments: object, **how: object) -> object:
        if method == "standing":
            ids, _ = arguments
            return {key: Standing(self._record(self._points[key], False)) for key in ids}
        if method == "restart":
            self._log.append("restart")
            for key in arguments[0]:
                del self.visits[key][1:]
        return {"has_room": True, "close": None}.get(method)


class Raced:
    """A race that was run: its state, its steps and its records."""

    def __init__(
        self, tmp_path: Path, ms: dict[str, float], state: Tuning, later: tuple[str, ...] = (), **how: object
    ) -> None:
        self.state, self.log = state, list[str]()
        every = {backend: point("m", backend) for backend in (*ms, *later)}
        self.points = {backend: each for backend, each in every.items() if backend not in later}
        self.records = SweepRecords(
            tmp_path, Plan([[each] for each in every.values()], {"cpu": Environment()}), profile=False
        )
        labels = Labels([*every.values()])
        state.take_over([*self.points.values()], {}, labels)
        waves = [[[every[backend]] for backend in later]] if later else []
        make = how.get("worker") or Timed
        workers = Workers(lambda: make(tmp_path, [*every.values()], ms, self.log))
        with Progress([each.config.backend for each in every.values()]) as progress:
            rounds = RaceRounds(
                workers,
                self.records,
                labels,
                progress,
                race=state,
                more=lambda: waves.pop(0) if waves else [],
                on_phase=lambda phase: None,
                interrupts=how.get("interrupts") or Interrupts(),
                ahead=None,
                over=True,
            )
            rounds.run([[each] for each in self.points.values()])
        state.finish(self.records.all, False)
        self.fates = {fate.label.split()[1]: fate for fate in state.fates.values()}


def test_a_point_is_dropped_once_and_visited_no_more(tmp_path):
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0, "onnx": 1.01}, Tuning(Goal(delta=0.001)))
    assert raced.log.count("visit inductor") == 8 and raced.log.count("visit onnx") > 8
    assert raced.log.count("finish inductor") == 1
    assert raced.fates["inductor"].what == DROPPED and raced.fates["inductor"].visits == 8
    assert "proved worse than m jit" in raced.fates["inductor"].why
    assert all(record.final for record in raced.records.all.values())


def test_the_race_ends_with_the_last(tmp_path):
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, Tuning(Goal()))
    assert raced.state.ended == ONE_LEFT and raced.log.count("visit jit") == 8
    assert raced.state.best == raced.points["jit"].id and raced.fates["jit"].what == IN


def test_the_anchor_is_visited_to_the_end_though_it_is_out(tmp_path):
    raced = Raced(tmp_path, {"eager": 3.0, "jit": 1.0, "inductor": 1.01}, Tuning(Goal(delta=0.001)))
    assert raced.fates["eager"].what == DROPPED and raced.fates["eager"].visits == 8
    assert raced.log.count("visit eager") == raced.log.count("visit jit") > 8


def test_no_more_visits_are_made_than_a_sweep_would_make(tmp_path):
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 1.0001}, Tuning(Goal(delta=1e-6)))
    assert raced.log.count("visit jit") == 48 and raced.state.ended == VISITS


def test_what_others_leave_goes_to_those_that_are_left(tmp_path):
    raced = Raced(
        tmp_path, {"jit": 1.0, "inductor": 1.0001, "onnx": 2.0, "aot_inductor": 2.0}, Tuning(Goal(delta=1e-6))
    )
    assert 48 < raced.log.count("visit jit") <= 4 * 48 / 2


def test_a_later_wave_begins_anew_with_those_that_are_left(tmp_path):
    ms = {"jit": 1.0, "inductor": 2.0, "onnx": 0.5}
    raced = Raced(tmp_path, ms, Tuning(Goal()), later=("onnx",))
    begun = raced.log.index("restart")
    assert raced.log[begun - 1] == "start onnx" and "visit inductor" not in raced.log[begun:]
    assert raced.log[begun:].count("visit jit") == raced.log[begun:].count("visit onnx") == 8
    assert raced.fates["jit"].what == DROPPED and raced.fates["onnx"].what == IN


def test_a_build_that_fails_is_out_and_the_rest_is_raced(tmp_path):
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 0, "onnx": 2.0}, Tuning(Goal()))
    assert raced.fates["inductor"].what == FAILED and raced.fates["inductor"].why == "build_failed in build: no"
    assert raced.state.ended == ONE_LEFT


def test_a_race_without_time_builds_nothing_and_says_so(tmp_path):
    state = Tuning(Goal(), budget_s=1e-9)
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, state)
    assert raced.log == [] and {fate.what for fate in raced.fates.values()} == {UNTRIED}
    assert state.ended == BUDGET
    with pytest.raises(SweepError, match=r"budget=1e-09s is shorter than one build: m jit .* was not built"):
        state.require_some(raced.records.all)


def test_builds_leave_time_for_visits():
    state = Tuning(Goal(), budget_s=100.0)
    assert state.may_build("jit")
    state.built("jit", 80.0)
    assert not state.may_build("jit") and state.may_build("onnx")  # of which nothing is known
    state.began -= 70
    assert not state.may_build("onnx") and not state.spent


def test_what_breaks_a_limit_is_out_and_what_came_nearest_is_known(tmp_path):
    state = Tuning(Goal(limits=(Limit("--max-latency", "latency_ms", 0.5, "ms"),)))
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, state)
    assert {fate.what for fate in raced.fates.values()} == {DROPPED}
    state.keep(tmp_path)
    assert "--max-latency 0.5 ms broken: 1" in (tmp_path / "race.json").read_text()


def test_a_model_that_fails_in_every_way_is_said_in_one_line(tmp_path):
    state = Tuning(Goal())
    raced = Raced(tmp_path, {"jit": 0, "inductor": 0}, state)
    with pytest.raises(
        SweepError, match=r"fails in every way that was tried, 2 of them; the first, m jit .*: build_failed"
    ):
        state.require_some(raced.records.all)


def test_an_interrupt_leaves_points_that_are_not_final(tmp_path):
    interrupts = Interrupts()
    interrupts.signal = 2
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, Tuning(Goal()), interrupts=interrupts)
    assert not any(record.final for record in raced.records.all.values())


def test_a_race_that_goes_on_compares_what_it_finds(tmp_path):
    """Records of an earlier part are taken as they are; without an anchor in common nothing is proved of them."""
    first = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, Tuning(Goal()))
    state = Tuning(Goal())
    state.take_over([*first.points.values()], first.records.all, Labels([*first.points.values()]))
    assert set(state.seen) == {each.id for each in first.points.values()}
    assert state.look({}, 8) and state.best == first.points["jit"].id  # they were visited in turn


def test_points_that_run_one_engine_are_visited_once_and_share_their_fate(tmp_path):
    class Sharing(Timed):
        """Time onnx for aot_inductor too."""

        def _record(self, point: Point, final: bool, **more: object) -> Record:
            if point.axes["backend"] == "aot_inductor":
                leader = next(key for key, each in self._points.items() if each.axes["backend"] == "onnx")
                more |= {"timed_with": leader}
            return super()._record(point, final, **more)

    ms = {"jit": 1.0, "onnx": 2.0, "aot_inductor": 2.0}
    raced = Raced(tmp_path, ms, Tuning(Goal()), worker=Sharing)
    assert raced.log.count("visit onnx") == 8 and "visit aot_inductor" not in raced.log
    onnx, follower = (raced.fates[name] for name in ("onnx", "aot_inductor"))
    assert follower.what == DROPPED and follower.why == onnx.why and follower.same == "m onnx fp32"
    assert raced.log.count("finish aot_inductor") == 1


def spends(state: Tuning, *, dies: bool = False) -> type[Timed]:
    """Return a worker to which the build of onnx takes all of the budget, and its process if it `dies`."""

    class Slow(Timed):
        limits: ClassVar[list[float | None]] = []

        def _step(self, method: str, point_id: str, *more: object) -> Report | None:
            if method == "start":
                self.limits.append(self.assignment.options.limits.total_s)
                if self._points[point_id].axes["backend"] == "onnx":
                    state.began -= 1000
                    if dies:
                        raise WorkerLost("timeout", "build", "no answer")
            return super()._step(method, point_id, *more)

    return Slow


def test_visits_outlive_a_budget_that_a_later_build_spends(tmp_path):
    state = Tuning(Goal(), budget_s=900.0)
    worker = spends(state)
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0, "onnx": 0.5}, state, later=("onnx",), worker=worker)
    assert "restart" not in raced.log and state.ended == BUDGET
    jit = raced.records.all[raced.points["jit"].id]
    assert jit.final and len(jit.latency_ms_visits) == 9
    assert len(worker.limits) == 3 and all(899 < limit <= 900 for limit in worker.limits)


def test_visits_outlive_a_process_that_is_not_started_again(tmp_path):
    state = Tuning(Goal(), budget_s=900.0)
    worker = spends(state, dies=True)
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0, "onnx": 0.5}, state, later=("onnx",), worker=worker)
    jit = raced.records.all[raced.points["jit"].id]
    assert jit.final and len(jit.latency_ms_visits) == 9
    assert raced.fates["onnx"].why == CUT


def test_an_interrupt_of_a_search_leaves_what_was_found(tmp_path):
    """A search cannot be resumed, so that its points are final."""
    interrupts = Interrupts()

    class Interrupting(Timed):
        def _step(self, method: str, point_id: str, *more: object) -> Report | None:
            interrupts.signal = 2 if self._log.count("visit jit") == 10 else None
            return super()._step(method, point_id, *more)

    state = Tuning(Goal(delta=1e-6), search=Search({}, lambda settings: settings, tried={0: {}}))
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 1.0}, state, interrupts=interrupts, worker=Interrupting)
    assert all(record.final and len(record.latency_ms_visits) > 8 for record in raced.records.all.values())


def test_what_does_not_fit_beside_others_in_a_later_wave_is_tried_alone(tmp_path):
    class Full(Timed):
        """Have no room for onnx, neither beside others nor alone."""

        def _step(self, method: str, point_id: str, *more: object) -> Report | None:
            point = self._points[point_id]
            if point.axes["backend"] != "onnx":
                return super()._step(method, point_id, *more)
            self._log.append("no room")
            end = {"status": "out_of_memory", "phase": "build", "reason": "no room", "final": True}
            return Report(Record(**point.axes, point_id=point_id, **end), rounds=0)

    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, Tuning(Goal()), later=("onnx",), worker=Full)
    assert raced.log.count("no room") == 2 and raced.fates["onnx"].what == FAILED
    assert raced.fates["jit"].what == IN and raced.records.all[raced.points["jit"].id].final


def test_points_aside_are_visited_only_where_none_better_keeps_the_limits(tmp_path):
    limit = Limit("--max-latency", "latency_ms", 1.5, "ms")
    for ms, visited in ({"jit": 1.0, "onnx": 1.1}, 0), ({"jit": 3.0, "onnx": 1.1}, 8):
        state = Tuning(Goal(limits=(limit,)))
        state.aside = {point("m", "onnx").id}
        raced = Raced(tmp_path / str(visited), ms, state)
        assert raced.log.count("visit onnx") >= visited and (visited or "visit onnx" not in raced.log)
        assert raced.state.best == raced.points["onnx" if visited else "jit"].id


def test_of_points_that_none_can_tell_the_one_whose_figure_keeps_the_limit_wins():
    rows = pd.DataFrame(
        [{"point_id": name, "status": "ok", "peak_gpu_bytes": float(size)} for size, name in enumerate("ab", 1)]
    )
    fate = {"what": IN, "wins": True, "keeps": False}
    road = [fate | {"point_id": "a", "likely": False}, fate | {"point_id": "b", "likely": True}]
    assert analysis.winner(rows, {"road": road, "objective": "memory"})["point_id"] == "b"


def test_a_limit_that_was_surely_kept_stays_so_when_visits_begin_anew(tmp_path):
    state = Tuning(Goal(limits=(Limit("--max-latency", "latency_ms", 1.5, "ms"),)))
    raced = Raced(tmp_path, {"jit": 1.0, "inductor": 2.0}, state)
    key = raced.points["jit"].id
    assert state.seen[key].keeps
    few = vars(raced.records.all[key]) | {"latency_ms_visits": [1.0] * 6}
    state.look({key: (few, None)}, 6)
    assert state.seen[key].keeps and state.best == key
    state.look({key: (few | {"latency_ms_visits": [4.0] * 24, "latency_ms": 4.0, "latency_ms_min": 4.0}, None)}, 24)
    assert not state.seen[key].keeps and raced.fates["jit"].what == DROPPED
