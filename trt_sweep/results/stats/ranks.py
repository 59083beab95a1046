"""Rank times as far as the data prove that they differ."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from trt_sweep.results.stats import differences, visits
from trt_sweep.results.stats.estimates import Estimate, student
from trt_sweep.results.stats.shrinkage import moderated
from trt_sweep.results.stats.visits import LEVEL


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
    pairs = max(len(estimates) * (len(estimates) - 1) // 2, 1)
    if not any(item.visits for item in estimates):
        return _by_scatter(estimates, (1 - LEVEL) / pairs)
    level = 1 - (1 - LEVEL) / pairs
    sides = _by_anchor(estimates, level)
    every = [np.sort(item.visits) for item in estimates]
    fast = [each[visits.fast(each)] if len(each) else each for each in every]
    reach = [student(item.freedom, (1 + level) / 2) * item.spread for item in estimates]
    for a, b in itertools.combinations(range(len(estimates)), 2):
        if not differences.together((estimates[a], estimates[b])):
            continue
        side = visits.side(fast[a], fast[b], level)
        gap = max(fast[a][0] - fast[b][-1], fast[b][0] - fast[a][-1])
        if side and gap <= math.hypot(reach[a], reach[b]):  # else what visits do not show cannot change the answer
            side = differences.by_visits(estimates[a], estimates[b]).side(pairs)
        sides[a, b], sides[b, a] = side, -side
    return sides


def _by_anchor(estimates: Sequence[Estimate], level: float) -> np.ndarray:
    """Return the same for times of two groups with one anchor: `differences.by_anchor` of each pair, all at once."""
    sides = np.zeros((len(estimates), len(estimates)), dtype=int)
    groups: dict[object, list[int]] = {}
    for index, item in enumerate(estimates):
        if item.visits and item.anchor is not None:
            groups.setdefault(item.anchor.group, []).append(index)
    for places in groups.values():
        if len({estimates[place].group for place in places}) < 2:
            continue
        found = [differences.to_anchor(estimates[place]) for place in places]
        values = np.array([one.value for one in found])
        lows, highs = np.array([one.interval(level) for one in found]).T
        down, up = values - lows, highs - values
        apart = values[:, None] - values
        proved = (apart > np.hypot(down[:, None], up)).astype(int) - (-apart > np.hypot(up[:, None], down))
        other = [[estimates[a].group != estimates[b].group for b in places] for a in places]
        sides[np.ix_(places, places)] = proved * other
    return sides


def _by_scatter(estimates: Sequence[Estimate], chance: float) -> np.ndarray:
    """Return the same for times that were not visited, by Welch's test of each pair: `Difference.side` all at once."""
    logs = np.log([item.value for item in estimates])
    variances = np.array([item.spread**2 for item in estimates])
    both = variances[:, None] + variances
    with np.errstate(invalid="ignore", divide="ignore"):
        losses = variances**2 / np.array([item.freedom for item in estimates])
        freedom = np.minimum(both**2 / (losses[:, None] + losses), 1e6)
        apart = logs[:, None] - logs
        proved = special.stdtr(freedom, -np.abs(apart) / np.sqrt(both)) < chance / 2
    sides: np.ndarray = np.sign(apart).astype(int) * proved
    return sides


def pooled(members: list[Estimate]) -> Estimate:
    """Return one estimate for several of the same thing: their geometric mean, with the widest scatter among them."""
    value = math.exp(float(np.mean([math.log(item.value) for item in members])))
    if len({(item.group, len(item.visits)) for item in members}) == 1 and members[0].visits:
        visited = tuple(np.mean([item.visits for item in members], axis=0).tolist())
        return dataclasses.replace(members[0], value=value, visits=visited)
    widest = max(members, key=lambda item: item.spread if math.isfinite(item.spread) else math.inf)
    return Estimate(value, widest.spread, widest.freedom)
