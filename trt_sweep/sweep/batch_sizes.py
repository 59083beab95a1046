"""Search the batch size of the most throughput: double it for as long as that helps, then look between.

So does the quick search of Triton's Model Analyzer. Here what helps is judged by intervals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from trt_sweep.config.sweep import SweepConfig
from trt_sweep.results.stats import differences
from trt_sweep.results.stats.estimates import Estimate
from trt_sweep.sweep.search import Search, Settings

AXIS, SEARCH = "batch_size", "search"
MOST = 2**16
SIZE_VISITS = 16
STEP = 16  # a step of less than one in so many of the batch is not worth a build


@dataclass(frozen=True)
class Size:
    """Hold what is known of a batch size: the time of a sample, None where there is none, and whether it `fits`.

    One fits that could be built and run, and breaks no limit as far as is known; where it keeps all, that is `sure`.
    """

    estimate: Estimate | None = None
    fits: bool = False
    sure: bool = True


def doubled(known: Mapping[int, Size], start: int, delta: float) -> int | None:
    """Return the next size of those that are doubled from `start` on; None where they end.

    They end where throughput surely rises by no more than `delta`, where it cannot be told twice in a row whether it
    does, where a size does not fit, and at `MOST`.
    """
    chain = _chain(known, start)
    if chain and known[chain[-1]].fits and not _levelled([known[size] for size in chain], delta):
        return 2 * chain[-1] if 2 * chain[-1] <= MOST else None
    return None


def towards_limit(known: Mapping[int, Size]) -> int | None:
    """Return a size between the best and the next larger one, where that does not fit; None where they are near.

    Then follows one just below the best, where it is not sure that this keeps the limits.
    """
    best = fastest(known)
    if best is None:
        return None
    step, above = max(best / STEP, 1), min((size for size in known if size > best), default=None)
    if above is not None and not known[above].fits and above - best > step:
        return (best + above) // 2
    below = max((size for size in known if size < best), default=best)
    return None if known[best].sure or best - below <= step else best - math.floor(step)


def beside(known: Mapping[int, Size], start: int) -> list[int]:
    """Return 3/4 and 3/2 of the best size, where that is one of those that were doubled from `start` on."""
    best = fastest(known)
    if best is None or best not in _chain(known, start):
        return []
    return [size for size in (3 * best // 4, 3 * best // 2) if 0 < size <= MOST and size not in known]


def _chain(known: Mapping[int, Size], start: int) -> list[int]:
    return [*itertools.takewhile(known.__contains__, (start << times for times in itertools.count()))]


def fastest(known: Mapping[int, Size]) -> int | None:
    """Return the size whose samples take least, of those that fit; None where none does."""
    fitting = [(one.estimate.value, size) for size, one in known.items() if one.fits and one.estimate]
    return min(fitting)[1] if fitting else None


def _levelled(chain: Sequence[Size], delta: float) -> bool:
    """Return whether throughput rises no more from size to size."""
    rises = [_rises(one, other, delta) for one, other in itertools.pairwise(chain)]
    return rises[-1:] == [False] or rises[-2:] == [None, None]


def _rises(one: Size, other: Size, delta: float) -> bool | None:
    """Return whether throughput rises by more than `delta` from one size to the other; None where it cannot be told."""
    if one.estimate is None or other.estimate is None:
        return None
    low, high = differences.difference((1, -1), (one.estimate, other.estimate)).interval()
    return True if low > math.log1p(delta) else False if high <= math.log1p(delta) else None


@dataclass
class BatchSearch(Search):
    """Search the batch size with the most promising settings, then try others at the size that is best.

    Where other settings are better, theirs is searched on from there. Where the most promising settings fit at no size,
    others are tried at size 1 first. `doubling` says that the last wave differs in sizes alone.
    """

    delta: float = 0.02
    doubling: bool = True
    _of: Settings = field(default_factory=dict)  # whose size is searched
    _start: int = 1
    _rising: bool = True  # whether sizes are still doubled
    _near: bool = True  # whether those beside the best are still to come
    _bound: bool = False  # whether the model has one size only

    @property
    def enough_visits(self) -> float:
        """Return how often points are visited before the search goes on: rarely, where only sizes differ."""
        return SIZE_VISITS if self.doubling else super().enough_visits

    @property
    def combinations(self) -> int:
        """Return how many settings there are in all, at the sizes that were tried."""
        sizes = {settings[AXIS] for settings in self.tried.values()}
        return super().combinations * (1 if self._bound else len(sizes))

    def first(self) -> dict[int, SweepConfig]:
        """Return the first wave, by the number of the job."""
        self._of = {axis: values[0] for axis, values in self.axes.items()}
        return self._sized([1, 2])

    def keep_size(self) -> dict[int, SweepConfig]:
        """Give the search of the size up, as the model has one only; return the first wave of all other settings."""
        self._bound = True
        return {0: self.configure(self.tried[0])} | self._settled(self.tried[0])

    def next(
        self, best: int | None, out: Collection[int], known: Mapping[int, Size] | None = None
    ) -> dict[int, SweepConfig]:
        """Return what to try next, given what is known of each job; see `Search.next` for the rest."""
        if self._bound:
            return super().next(best, out)
        found = self._more_sizes(known or {})
        if found:
            return found
        if best is None:
            return self._settled({**self._of, AXIS: "1"})
        settings, size = _apart(self.tried[best])
        if settings != self._of:
            self._of, self._start, self._rising, self._near = settings, size, True, False
            found = self._more_sizes(known or {})
            if found:
                return found
        self.doubling = False
        found = super().next(best, out)
        return found | {best: self.configure(self.tried[best])}  # with its baselines

    def _more_sizes(self, known: Mapping[int, Size]) -> dict[int, SweepConfig]:
        """Return the sizes that come next: doubled, then towards what does not fit, then beside the best."""
        sizes = self._sizes(known)
        if self._rising:
            size = doubled(sizes, self._start, self.delta)
            if size is not None:
                return self._sized([size])
            self._rising = False
        size = towards_limit(sizes)
        if size is not None:
            self._near = False
            return self._sized([size])
        near, self._near = self._near, False
        return self._sized(beside(sizes, self._start)) if near else {}

    def _sizes(self, known: Mapping[int, Size]) -> dict[int, Size]:
        """Return what is known by size, of the settings whose size is searched."""
        own = {job: _apart(settings) for job, settings in self.tried.items() if job in known}
        return {size: known[job] for job, (settings, size) in own.items() if settings == self._of}

    def _sized(self, sizes: Sequence[int]) -> dict[int, SweepConfig]:
        self.doubling = True
        return self._new([{**self._of, AXIS: str(size)} for size in sizes])

    def _settled(self, center: Settings) -> dict[int, SweepConfig]:
        self.doubling = False
        return self._around(center)


def _apart(settings: Settings) -> tuple[Settings, int]:
    """Return settings without the size, and the size."""
    return {axis: value for axis, value in settings.items() if axis != AXIS}, int(settings[AXIS])
