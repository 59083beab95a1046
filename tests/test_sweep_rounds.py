"""The order in which points are built and timed, and what is done where a worker is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trt_sweep.config.groups import MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError
from trt_sweep.points.point import Plan, Point, Report
from trt_sweep.results.axes import Axes
from trt_sweep.results.columns import Environment
from trt_sweep.results.record import Record
from trt_sweep.sweep.interrupts import Interrupts
from trt_sweep.sweep.labels import Labels
from trt_sweep.sweep.progress import Progress
from trt_sweep.sweep.records import SweepRecords
from trt_sweep.sweep.rounds import Rounds
from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.protocol import Assignment, WorkerLost

Answer = Callable[[str, Point], str]  # the status of a point after a step, or WorkerLost
VISITS = 2  # after the first


def point(name: str, backend: str = "eager", batch_size: int = 1) -> Point:
    model = ModelConfig(name=name, factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    config = PointConfig(model=model, backend=backend, device="cpu", batch_size=batch_size, measure=MeasureConfig())
    axes = vars(Axes(model=name, model_id=name, backend=backend, precision="fp32", batch_size=1, dryrun=False))
    return Point(config, [0], axes=axes)


class Logged(WorkerClient):
    """Answer as told, and note each step in `log`."""

    def __init__(self, folder: Path, points: list[Point], answer: Answer, log: list[str]) -> None:
        super().__init__(Assignment(folder, SweepOptions(), lambda phase: None, lambda record: None))
        self._points, self._answer, self._log = {each.id: each for each in points}, answer, log
        self._made: dict[str, int] = {}
        self.anchor_id = next((each.id for each in points if each.axes["backend"] == "eager"), None)

    def _step(self, method: str, point_id: str, *more: object) -> Report | None:
        point = self._points[point_id]
        self._log.append(f"{method} {point.axes['model']}")
        status = self._answer(method, point)
        self._made[point_id] = self._made.get(point_id, 0) + (method == "visit")
        done = status != "ok" or self._made[point_id] >= VISITS
        if method == "visit" and not done:
            return None
        more = {"latency_ms_visits": [1.0], "anchor_id": self.anchor_id} if done and status == "ok" else {}
        row = Record(**point.axes, point_id=point.id, sweep_id="s", jobs=[0], status=status, final=done, **more)
        return Report(row, rounds=VISITS if status == "ok" else 0)

    def _anchor(self, anchor: Point) -> Report:
        return Report(Record(**anchor.axes, point_id=anchor.id, status="ok"), rounds=VISITS)

    def _ask(self, method: str, *arguments: object, **how: object) -> object:
        if method == "anchor":
            (anchor,) = arguments
            self._log.append(f"anchor {anchor.axes['model']} {anchor.axes['backend']}")
            self._made[anchor.id] = 0
            return self._anchor(anchor)
        if method == "tie":
            anchor_id, tied = arguments
            self._log.append(f"tie {len(tied)} to {self._points[anchor_id].axes['backend']}")
        return {"has_room": True, "close": None}.get(method)


class Log(list[str]):
    """Hold the steps; those that tie points of a single group are left out where `steps` is asked for."""

    @property
    def steps(self) -> list[str]:
        return [step for step in self if not step.startswith("tie")]


class Workers:
    """Stand where the sweep's worker stands, and count how many there were."""

    def __init__(self, make: Callable[[], WorkerClient]) -> None:
        self._make, self._client, self.started = make, None, 0
        self.full = False

    def ready(self) -> WorkerClient:
        if self._client is None:
            self._client, self.started = self._make(), self.started + 1
        return self._client

    def release_points(self) -> bool:
        return True

    def replace(self) -> None:
        self._client = None


def run(
    tmp_path: Path, answer: Answer, *names: str, interrupts: Interrupts | None = None, points: list[Point] | None = None
):
    points = points or [point(name) for name in names]
    records = SweepRecords(tmp_path, Plan([[each] for each in points], {"cpu": Environment()}), profile=False)
    log = Log()
    workers = Workers(lambda: Logged(tmp_path, points, answer, log))
    with Progress([each.config.backend for each in points]) as progress:
        rounds = Rounds(
            workers,
            records,
            Labels(points),
            progress,
            on_phase=lambda phase: None,
            interrupts=interrupts or Interrupts(),
            ahead=None,
            over=True,
        )
        rounds.run([[each] for each in points])
    return log, [records.get(each) for each in points], workers


