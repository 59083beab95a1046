"""Make spreads that a few rounds tell better known, by what the spreads of all points have in common."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import special

from trt_sweep.results.stats.estimates import Estimate
from trt_sweep.results.stats.unseen import HOST_DRIFT


def moderated(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Return the estimates with their spreads drawn towards what they have in common, and the freedom that this adds.

    Three rounds say little about a spread; those of all points together say more, the more alike they are. Times that
    the host bounds scatter a hundred times as much as others, and are taken by themselves. Empirical Bayes after G. K.
    Smyth, Linear models and empirical Bayes methods (2004), sections 3 and 6.
    """
    by_host = [item.placement >= HOST_DRIFT for item in estimates]
    found = dict[Estimate, Estimate]()
    for bound in (False, True):
        # Equal ones are one measurement, of points that were timed once for all of them.
        found |= _drawn(dict.fromkeys(item for item, host in zip(estimates, by_host, strict=True) if host == bound))
    return [found.get(item, item) for item in estimates]


def _drawn(estimates: Iterable[Estimate]) -> dict[Estimate, Estimate]:
    """Return what becomes of each estimate whose spread is known; nothing where there are fewer than three."""
    known = [item for item in estimates if item.spread > 0 and 0 < item.freedom < math.inf]
    if len(known) < 3:
        return {}
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

    return {item: drawn(item) for item in known}


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
