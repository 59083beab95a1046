"""Rank times as far as the data prove that they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

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
    values = np.array([item.value for item in together])
    found = {}
    for index, (name, apart) in enumerate(zip(members, _apart(together), strict=True)):
        less = values < values[index]
        below, above = int(sizes[apart & less].sum()), int(sizes[apart & ~less].sum())
        found[name] = (1 + below, int(sizes.sum()) - above)
    return [found[name] for name in groups]


def proved(estimates: Sequence[Estimate]) -> list[list[bool]]:
    """Return a matrix: `[i][j]` is true where times i and j are proved to differ, corrected for the number of pairs."""
    found: list[list[bool]] = _apart(moderated(estimates)).tolist()
    return found


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
    widest = max(members, key=lambda item: item.variance if math.isfinite(item.variance) else math.inf)
    return Estimate(value, widest.spread, widest.units, widest.freedom, widest.placement)
