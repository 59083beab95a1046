"""Say how sure a race has to be each time that it looks at its points.

A race drops a point as soon as it is proved worse (O. Maron and A. W. Moore, The Racing Algorithm: Model Selection for
Lazy Learners, 1997; M. Birattari and others, A Racing Algorithm for Configuring Metaheuristics, 2002). It looks often,
and whoever looks often enough sees chance win. So the 5 % that all of a race may err are spent over its looks. Look
number l has a share of 1 / (l (l + 1)) of them, and all shares add up to 1, however long the race is (after K. K. G.
Lan and D. L. DeMets, Discrete Sequential Boundaries for Clinical Trials, 1983). The share of a look is divided by the
questions that may be asked in it (Bonferroni): all pairs of points that the visits began with.
"""

from __future__ import annotations

import math

from trt_sweep.results.stats.visits import LEVEL

FIRST = 8  # visits, from which on ten points can be told apart


def is_look(visits: int) -> bool:
    """Return whether a race looks after so many visits: 8, 12, 16, 24, 32, 48, and so on."""
    return visits >= FIRST and any(visits % base == 0 and (visits // base).bit_count() == 1 for base in (4, 6))


def level(look: int, questions: int = 1) -> float:
    """Return the level at which each of so many questions is answered in this look, the first being 1."""
    return 1 - (1 - LEVEL) / (look * (look + 1)) / questions


def share_interval(shares: list[float], level: float) -> tuple[float, float]:
    """Return both ends of the interval of a mean that is known from numbers between 0 and 1.

    They may scatter as they like, as long as they do not depend on each other (W. Hoeffding, Probability Inequalities
    for Sums of Bounded Random Variables, 1963, theorem 1).
    """
    mean, most = sum(shares) / len(shares), math.log(2 / (1 - level)) / len(shares)

    def end(outer: float) -> float:
        inside = mean
        for _ in range(60):  # by bisection
            middle = (inside + outer) / 2
            inside, outer = (middle, outer) if _divergence(mean, middle) < most else (inside, middle)
        return outer

    return end(0.0), end(1.0)


def _divergence(mean: float, other: float) -> float:
    """Return Kullback and Leibler's divergence of two coins; infinite where the other one never shows what was seen."""
    found = 0.0
    for one, two in ((mean, other), (1 - mean, 1 - other)):
        if one > 0:
            found += math.inf if two <= 0 else one * math.log(one / two)
    return found
