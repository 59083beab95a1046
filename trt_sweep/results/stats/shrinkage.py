"""Make spreads that a few captures tell better known, by what the spreads of all points have in common."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from trt_sweep.results.stats.estimates import Estimate


def moderated(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Return the estimates with their spreads drawn towards what they have in common, and the freedom that this adds.

    A few captures say little about a spread; those of all points together say more, the more alike they are. Equal
    estimates are one measurement, of points that were timed once for all of them. Fewer than three stay as they are.
    Empirical Bayes after G. K. Smyth, Linear models and empirical Bayes methods (2004), sections 3 and 6.
    """
    known = [item for item in dict.fromkeys(estimates) if item.spread > 0 and 0 < item.freedom < math.inf]
    if len(known) < 3:
        return list(estimates)
    freedom = np.array([item.freedom for item in known])
    logs = np.log([item.spread**2 for item in known])
    shifted = logs - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = float(shifted.var(ddof=1) - special.polygamma(1, freedom / 2).mean())
    prior = 2 * _inverse_trigamma(excess) if excess > 0 else math.inf
    if math.isinf(prior):
        common, prior = math.exp(float(shifted.mean())), float(freedom.sum())
    else:
        common = math.exp(float(shifted.mean() + special.digamma(prior / 2) - math.log(prior / 2)))

    def drawn(item: Estimate) -> Estimate:
        total = item.freedom + prior
        spread = math.sqrt((item.freedom * item.spread**2 + prior * common) / total)
        return dataclasses.replace(item, spread=spread, freedom=total)

    found = {item: drawn(item) for item in known}
    return [found.get(item, item) for item in estimates]


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value, by Newton's method as in the appendix of Smyth (2004)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x += step
        if abs(step) < 1e-10 * x:
            break
    return float(x)
