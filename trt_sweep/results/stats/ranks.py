"""Rank times as far as the data prove that they differ."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from trt_sweep.results.stats import visits
from trt_sweep.results.stats.estimates import Estimate, _t
from trt_sweep.results.stats.samples import LEVEL
from trt_sweep.results.stats.shrinkage import moderated


def rank_sets(estimates: Sequence[Estimate], groups: Sequence[object]) -> list[tuple[int, int]]:
    """Return the best and the worst rank that each time can have, given what is proved: (1, 1) is a proved winner.

    Best is one more than the number of times that are proved to be less, worst likewise from the other side (M. Mogstad
    and others, Inference for Ranks, 2024). Members of one group (one engine, say) are taken together and never apart.
    """
    members: dict[object, list[Estimate]] = {}
    for item, group in zip(moderated(estimates), groups, strict=True):
        members.setdefault(group, []).append(item)
    together = [items[0] if len(items) == 1 else pooled(items) for items in members.values()]
    sizes = np.array([len(items) for items in members.values()])
    found = {}
    for name, side in zip(members, _sides(together), strict=True):
        found[name] = (1 + int(sizes[side > 0].sum()), int(sizes.sum()) - int(sizes[side < 0].sum()))
    return [found[name] for name in groups]


def proved(estimates: Sequence[Estimate]) -> list[list[bool]]:
    """Return a matrix: `[i][j]` is true where times i and j are proved to differ, corrected for the number of pairs."""
    found: list[list[bool]] = (_sides(moderated(estimates)) != 0).tolist()
    return found


def _sides(estimates: Sequence[Estimate]) -> np.ndarray:
    """Return a matrix: `[i][j]` is 1 where time i is proved to be more than time j, -1 where less, 0 where neither."""
    if not any(item.visits for item in estimates):
        logs = np.log([item.value for item in estimates])
        signs: np.ndarray = np.sign(logs[:, None] - logs).astype(int) * _apart(estimates)
        return signs
    level = 1 - (1 - LEVEL) / max(len(estimates) * (len(estimates) - 1) // 2, 1)
    sides = np.zeros((len(estimates), len(estimates)), dtype=int)
    every = [np.sort(item.visits) for item in estimates]
    fast = [each[visits.fast(each)] if len(each) else each for each in every]
    for a, b in itertools.combinations(range(len(estimates)), 2):
        if estimates[a].visits and estimates[b].visits and estimates[a].group == estimates[b].group:
            sides[a, b] = visits.side(fast[a], fast[b], level)
            sides[b, a] = -sides[a, b]
    return sides


def _apart(estimates: Sequence[Estimate]) -> np.ndarray:
    """Return the answer of `differences.differ` for every pair, as a matrix.

    Welch's degrees of freedom lie between the smaller of the two and infinity: most pairs are decided by one of these,
    and only the others need a quantile of their own.
    """
    count = len(estimates)
    quantile = 1 - (1 - LEVEL) / 2 / max(count * (count - 1) // 2, 1)
    logs = np.log([item.value for item in estimates])
    variances = np.array([item.variance for item in estimates])
    freedom = np.minimum([item.freedom for item in estimates], 1e6)
    placements = np.array([item.placement for item in estimates]) ** 2
    largest, least = special.stdtrit(freedom, quantile) ** 2, _t(math.inf, quantile) ** 2
    losses = variances**2 / np.where(freedom > 0, freedom, math.nan)
    apart = np.zeros((count, count), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        for index in range(count):
            variance = variances[index] + variances
            beyond = (logs[index] - logs) ** 2 - least * (placements[index] + placements)
            apart[index] = beyond > np.maximum(largest[index], largest) * variance
            (open_,) = np.nonzero(~apart[index] & (beyond > least * variance))
            welch = np.minimum(variance[open_] ** 2 / (losses[index] + losses[open_]), 1e6)
            apart[index, open_] = beyond[open_] > special.stdtrit(welch, quantile) ** 2 * variance[open_]
    np.fill_diagonal(apart, False)
    return apart


def pooled(members: list[Estimate]) -> Estimate:
    """Return one estimate for several of the same thing: their geometric mean, with the widest scatter among them."""
    value = math.exp(float(np.mean([math.log(item.value) for item in members])))
    if len({(item.group, len(item.visits)) for item in members}) == 1 and members[0].visits:
        visited = tuple(np.mean([item.visits for item in members], axis=0).tolist())
        return dataclasses.replace(members[0], value=value, visits=visited)
    widest = max(members, key=lambda item: item.variance if math.isfinite(item.variance) else math.inf)
    return Estimate(value, widest.spread, widest.units, widest.freedom, widest.placement)
