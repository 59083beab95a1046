"""Hold the time of a point with what is known of its scatter.

All of it works on logarithms, so that noise is relative and an interval never reaches zero.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from scipy import special

from trt_sweep.results.stats.visits import LEVEL

# The floor of a capture's relative standard deviation: what loads of one engine differ by where captures of one load
# show less, as eight sweeps on an H200 told. Over other nights loads scattered as captures do (docs/measuring.md).
LOADS = 0.0015
MOST_SPREAD = 1e9


@dataclass(frozen=True)
class Estimate:
    """Hold a time in ms with what is known of its scatter.

    `spread` is the relative standard deviation between this build's time and that of another one, with `freedom`
    degrees of freedom; nan where nothing is known of it. `visits` are the logarithms of its visits, made in turn with
    those of the other times of `group`; empty where it has none. `anchor` is a time that each group of its model has,
    as it was in this one.
    """

    value: float
    spread: float = math.nan
    freedom: float = math.inf
    visits: tuple[float, ...] = ()
    group: object = None
    anchor: Estimate | None = None

    def __post_init__(self) -> None:
        if MOST_SPREAD < self.spread < math.inf:  # as only a damaged record has it: its square may be no number
            object.__setattr__(self, "spread", MOST_SPREAD)

    @property
    def known(self) -> bool:
        """Return whether anything is known of its scatter."""
        return bool(self.visits) or math.isfinite(self.spread)

    def per(self, items: int) -> Estimate:
        """Return the time of one of so many items."""
        less = math.log(items)
        visits = tuple(log - less for log in self.visits)
        return dataclasses.replace(self, value=self.value / items, visits=visits)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return where another run of the same point is expected; (nan, nan) where nothing is known of its scatter.

        A prediction interval of Student's t (G. J. Hahn and W. Q. Meeker, Statistical Intervals, 1991, section 4.7).
        """
        reach = math.exp(student(self.freedom, (1 + level) / 2) * self.spread)
        return self.value / reach, self.value * reach


def student(freedom: float, quantile: float) -> float:
    """Return a quantile of Student's t."""
    return float(special.stdtrit(min(freedom, 1e6), quantile))


def of_captures(
    value: float, captures: int, between_captures: float | None, builds: int, between_builds: float | None
) -> Estimate:
    """Return the estimate of the GPU's work from its captures: they scatter as builds of one engine do.

    The arguments are as in the columns. One capture alone tells nothing of its scatter. Builds that were timed replace
    the captures, but for no less than these: what moved a capture may have moved all builds.
    """
    of_one, units = (math.nan if between_captures is None else between_captures), captures
    if between_builds is not None:
        of_one, units = max(between_builds, (between_captures or 0.0) / math.sqrt(captures)), builds
    return Estimate(value, max(of_one, LOADS) * math.sqrt(1 + 1 / units), units - 1)


def of_call(work: float, gpu_ms: float, latency_ms: float) -> float:
    """Return how far another build's latency may lie, where its GPU work lies `work` away: relative, both.

    What another build's addresses do to the GPU's work, they do to its part of a call.
    """
    return work * min(gpu_ms / latency_ms, 1.0)