def test_all_are_built_first_and_then_timed_in_turn(tmp_path):
    log, rows, workers = run(tmp_path, lambda method, point: "ok", "a", "b")
    assert log.steps[:2] == ["start a", "start b"]
    assert [sorted(log.steps[start : start + 2]) for start in (2, 4)] == [["visit a", "visit b"]] * 2
    assert [row.final for row in rows] == [True, True] and workers.started == 1


def test_a_point_that_fails_has_no_further_round(tmp_path):
    log, rows, _ = run(tmp_path, lambda method, point: "run_failed" if point.axes["model"] == "a" else "ok", "a", "b")
    assert log.steps == ["start a", "start b", "visit b", "visit b"]
    assert [row.status for row in rows] == ["run_failed", "ok"]


def test_what_a_lost_worker_had_in_hand_is_built_again_apart_from_the_rest(tmp_path):
    def answer(method: str, point: Point) -> str:
        if point.axes["model"] == "b":
            raise WorkerLost("crashed", "build", "killed")
        return "ok"

    log, rows, workers = run(tmp_path, answer, "a", "b", "c")
    assert log.steps == ["start a", "start b", *["start a", "visit a", "visit a"], *["start c", "visit c", "visit c"]]
    assert [row.status for row in rows] == ["ok", "crashed", "ok"] and workers.started == 2


def test_memory_that_runs_out_beside_others_is_tried_alone(tmp_path):
    tried: list[str] = []

    def answer(method: str, point: Point) -> str:
        tried.append(point.axes["model"])
        return "out_of_memory" if point.axes["model"] == "b" and tried.count("b") == 1 else "ok"

    log, rows, workers = run(tmp_path, answer, "a", "b")
    assert log.steps[:4] == ["start a", "start b", "visit a", "visit a"] and log.steps[4] == "start b"
    assert [row.status for row in rows] == ["ok", "ok"] and workers.started == 2


def test_a_worker_that_is_lost_between_points_again_and_again_ends_the_sweep(tmp_path):
    class Losing(Logged):
        def _ask(self, method: str, *arguments: object, **how: object) -> object:
            raise WorkerLost("crashed", None, "no driver")

    points = [point("a")]
    workers = Workers(lambda: Losing(tmp_path, points, lambda *_: "ok", []))
    records = SweepRecords(tmp_path, Plan([points], {}), profile=False)
    with Progress(["eager"]) as progress:
        how = {"on_phase": lambda phase: None, "interrupts": Interrupts(), "ahead": None, "over": True}
        rounds = Rounds(workers, records, Labels(points), progress, **how)
        with pytest.raises(SweepError, match="lost again and again: no driver"):
            rounds.run([points])
    assert workers.started == 3


def test_an_interrupt_lets_the_point_at_work_finish(tmp_path):
    interrupts = Interrupts()

    def answer(method: str, point: Point) -> str:
        interrupts.signal = 2
        return "ok"

    log, rows, _ = run(tmp_path, answer, "a", "b", interrupts=interrupts)
    assert log.steps == ["start a"] and rows[0].status == "ok" and rows[1] is None


def two_backends() -> list[Point]:
    return [point("m", "jit"), point("m"), point("m", "inductor"), point("n")]


def lost_at(backend: str) -> Answer:
    """Answer as a worker does that a backend takes down."""

    def answer(method: str, point: Point) -> str:
        if point.axes["backend"] == backend:
            raise WorkerLost("crashed", "build", "killed")
        return "ok"

    return answer


def test_the_points_of_a_model_keep_the_visits_of_eager(tmp_path):
    log, *_ = run(tmp_path, lambda method, point: "ok", points=two_backends())
    assert [step for step in log if "tie" in step] == ["tie 3 to eager", "tie 1 to eager"]
    assert not any("anchor" in step for step in log)


class Full(Workers):
    """Have room for two builds at a time."""

    @property
    def full(self) -> bool:
        started = [step for step in self.log if step.startswith("start")]
        return len(started) == 2 and not any(step.startswith("visit") for step in self.log)

    @full.setter
    def full(self, value: bool) -> None:
        pass


