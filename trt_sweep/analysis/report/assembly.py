"""Put the report together as blocks, which html and markdown write: `document(table.load(folder), …)`."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.report import questions, recommend, sections
from trt_sweep.analysis.report import sentences as report_sentences
from trt_sweep.analysis.report.document import Block, Bullets, Code, Heading, Text
from trt_sweep.analysis.report.plots import effect_plot, front_plot, time_plot
from trt_sweep.analysis.report.recommend import Wanted
from trt_sweep.analysis.report.sections import Section
from trt_sweep.analysis.report.sentences import (
    MOST,
    axes,
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
from trt_sweep.backends import reproduction
from trt_sweep.results import files
from trt_sweep.results.thresholds import MIN_EFFECT

DELTA = MIN_EFFECT  # a relative difference that does not matter
TASKS = 12  # recommendations in full


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
        [recommend.advise(task, wanted) for task in recommend.tasks(place.rows, wanted.objective)] for place in places
    ]
    if measure_again:
        from trt_sweep.analysis.report import remeasure  # and torch with it, which no other report needs

        shown = [advice for advice_of_place in advices for advice in advice_of_place[:TASKS]]
        second = iter(remeasure.again(shown, folder, out, wanted.objective))
        advices = [[*(next(second) for _ in listed[:TASKS]), *listed[TASKS:]] for listed in advices]
    found: list[Block] = [Heading("Sweep report", 1), Heading("Summary")]
    several = len(places) > 1
    if several:
        found.append(
            Text("Records of several GPUs, devices or flavours stand apart and are not set against each other.")
        )
    for place, advice in zip(places, advices, strict=True):
        found += [Heading(place.title, 3), *_summary(place, advice, wanted.objective)]
    if unreadable := files.left_out(rows.attrs.get("unreadable", {})):
        found.append(Bullets(unreadable))
    prefix = os.path.relpath(folder, out or folder)
    for place, advice in zip(places, advices, strict=True):
        found.append(Heading(place.title if several else "In detail"))
        found += _details(place, advice, wanted.objective, folder=folder, prefix=prefix, delta=delta)
    return [*found, Heading("Open questions"), *questions.answers(places)]


def answers(rows: pd.DataFrame, delta: float = DELTA) -> list[Block]:
    """Return the open questions alone, in brief, as headings below one of the third level."""
    return questions.answers(list(sections.split(rows, delta)), level=4, brief=True)


def _summary(place: Section, advices: list[recommend.Advice], objective: str) -> list[Block]:
    winners = [
        " ".join(filter(None, (winner(advice, place.axes, objective), report_sentences.second(advice, objective))))
        for advice in advices
    ]
    said = [swept(place), *_some(winners, "recommendation"), *axes(place)]
    failures = _some(failed(place.rows), "kind of failure")
    return [Bullets([*said, *failures, *caveats(place.rows)])]


def _some(sentences: list[str], what: str) -> list[str]:
    more = len(sentences) - MOST
    return sentences if more <= 0 else [*sentences[:MOST], f"{more} more of this kind below ({what})."]


def _details(
    place: Section, advices: list[recommend.Advice], objective: str, *, folder: Path, prefix: str, delta: float
) -> list[Block]:
    rows = place.rows
    found: list[Block] = [Heading("Recommendation", 3)]
    for advice in advices[:TASKS]:
        found += _advice(place, advice, objective, folder)
    if not advices:
        found.append(Text("Nothing can be recommended: no point was timed with success."))
    elif len(advices) > TASKS:
        found.append(Text(f"{len(advices) - TASKS} further pieces of work: report a folder with fewer of them."))
    found += [
        Heading("What each axis did", 3),
        verdict_grid(place.verdicts),
        Text(
            f"No effect means: within ±{100 * delta:.3g} % is proved, or the engines are the same. Where nothing is "
            "proved either way, nothing is claimed."
        ),
        Heading("Effects", 3),
        Text(
            "Change from the first value of each axis, all others held fixed: mean over the pairs of points that "
            "differ in this axis only, with its 95 % interval. Intervals of times follow from their scatter, those of "
            "other figures from that of the pairs, where there are three."
        ),
        *effect_plot(place),
        effect_grid(place),
        Heading("Trade-offs", 3),
        *front_plot(place),
        *front_grid(place),
        Heading("Points", 3),
        *time_plot(place),
        points(place, prefix),
        Heading("Failures", 3),
        Bullets(failed(rows) or ["None."]),
        Heading("Environment and health", 3),
        environment_grid(rows),
        Bullets(remarks(rows) or ["Nothing to remark."]),
    ]
    return found


def _advice(place: Section, advice: recommend.Advice, objective: str, folder: Path) -> list[Block]:
    said = [
        winner(advice, place.axes, objective),
        report_sentences.second(advice, objective),
        ties(advice, place.axes, objective),
        cost(advice, objective),
        left_out(advice),
    ]
    found: list[Block] = [Bullets([sentence for sentence in said if sentence])]
    found += second_grid(place, advice, objective)
    if advice.use is not None:
        found.append(Code(reproduction.source(advice.use, folder / str(advice.use["folder"]))))
    return found
