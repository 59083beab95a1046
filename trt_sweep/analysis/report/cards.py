"""Make the report's cards: what to set for each model, what each setting does, and the trade-offs of each model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trt_sweep.analysis.report import pareto, plots, recommend, sentences, tables, text
from trt_sweep.analysis.report.answer import NOTHING, answer, work
from trt_sweep.analysis.report.document import Card, Code
from trt_sweep.analysis.report.effects import Axis, at_models
from trt_sweep.analysis.report.sections import Section, works
from trt_sweep.backends import reproduction
from trt_sweep.results.stats.differences import Difference
from trt_sweep.sweep.labels import count

SHOWN = 3  # values of a setting in words
NOT_KNOWN = "Not known"
KINDS = {"none": "No difference", "ignored": "Ignored", "cannot be said": NOT_KNOWN}


def what_to_set(place: Section, advice: recommend.Advice, folder: Path) -> Card:
    """Return the answer for one model: what to set, what it takes and against what, how sure that is."""
    objective = advice.objective
    second = sentences.second(advice, objective)
    if advice.use is None:
        return Card(sentences.task(advice.rows, objective), "", [sentences.winner(advice, place.axes, objective)])
    found = answer(place.rows, advice, advice.use)
    less = "takes {} less energy than" if objective == "energy" else "{} as fast as"
    against = [f"{less.format(base.ratio)} {base.called}" for base in found.bases]
    limits = [f"with {' and '.join(advice.limits)}"] * bool(advice.limits)
    lines = [
        ", ".join([found.figure, *limits]),
        *against,
        f"how sure: {found.proof}",
        *found.told,
        *([second.rstrip(".")] if second else []),
    ]
    code = Code(reproduction.source(advice.use, folder / str(advice.use["folder"])))
    plot = plots.answer_plot(found, objective) if found.bases else None
    return Card(found.work, found.settings or NOTHING, [f"{line[0].upper()}{line[1:]}." for line in lines], plot, code)


def what_each_does(place: Section, objective: str) -> Iterator[Card]:
    """Yield a card for each setting: its values with what they change, and that in words."""
    for axis, verdict in zip(place.effects, place.verdicts, strict=True):
        words = [] if verdict.kind in KINDS else _words(place, axis, objective)
        words = words or [f"{KINDS.get(verdict.kind, NOT_KNOWN)}: {verdict.evidence}."]
        yield Card(axis.title, "", words, plots.effect_plot(place, axis, objective))


def _words(place: Section, axis: Axis, objective: str) -> list[str]:
    """Say in words what each value of a setting changes, the largest changes first."""
    said: dict[str, float] = {}
    for pair in axis.pairs:
        of_clock = {
            clock: at_models(place.rows, clock, pair, place.scatters[clock]) for clock in plots.clocks(objective)
        }
        known = {clock: means for clock, means in of_clock.items() if means}
        if not known:
            continue
        changes = "; ".join(_change(clock, means) for clock, means in known.items())
        largest = max(abs(mean.value) for means in known.values() for mean in means.values())
        said[f"{text.named(pair.level)} instead of {text.named(pair.base)}: {changes}."] = largest
    ordered = sorted(said, key=lambda words: -said[words])
    more = len(ordered) - SHOWN
    return [*ordered[:SHOWN], *[f"{more} more under “Effects”."] * (more > 0)]


def _change(clock: str, means: dict[str, Difference]) -> str:
    """Say what changes by a clock: between the models with the least and the largest value."""
    models = sorted(means, key=lambda model: means[model].value)
    ends = [(text.change(means[model].value), model) for model in dict.fromkeys((models[0], models[-1]))]
    alike = len({change for change, _ in ends}) == 1
    change = ends[0][0] if alike else " to ".join(f"{change} ({model})" for change, model in ends)
    proved = any(low > 0 or high < 0 for low, high in (mean.interval() for mean in means.values()))
    return f"{text.CLOCKS[clock]} {change}{'' if proved else ' (not proved)'}".replace(" %", "\N{NO-BREAK SPACE}%")


def trade_offs(place: Section) -> Iterator[Card]:
    """Yield a card for each piece of work: build time against a call's time, and how many points are on the front."""
    rows = place.rows.assign(build_s=pareto.build_seconds(place.rows), front=tables.fronts(place))
    rows = rows[(rows["status"] == "ok") & rows["build_s"].notna()]
    rows = rows[rows[pareto.clock(rows)].astype(float) > 0] if len(rows) else rows
    axes = [axis for axis in place.axes if axis in sentences.differing("latency")]
    for group in [group for group in works(rows) if len(group) > 1 and group["build_s"].max() > 0]:
        on = count(int(group["front"].sum()), "point")
        yield Card(
            work(place.rows, group.iloc[0].to_dict()),
            "",
            [f"{on} of {len(group)} (filled): no other is better in build time, time, memory and error at once."],
            plots.front_plot(group, axes),
        )
