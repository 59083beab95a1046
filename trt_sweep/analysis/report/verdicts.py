"""Give one verdict for each swept axis: it had an effect, had none, was ignored, or nothing can be said."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from trt_sweep.analysis.report import text
from trt_sweep.analysis.report.effects import Axis, Effect, measured, one_engine
from trt_sweep.analysis.report.pairs import TIMES, Pairs, Scatter
from trt_sweep.analysis.report.pareto import sources
from trt_sweep.results.axes import RUNTIME_AXES
from trt_sweep.results.notes import FLAVORS
from trt_sweep.results.stats.visits import LEVEL
from trt_sweep.sweep.labels import count

Kind = Literal["effect", "none", "ignored", "not told apart", "cannot be said"]
SHOWN = 3  # values of an axis, and models, that a verdict names


@dataclass(frozen=True)
class Verdict:
    """Hold what is known of an axis, and the evidence in words."""

    axis: str
    kind: Kind
    evidence: str


def audit(rows: pd.DataFrame, axes: list[Axis], scatters: dict[str, Scatter], delta: float) -> list[Verdict]:
    """Return the verdicts; no effect means less than the relative `delta` either way, which must be proved.

    It must hold for the mean at each value, and at each model where those differ, while no single pair speaks against
    it. There is no correction for their number, as all of them must pass (R. L. Berger, Multiparameter hypothesis
    testing and acceptance sampling, 1982). That nothing was seen proves nothing.
    """
    rows = rows.reset_index(drop=True)
    return [_verdict(rows, axis, scatters, delta) for axis in axes]


def _verdict(rows: pd.DataFrame, axis: Axis, scatters: dict[str, Scatter], delta: float) -> Verdict:
    if not axis.pairs:
        return Verdict(axis.title, "cannot be said", "no two successful points of one sweep differ in it alone")
    same, pairs = _same_engines(rows, axis.pairs)
    ignored = _ignored(rows, axis)
    if ignored:
        proof = f"; {same} of {pairs} pairs have byte-identical engines" if same else ""
        return Verdict(axis.title, "ignored", ignored + proof)
    runs_differently = axis.name in RUNTIME_AXES
    source = sources(rows).to_numpy()
    once = sum(int((source[pair.a] == source[pair.b]).sum()) for pair in axis.pairs)
    if once == pairs or (same == pairs and not runs_differently):
        return Verdict(axis.title, "none", f"the same engines in {count(pairs, 'pair')}")
    clock = next((clock for clock in TIMES if any(effect.metric == clock for effect in axis.effects)), None)
    if clock is None:
        return Verdict(axis.title, "cannot be said", _untimed(rows, axis.pairs))
    timed = [measured(rows, clock, pair) for pair in axis.pairs]
    timed = [pair for pair in timed if len(pair.a)]
    found = _of_times(axis, clock, timed, scatters[clock], delta)
    # What the host does in a call is seen by its caller alone: CUDA graphs change it more than the GPU's work.
    others = [item for item in axis.effects if item.metric in TIMES and item.metric != clock]
    proved = [item for item in others if item.low > 0 or item.high < 0]
    said = f"; {text.CLOCKS[proved[0].metric]} {_said(proved)}" if proved else ""
    told = [item for item in axis.effects if item.metric == clock] + proved
    also = dict.fromkeys(i.axis for item in told for i in item.interactions if i.axis != "model")
    more = f"; changes with {text.listed(list(also), 2)} as well, see Effects" if also else ""
    return dataclasses.replace(found, evidence=found.evidence + said + more)


def _of_times(axis: Axis, clock: str, timed: list[Pairs], scatter: Scatter, delta: float) -> Verdict:
    what, bound = text.CLOCKS[clock], f"±{100 * delta:.3g} %"
    total = sum(len(pair.a) for pair in timed)
    shown = [effect for effect in axis.effects if effect.metric == clock]
    said = _said(shown)
    means = [
        mean
        for effect, pair in zip(shown, timed, strict=True)
        for mean in (effect.models.values() or [scatter.mean(pair.a, pair.b)])
    ]
    each, reach = (np.concatenate(ends) for ends in zip(*(scatter.each(pair.a, pair.b) for pair in timed), strict=True))
    strict = 1 - (1 - LEVEL) / total
    apart = np.concatenate([np.abs(d) > r for d, r in (scatter.each(pair.a, pair.b, strict) for pair in timed)])
    if all(mean.within(delta) for mean in means) and not (apart & (np.abs(each) > math.log1p(delta))).any():
        alone = int((np.abs(each) + reach < math.log1p(delta)).sum())
        proved = f" ({alone} of them proved alone)" if total > 1 else ""
        return Verdict(axis.title, "none", f"{what} within {bound} over {count(total, 'pair')}{proved}: {said}")
    intervals = [mean.interval(1 - (1 - LEVEL) / len(means)) for mean in means]
    if any(low > 0 or high < 0 for low, high in intervals):
        return Verdict(axis.title, "effect", f"{what} {said}")
    if apart.any():
        ends = f"{text.change(float(each.min()))} to {text.change(float(each.max()))}"
        return Verdict(
            axis.title, "effect", f"{what}: {int(apart.sum())} of {total} pairs differ, {ends}; on average {said}"
        )
    return Verdict(axis.title, "not told apart", f"{what} {said}; neither a difference nor less than {bound} is proved")


def _said(shown: list[Effect]) -> str:
    """Say the largest of these effects."""
    largest = sorted(shown, key=lambda effect: -abs(effect.value))
    said = [
        f"{_at_models(effect) or text.change(effect.value, effect.low, effect.high)} from {text.named(effect.base)} "
        + f"to {text.named(effect.level)}"
        + (f" ({effect.pairs} pairs)" if effect.pairs > 1 else "")
        for effect in largest[:SHOWN]
    ]
    more = f"; {count(len(largest) - SHOWN, 'further value')}" if len(largest) > SHOWN else ""
    return ("; " if any(effect.models for effect in shown) else ", ").join(said) + more


def _at_models(effect: Effect) -> str:
    """Return the effect at each model, the largest first, where one mean does not say it: it may be that of none."""
    largest = sorted(effect.models.items(), key=lambda item: -abs(item[1].value))
    said = [
        f"{'the same engines' if one_engine(mean) else text.change(mean.value, *mean.interval())} at {name}"
        for name, mean in largest
    ]
    return text.listed(said, SHOWN)


def _ignored(rows: pd.DataFrame, axis: Axis) -> str | None:
    """Say what is known of the library that ran, where it is known to ignore this axis in every pair."""
    used = np.concatenate([side for pair in axis.pairs for side in (pair.a, pair.b)])
    among = rows.iloc[np.unique(used)]
    among = among[among[axis.name].notna()]
    names = {axis.name} | {f"compile.{item.split('=')[0]}" for item in _arguments(among, axis.name)}
    if among.empty or not all(names & set(ignored or []) for ignored in among["ignored_axes"]):
        return None
    first = among.iloc[0]
    library = FLAVORS.get(str(first["tensorrt_flavor"]), "the installed library")
    return f"{library} {text.level(first['tensorrt'])} accepts it without effect (ignored_axes)"


def _arguments(rows: pd.DataFrame, axis: str) -> list[str]:
    return [item for value in rows[axis].unique() for item in str(value).split()] if axis == "compile" else []


def _same_engines(rows: pd.DataFrame, pairs: list[Pairs]) -> tuple[int, int]:
    """Return how many pairs have one engine on both sides, and how many pairs there are."""
    engines = rows["engine_id"].astype(object).where(rows["engine_id"].notna(), None).to_numpy()
    same = sum(int(((engines[pair.a] == engines[pair.b]) & (engines[pair.a] != None)).sum()) for pair in pairs)  # noqa: E711
    return same, sum(len(pair.a) for pair in pairs)


def _untimed(rows: pd.DataFrame, pairs: list[Pairs]) -> str:
    """Say what the plans of points that were not timed tell."""
    partition = rows["partition_id"].to_numpy()
    same = sum(int((partition[pair.a] == partition[pair.b]).sum()) for pair in pairs)
    total = sum(len(pair.a) for pair in pairs)
    if rows["partition_id"].isna().all():
        return "nothing was timed"
    return f"nothing was timed; {same} of {count(total, 'pair')} have the same partition"
