"""Say in at most three lines for each model what to set, what that takes and against what, and what changes nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pandas as pd

from trt_sweep.analysis.report import recommend, sections, sentences, text
from trt_sweep.analysis.report.verdicts import Verdict
from trt_sweep.config import options
from trt_sweep.config.groups import INDUCTOR_MODES
from trt_sweep.results import axes, table
from trt_sweep.results.factories import ARGUMENT
from trt_sweep.results.record import BASELINE
from trt_sweep.results.stats.differences import Difference
from trt_sweep.results.thresholds import MIN_EFFECT
from trt_sweep.sweep.labels import count

WORK = tuple(name for name, row in axes.TABLE.items() if row.task and name != "model")
MOST = 3  # of a kind that a line names
TASKS = 12  # that are answered
SAME = "the same engine"  # with which the evidence of a verdict begins
# How the command line names an axis, where it names it differently.
GROUPS = {
    "quantization_method": "quantization.method",
    "quantization_skip": "quantization.skip",
    "calibration": "quantization.calibration",
}
# Values that are not set by themselves: an older record's word for nothing, a file, what nobody wants.
NOT_SET = (("cache", "none"), ("cache", "frozen"), ("runtime_cache", "cold"))
MANY = {"compile": "+compile.", "factory": "++model.factory."}  # axes that hold several arguments, NAME=value each
NOTHING = "nothing: nothing measured beats the defaults"  # to set


@dataclass(frozen=True)
class Base:
    """Hold what an answer is set against: its row, what it is called, and how much more it takes, as logarithm.

    `tied` says that it may be as good, where all points are asked about at once.
    """

    row: recommend.Row
    name: str
    more: Difference
    tied: bool = False

    @property
    def called(self) -> str:
        """Return its name, and whether the ratio to it says more than is proved."""
        low, high = self.more.interval()
        apart = self.tied and (low > 0 or high < 0)
        return f"{self.name}, if only these two are compared" if apart else self.name

    @property
    def ratio(self) -> str:
        """Return how many times as much it takes, with the interval where that is known."""
        return text.ratio(self.more)


@dataclass(frozen=True)
class Answer:
    """Hold what to set for one model.

    `work` is the model, with what tells it apart. `settings` are as the command line takes them; empty where nothing is
    to be set. `figure` is what the `winner` takes and `proof` how well that is known. `told` is what else is to be
    known: what is as good, what makes no difference.
    """

    work: str
    settings: str
    winner: recommend.Row
    figure: str
    proof: str
    bases: list[Base]
    told: list[str]

    def lines(self) -> list[str]:
        """Return it as a terminal shows it."""
        how = "less than" if self.figure.startswith("energy") else "vs"  # as fast, or with as much more in a second
        against = [f"{base.ratio} {how} {base.called}" for base in self.bases]
        found = [f"{self.work}: set {self.settings or NOTHING}", "; ".join([f"{self.figure}, {self.proof}", *against])]
        return [found[0], f"  {found[1]}", *[f"  {'; '.join(self.told)}"] * bool(self.told)]


def lines(rows: pd.DataFrame, objective: str = "latency") -> list[str]:
    """Return the lines for the table of one or several sweeps, by what is best.

    There are none for a model of which fewer than two points were swept, or none was timed with success.
    """
    rows = sections.prepared(rows)
    tasks = [task for task in recommend.tasks(rows, objective) if task["jobs"].map(bool).sum() > 1]
    said: list[str] = []
    for task in tasks[:TASKS]:
        advice = recommend.advise(task, recommend.Wanted(objective))
        if advice.winner is not None:
            said += answer(rows, advice, advice.winner).lines()
    more = len(tasks) - TASKS
    said += sentences.by_throughput(rows[rows["status"] == "ok"], objective)
    return said + [f"{count(more, 'further answer')}: trt-sweep report FOLDER"] * (more > 0)


def answer(rows: pd.DataFrame, advice: recommend.Advice, winner: recommend.Row) -> Answer:
    """Return the answer for one model: `rows` are those of all models, `winner` is the one to use."""
    objective, loads = advice.objective, _loads(advice, winner)
    idle = _idle(advice.rows)
    needless = [axis for axis, verdict in idle.items() if _is_needless(axis, verdict)]
    set_axes = [axis for axis in _departing(winner) if axis not in needless]
    same = [f"{v.axis} ({_brief(v.evidence)})" for axis, v in idle.items() if axis not in set_axes]
    return Answer(
        work=work(rows, winner, loads),
        settings=" ".join(filter(None, [_settings(winner, needless), *loads.values()])),
        winner=winner,
        figure=f"{sentences.NAMES.get(objective, objective)} {sentences.figure(winner, objective)}",
        proof=_proof(advice),
        bases=list(_bases(advice, winner, objective, needless)),
        told=[
            *_compared(advice, winner, loads),
            *_served(winner),
            *_gone(winner, set_axes),
            *_as_good(advice),
            *[f"no difference: {', '.join(same)}"] * bool(same),
            *_wrong(advice, winner, objective),
        ],
    )


def work(rows: pd.DataFrame, winner: recommend.Row, free: Collection[str] = ()) -> str:
    """Return the name of the model, with the sizes and the sweep where the table has several; without axes to set."""
    several = axes.unsaid_twice([name for name in WORK if rows[name].nunique() > 1])
    sizes = _sizes(rows, winner) if "time_at" in several else []
    several = [name for name in several if name not in ("time_at", *free) and not text.missing(winner[name])]
    named = [*sizes, *(f"{name}={text.level(winner[name])}" for name in several)]
    named += [f"({winner['sweep']})"] * (rows["sweep"].nunique() > 1)
    return " ".join([str(winner["model"]), *named])


def _sizes(rows: pd.DataFrame, winner: recommend.Row) -> list[str]:
    """Return the sizes that a row was timed at, where others of the table, with builds for ranges, have other ones."""
    batch = [f"batch {text.level(winner['batch_size'])}"] * (rows["batch_size"].nunique() > 1)
    differ = bool((rows.groupby("batch_size", dropna=False)["input_shapes"].nunique() > 1).any())
    return [f"at {', '.join([*batch, *[str(winner['input_shapes'])] * differ])}"]


def _loads(advice: recommend.Advice, winner: recommend.Row) -> dict[str, str]:
    """Return what sets the batch size and the number of streams that are a part of the answer, by axis."""
    free = recommend.loads(advice.rows)
    if not text.missing(winner["dynamic_range"]):  # the build has all its sizes
        free = [name for name in free if name != "batch_size"]
    return {name: f"{name}={text.level(winner[name])}" for name in free}


def _compared(advice: recommend.Advice, winner: recommend.Row, loads: Collection[str]) -> list[str]:
    """Say between which of them throughput chose, and how long a call takes then."""
    if not loads:
        return []
    values = [f"{name}={', '.join(map(text.level, sorted(advice.fit[name].unique())))}" for name in loads]
    return [f"chosen by throughput from {' and '.join(values)}; a call takes {sentences.figure(winner, 'latency')}"]


def _served(winner: recommend.Row) -> list[str]:
    """Say for which sizes a build for a range serves, and that the answer holds for one of them."""
    if text.missing(winner["dynamic_range"]):
        return []
    ranges = [part.split(":") for part in str(winner["dynamic_range"]).split()]
    served = ", ".join(f"{low.replace('=', ' ')} to {high}" for low, _, high in ranges)
    return [f"this build serves sizes {served}; the answer is for the size above"]


def _settings(row: recommend.Row, needless: list[str]) -> str:
    """Return what sets a row's axes on the command line."""
    set_axes = [axis for axis in _departing(row) if axis not in needless]
    return " ".join(argument for axis in set_axes for argument in _arguments(row, axis))


