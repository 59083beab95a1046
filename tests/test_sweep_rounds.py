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


def point(name: str) -> Point:
    model = ModelConfig(name=name, factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    config = PointConfig(model=model, backend="eager", device="cpu", measure=MeasureConfig())
    axes = vars(Axes(model=name, model_id=name, backend="eager", precision="fp32", batch_size=1, dryrun=False))
    return Point(config, [0], axes=axes)


class Logged(WorkerClient):
    """Answer as told, and note each step in `log`."""

    def __init__(self, folder: Path, points: list[Point], answer: Answer, log: list[str]) -> None:
        super().__init__(Assignment(folder, SweepOptions(), lambda phase: None, lambda record: None))
        self._points, self._answer, self._log = {each.id: each for each in points}, answer, log

    def _step(self, method: str, point_id: str, *more: object) -> Report | None:
        point = self._points[point_id]
        self._log.append(f"{method} {point.axes['model']}")
        status = self._answer(method, point)
        done = status != "ok" or self._log.count(f"visit {point.axes['model']}") >= VISITS
        if method == "visit" and not done:
            return None
        row = Record(**point.axes, point_id=point.id, sweep_id="s", jobs=[0], status=status, final=done)
        return Report(row, rounds=VISITS if status == "ok" else 0)

    def _ask(self, method: str, *arguments: object, **how: object) -> object:
        return {"has_room": True, "close": None}.get(method)


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


def run(tmp_path: Path, answer: Answer, *names: str, interrupts: Interrupts | None = None):
    points = [point(name) for name in names]
    records = SweepRecords(tmp_path, Plan([[each] for each in points], {"cpu": Environment()}), profile=False)
    log: list[str] = []
    workers = Workers(lambda: Logged(tmp_path, points, answer, log))
    with Progress(["eager"] * len(points)) as progress:
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
    assert log[:2] == ["start a", "start b"]
    assert [sorted(log[start : start + 2]) for start in (2, 4)] == [["visit a", "visit b"]] * 2
    assert [row.final for row in rows] == [True, True] and workers.started == 1


def test_a_point_that_fails_has_no_further_round(tmp_path):
    log, rows, _ = run(tmp_path, lambda method, point: "run_failed" if point.axes["model"] == "a" else "ok", "a", "b")
    assert log == ["start a", "start b", "visit b", "visit b"]
    assert [row.status for row in rows] == ["run_failed", "ok"]


def test_what_a_lost_worker_had_in_hand_is_built_again_apart_from_the_rest(tmp_path):
    def answer(method: str, point: Point) -> str:
        if point.axes["model"] == "b":
            raise WorkerLost("crashed", "build", "killed")
        return "ok"

    log, rows, workers = run(tmp_path, answer, "a", "b", "c")
    assert log == ["start a", "start b", *["start a", "visit a", "visit a"], *["start c", "visit c", "visit c"]]
    assert [row.status for row in rows] == ["ok", "crashed", "ok"] and workers.started == 2


def test_memory_that_runs_out_beside_others_is_tried_alone(tmp_path):
    tried: list[str] = []

    def answer(method: str, point: Point) -> str:
        tried.append(point.axes["model"])
        return "out_of_memory" if point.axes["model"] == "b" and tried.count("b") == 1 else "ok"

    log, rows, workers = run(tmp_path, answer, "a", "b")
    assert log[:4] == ["start a", "start b", "visit a", "visit a"] and log[4] == "start b"
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
    assert log == ["start a"] and rows[0].status == "ok" and rows[1] is None
