"""Put the report together as blocks, which html and markdown write: `document(table.load(folder), …)`."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.report import questions, race, recommend, sections
from trt_sweep.analysis.report import sentences as report_sentences
from trt_sweep.analysis.report.cards import trade_offs, what_each_does, what_to_set
from trt_sweep.analysis.report.document import Block, Bullets, Cards, Folded, Heading, Text
from trt_sweep.analysis.report.plots import DOTS
from trt_sweep.analysis.report.recommend import Wanted
from trt_sweep.analysis.report.sections import Section, ordered
from trt_sweep.analysis.report.sentences import (
    MOST,
    by_throughput,
    caveats,
    cost,
    failed,
    left_out,
    remarks,
    swept,
    ties,
    winner,
)
from trt_sweep.analysis.report.tables import (
    effect_grid,
    environment_grid,
    front_grid,
    points,
    second_grid,
    verdict_grid,
)
from trt_sweep.results import files
from trt_sweep.results.thresholds import MIN_EFFECT

DELTA = MIN_EFFECT  # a relative difference that does not matter
TASKS = 12  # answers
FRONTS = 6  # figures of trade-offs
EFFECTS = (
    "Each value against the base, all else held fixed: {latency_ms} latency, {gpu_ms} the GPU's own work "
    "(gpu_ms), with 95 % intervals. Left of 0 is faster."
)
MEANS = (
    "Mean change over the pairs of points that differ in this setting only, with its 95 % interval. The interval of a "
    "time follows from its scatter, that of another figure from the scatter of the pairs, of which it takes three."
)
NO_EFFECT = (
    "No effect (none): the change is proved to be within ±{:.3g} %, or the engines are the same. Not told apart: "
    "neither that nor a change is proved."
)


def document(
    rows: pd.DataFrame,
    folder: Path,
    out: Path | None,
    wanted: Wanted,
    delta: float = DELTA,
    *,
    measure_again: bool = False,
) -> list[Block]:
    """Return the report of `trt_sweep.load(folder)`, as it is written into `out`, or into that folder where it is None.

    Raise SweepError for constraints that these records cannot be asked about. Raise it too where `measure_again` cannot
    be done, see `remeasure.again`.
    """
    recommend.check(wanted, rows)
    places = list(sections.split(rows, delta))
    advices = [
        [recommend.advise(task, wanted) for task in ordered(place.rows, recommend.tasks(place.rows, wanted.objective))]
        for place in places
    ]
    if measure_again:
        from trt_sweep.analysis.report import remeasure  # and torch with it, which no other report needs

        shown = [advice for advice_of_place in advices for advice in advice_of_place[:TASKS]]
        second = iter(remeasure.again(shown, folder, out))
        advices = [[*(next(second) for _ in listed[:TASKS]), *listed[TASKS:]] for listed in advices]
    several = len(places) > 1
    found: list[Block] = [Heading(f"Sweep report: {folder.absolute().name}", 1)]
    if several:
        found.append(Text("Records of several GPUs, devices or flavours stand apart: they are not compared."))
    if rows["sweep_id"].nunique() > 1:
        found.append(Text("Each sweep has cards of its own: times of different sweeps are not compared."))
    found.append(Heading("What to set"))
    for place, advice in zip(places, advices, strict=True):
        found.append(Heading(place.title, 3) if several else Text(place.title))
        found += _answers(place, advice, wanted.objective, folder)
    if left_out := files.left_out_of(rows):
        found.append(Bullets(left_out))
    found += race.blocks(rows, folder)
    prefix = os.path.relpath(folder, out or folder)
    for place, advice in zip(places, advices, strict=True):
        found += [Heading(place.title)] * several
        found += _details(place, advice, wanted.objective, folder=folder, prefix=prefix, delta=delta, level=2 + several)
    return [*found, Folded("Open questions", questions.answers(places), level=2)]


def answers(rows: pd.DataFrame, delta: float = DELTA) -> list[Block]:
    """Return the open questions alone, in brief, as headings below one of the third level."""
    return questions.answers(list(sections.split(rows, delta)), level=4, brief=True)


def _answers(place: Section, advices: list[recommend.Advice], objective: str, folder: Path) -> list[Block]:
    """Return what to set for each model, what was swept, and what to know before the numbers are relied on."""
    found: list[Block] = []
    if advices:
        found.append(Cards([what_to_set(place, advice, folder) for advice in advices[:TASKS]]))
    else:
        found.append(Text("Nothing can be recommended: no point was timed with success."))
    if len(advices) > TASKS:
        found.append(Text(f"{len(advices) - TASKS} more answers: report a folder with fewer sweeps, or sizes, in it."))
    known = [*by_throughput(place.rows, objective), *caveats(place.rows)]
    return [*found, Bullets([swept(place), *_some(failed(place.rows)), *known])]


def _some(sentences: list[str]) -> list[str]:
    more = len(sentences) - MOST
    return sentences if more <= 0 else [*sentences[:MOST], f"{more} more kinds of failure, see below."]


def _details(
    place: Section,
    advices: list[recommend.Advice],
    objective: str,
    *,
    folder: Path,
    prefix: str,
    delta: float,
    level: int,
) -> list[Block]:
    """Return what each setting does, the trade-offs and the table of points; the evidence is folded."""
    effects, fronts = list(what_each_does(place, objective)), list(trade_offs(place))
    lost = failed(place.rows)
    found: list[Block] = []
    if effects:
        found += [Heading("What each setting does", level), Text(EFFECTS.format(**DOTS)), Cards(effects)]
    if fronts:
        found += [Heading("Trade-offs", level), Cards(fronts[:FRONTS])]
    if len(fronts) > FRONTS:
        found.append(Text(f"{len(fronts) - FRONTS} more under “Points that no other beats”."))
    return [
        *found,
        Heading("Points", level),
        points(place, folder, prefix, objective),
        Heading("Details", level),
        Folded("Answers in full", [block for advice in advices[:TASKS] for block in _advice(place, advice)]),
        Folded("Evidence for each setting", [verdict_grid(place.verdicts), Text(NO_EFFECT.format(100 * delta))]),
        Folded("Effects", [Text(MEANS), effect_grid(place)]),
        Folded("Points that no other beats", front_grid(place)),
        *[Folded(f"Failures ({len(lost)})", [Bullets(lost)])] * bool(lost),
        Folded(
            "Environment and health",
            [environment_grid(place.rows), Bullets(remarks(place.rows) or ["Nothing to remark."])],
        ),
    ]


def _advice(place: Section, advice: recommend.Advice) -> list[Block]:
    objective = advice.objective
    said = [
        winner(advice, place.axes, objective),
        report_sentences.second(advice, objective),
        ties(advice, place.axes, objective),
        cost(advice, objective),
        left_out(advice),
    ]
    return [Bullets([sentence for sentence in said if sentence]), *second_grid(place, advice, objective)]