def _departing(row: recommend.Row) -> list[str]:
    """Return the axes that are not at what a user gets who sets nothing."""
    departs = recommend.departures(pd.DataFrame([row])).iloc[0]
    return list(departs.index[departs])


def _arguments(row: recommend.Row, axis: str) -> list[str]:
    """Return what sets an axis to the row's value on the command line; nothing for what only a file says."""
    if axis in MANY:
        return [f"{MANY[axis]}{argument}" for argument in ARGUMENT.split(str(row[axis]))]
    if axis == "calibration" or (axis, row[axis]) in NOT_SET:
        return []
    if axis == "dynamic_range":
        sizes = str(row[axis]).replace(":", ",")
        return [] if "=" in sizes else [f"'batch_size=[{sizes}]'"]
    name = GROUPS.get(axis, axis)
    if axis in ("quantization_skip", "keep_fp32"):
        return [f"'{name}=[{','.join(str(row[axis]).split())}]'"]
    if axis == "mode":
        name = "inductor.mode" if row[axis] in INDUCTOR_MODES else "torchscript.mode"
    return [f"{name}={text.level(row[axis])}"]


def _idle(rows: pd.DataFrame) -> dict[str, Verdict]:
    """Return the axes that changed nothing, by any clock."""
    nothing = {}
    for place in sections.split(rows, MIN_EFFECT):
        for axis, one in zip(place.effects, place.verdicts, strict=True):
            if axis.backend is None and one.kind in ("none", "ignored") and "; latency" not in one.evidence:
                nothing[axis.name] = one
    return nothing