def in_two_groups(tmp_path, make, points=None):
    """Run two groups, with the workers that `make` gives."""
    points, log = points or two_backends(), Log()
    workers = Full(lambda: make(tmp_path, points, lambda *_: "ok", log))
    workers.log = log
    records = SweepRecords(tmp_path, Plan([[each] for each in points], {"cpu": Environment()}), profile=False)
    with Progress([each.config.backend for each in points]) as progress:
        how = {"on_phase": lambda phase: None, "interrupts": Interrupts(), "ahead": None, "over": True}
        Rounds(workers, records, Labels(points), progress, **how).run([[each] for each in points])
    return log, [records.get(each) for each in points], workers


def test_each_group_visits_the_anchor_of_its_models(tmp_path):
    log, rows, _ = in_two_groups(tmp_path, Logged)
    first = log.index("anchor m eager")
    assert log[:2] == ["start m", "start m"] and log[2] == "tie 2 to eager"
    later = log[first:]
    assert later[:3] == ["anchor m eager", "start m", "start n"]  # n had no group before
    assert "tie 1 to eager" in later and later.count("visit m") == 2 * VISITS and later.count("visit n") == VISITS
    assert [row.status for row in rows] == ["ok"] * 4


def test_a_point_started_before_an_anchor_is_lost_is_built_again(tmp_path):
    """It is not to blame, and has its visits to come."""

    class Losing(Logged):
        def _anchor(self, anchor: Point) -> Report:
            raise WorkerLost("crashed", "build", "killed")

    points = [point("m"), point("m", "jit"), point("n"), point("m", "inductor")]
    log, rows, _ = in_two_groups(tmp_path, Losing, points)
    assert [row.status for row in rows] == ["ok"] * 4 and all(row.final for row in rows)
    assert log.count("anchor m eager") == 1 and log.count("start n") == 2


def test_an_anchor_that_leaves_cuda_in_error_takes_no_point_with_it(tmp_path):
    class Broken(Logged):
        def _anchor(self, anchor: Point) -> Report:
            return Report(Record(**anchor.axes, point_id=anchor.id, status="run_failed"), rounds=0, fit=False)

    log, rows, workers = in_two_groups(tmp_path, Broken)
    assert [row.status for row in rows] == ["ok"] * 4 and all(row.final for row in rows)
    assert log.count("anchor m eager") == 1 and workers.started >= 2


def test_an_anchor_that_fails_ties_nothing(tmp_path):
    class Failing(Logged):
        def _anchor(self, anchor: Point) -> Report:
            return Report(Record(**anchor.axes, point_id=anchor.id, status="run_failed"), rounds=0)

    log, rows, _ = in_two_groups(tmp_path, Failing)
    assert [row.status for row in rows] == ["ok"] * 4 and "tie 1 to inductor" in log


def test_memory_that_an_anchor_takes_is_left_to_a_point_that_needs_it(tmp_path):
    """Try a point alone that did not fit beside others: without the anchor, too."""

    class Small(Logged):
        beside = False

        def _step(self, method: str, point_id: str, *more: object) -> Report | None:
            large = self._points[point_id].config.backend == "inductor"
            self._answer = lambda *_: "out_of_memory" if large and self.beside else "ok"
            return super()._step(method, point_id, *more)

        def _anchor(self, anchor: Point) -> Report:
            self.beside = True
            return super()._anchor(anchor)

    log, rows, _ = in_two_groups(tmp_path, Small)
    assert [row.status for row in rows] == ["ok"] * 4
    assert log.count("anchor m eager") == 1


@pytest.mark.parametrize("method", ["anchor", "visit"])
def test_an_anchor_that_takes_the_process_down_is_not_built_again(tmp_path, method):
    """Its record stays, and the points of its group are timed without it."""

    class Losing(Logged):
        def _ask(self, asked: str, *arguments: object, **how: object) -> object:
            found = super()._ask(asked, *arguments, **how)
            if asked == method == "anchor":
                raise WorkerLost("crashed", "timing", "killed")
            return found

        def _step(self, asked: str, point_id: str, *more: object) -> Report | None:
            anchored = any(step.startswith("anchor") for step in self._log)
            if asked == method and anchored and point_id == self.anchor_id and "lost" not in self._log:
                self._log.append("lost")
                raise WorkerLost("crashed", "timing", "killed")
            return super()._step(asked, point_id, *more)

    log, rows, workers = in_two_groups(tmp_path, Losing)
    assert log.count("anchor m eager") == 1 and [row.status for row in rows] == ["ok"] * 4
    assert workers.started >= 2 and all(row.final for row in rows)