def _is_needless(axis: str, verdict: Verdict) -> bool:
    """Return whether an axis need not be set: the engine is the same without, and nothing else depends on it."""
    needed = any(row.goes_with == axis or axis in row.moves for row in axes.TABLE.values())
    same = verdict.kind == "ignored" or verdict.evidence.startswith(SAME)
    on_engine = axis in axes.TABLE and axes.TABLE[axis].acts_on == "engine"
    return same and not needed and (verdict.kind == "ignored" or on_engine)


def _brief(evidence: str) -> str:
    return re.split("[:;(]", evidence)[0].strip()


def _bases(advice: recommend.Advice, winner: recommend.Row, objective: str, needless: list[str]) -> Iterator[Base]:
    """Yield what the winner is set against; the defaults only where they differ from it in more than `needless`."""
    defaults = advice.defaults
    if (
        advice.cost is not None
        and defaults is not None
        and _settings(defaults, needless) != _settings(winner, needless)
    ):
        tied = defaults["point_id"] in set(advice.ties["point_id"])
        yield Base(defaults, f"the defaults (dynamo {defaults['precision']})", advice.cost, tied)
    ok = advice.rows[advice.rows["status"] == "ok"]
    precision = winner["precision"] if text.missing(winner["base_precision"]) else winner["base_precision"]
    same = ok["precision"].eq(precision) & ok["batch_size"].eq(winner["batch_size"])
    same &= ok["model_id"].eq(winner["model_id"]) & ok["streams"].eq(winner["streams"])
    eager = ok[ok["backend"].eq(BASELINE) & table.plain(ok) & same & ok[options.OBJECTIVES[objective]].notna()]
    for row in eager.head(1).to_dict("records"):
        if row["point_id"] != winner["point_id"]:
            yield Base(row, f"eager {precision}", recommend.more(row, winner, objective))


def _proof(advice: recommend.Advice) -> str:
    """Say how well it is known that nothing else is better."""
    if advice.decided == "gpu" and advice.sure:
        return "the least work of the GPU among those that this does not tell apart"
    if not advice.judged:
        return "not proved"
    own, *others = advice.alike
    if others:
        return f"not proved: one of {len(others) + 1} that nothing measured tells apart"
    return "proved" if len(advice.fit) > len(own) else "the only one to choose from"


def _gone(winner: recommend.Row, set_axes: list[str]) -> list[str]:
    """Say what later versions of Torch-TensorRT do not have."""
    old = "runtime" in set_axes and str(winner["torch_tensorrt"]).startswith(("2.11", "2.12"))
    return ["Torch-TensorRT 2.13 and later have one runtime: leave runtime out there"] * old


def _as_good(advice: recommend.Advice) -> list[str]:
    others = advice.alike[1:]
    if not others or not advice.judged:
        return []
    shown = _shown(advice)
    return [f"as good: {text.listed([sentences.named(rows, shown) for rows in others[:MOST]], MOST, len(others))}"]


def _shown(advice: recommend.Advice) -> list[str]:
    """Return the settings that differ, which name a point."""
    free = recommend.loads(advice.rows)
    return [axis for axis in axes.varied(advice.rows) if axis in axes.SETTINGS or axis in free]


def _wrong(advice: recommend.Advice, winner: recommend.Row, objective: str) -> list[str]:
    """Name what would be better, were its output accurate."""
    column, better_is_more, _ = recommend.OBJECTIVES[objective]
    wrong = advice.rows[(advice.rows["status"] == "inaccurate") & advice.rows[column].notna()]
    better = wrong[(wrong[column] > winner[column]) if better_is_more else (wrong[column] < winner[column])]
    shown = _shown(advice)
    names = [text.label(row, shown) for row in better.to_dict("records")]
    return [f"better, but inaccurate: {text.listed(names, MOST)}"] * bool(names)
