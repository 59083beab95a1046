"""Find what each axis did to time, build, size and error, from points that differ in that axis only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from trt_sweep.analysis.report import text
from trt_sweep.analysis.report.pairs import TIMES, Pairs, Scatter, codes, levels, pairs
from trt_sweep.backends import paths
from trt_sweep.models import reproduction
from trt_sweep.results.stats import differences, visits

# Column and heading; all of them are better when less.
METRICS = {
    "gpu_ms": "gpu ms",
    "latency_ms": "latency ms",
    "build_s": "build s",
    "engine_bytes": "engine size",
    "peak_gpu_bytes": "memory",
    "rel_l2_error": "rel. error",
}
SEVERAL = 3  # pairs that an interval needs where the records tell nothing of a figure's scatter


@dataclass(frozen=True)
class Interaction:
    """Hold how an effect differs with another axis: its mean over all pairs with each value of that."""

    axis: str
    means: dict[str, differences.Difference]


@dataclass(frozen=True)
class Effect:
    """Hold what `level` changes against `base`: the mean difference of logarithms over `pairs`, in a 95 % interval.

    `least` and `most` are the ends of the single differences. The interval is NaN where there is none. For times it
    follows from their own scatter, for other figures from that of the differences. `models` has the mean at each model
    where one mean does not say it: they are proved to differ, or some but not all have one engine on both sides.
    """

    metric: str
    base: str
    level: str
    pairs: int
    value: float
    low: float
    high: float
    least: float
    most: float
    interactions: list[Interaction] = field(default_factory=list)
    models: dict[str, differences.Difference] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """Hold an axis with its pairs, by value, and its effects; `precision` where values bring their own precisions.

    `backend` is the one that the pairs are of where it is none of TensorRT's, such as eager; else null.
    """

    name: str
    pairs: list[Pairs]
    effects: list[Effect]
    precision: bool = False
    backend: str | None = None

    @property
    def title(self) -> str:
        """Return its name, with whose it is, or what else differs in its pairs."""
        more = self.backend or ("with precision" if self.precision else None)
        return f"{self.name} ({more})" if more else self.name


def effects(rows: pd.DataFrame, axes: Sequence[str], scatters: dict[str, Scatter], delta: float) -> list[Axis]:
    """Return the effects of each of these axes but `model`: models are different work, and are not compared.

    What an axis does to eager, or to another backend without TensorRT, is an effect of its own. An interaction, with
    the model too, is named where it is proved and exceeds the relative `delta`.
    """
    rows = rows.reset_index(drop=True)
    found, numbers, precision = [], codes(rows), rows["precision"].to_numpy()
    for axis, backend, every in _pairs(rows, axes, numbers):
        others = {other: levels(rows, other).to_numpy() for other in axes if other != axis} if every else {}
        made = [
            effect
            for metric in METRICS
            for pair in every
            for effect in _effect(rows, metric, pair, scatters=scatters, others=others, delta=delta)
        ]
        along = axis != "precision" and any((precision[pair.a] != precision[pair.b]).any() for pair in every)
        found.append(Axis(axis, every, made, along, backend))
    return sorted(found, key=lambda axis: axis.backend is not None)


def _pairs(
    rows: pd.DataFrame, axes: Sequence[str], numbers: pd.DataFrame
) -> Iterator[tuple[str, str | None, list[Pairs]]]:
    """Yield the pairs of each axis: those of TensorRT's backends together, those of each other backend apart."""
    whose = rows["backend"].map({name: _without_tensorrt(name) for name in rows["backend"].unique()})
    others = list(whose.dropna().unique())
    for axis in axes:
        if axis == "model":
            continue
        if axis == "backend":
            found = {None: pairs(rows, axis, numbers)}
        else:
            found = {None: pairs(rows, axis, numbers, whose.isna())}
            found |= {name: pairs(rows, axis, numbers, whose.eq(name)) for name in others}
        known = {name: every for name, every in found.items() if every}
        yield from ((axis, name, every) for name, every in (known or {None: []}).items())


def _without_tensorrt(backend: str) -> str | None:
    """Return the backend's name if it builds no engines of TensorRT, else null; read its file, import nothing."""
    return backend if reproduction.constant(Path(paths.__path__[0]), backend, "TENSORRT") is False else None


def measured(rows: pd.DataFrame, metric: str, pair: Pairs) -> Pairs:
    """Return the pairs of which both have this figure, above zero; for the GPU's work by one method only."""
    values = rows[metric].to_numpy(dtype=float, na_value=math.nan)
    keep = (values[pair.a] > 0) & (values[pair.b] > 0) & (rows["status"].to_numpy()[pair.a] == "ok")
    if metric == "gpu_ms":
        method = rows["gpu_ms_method"].to_numpy()
        keep &= method[pair.a] == method[pair.b]
        if pair.axis == "cuda_graphs":  # by this method pauses between kernels count, which CUDA graphs take away
            keep &= method[pair.a] != "queued"
    return pair.where(keep)


def at_models(
    rows: pd.DataFrame, metric: str, pair: Pairs, scatter: Scatter, models: bool = True
) -> dict[str, differences.Difference]:
    """Return the mean over the pairs of each model; over all pairs, under an empty name, where not `models`."""
    pair = measured(rows, metric, pair)
    if not len(pair.a):
        return {}
    return _means(scatter, pair, levels(rows, "model").to_numpy()[pair.b] if models else np.full(len(pair.b), ""))


def one_engine(mean: differences.Difference) -> bool:
    """Return whether each pair of this mean is one measurement."""
    return mean.interval() == (0.0, 0.0)


def _effect(
    rows: pd.DataFrame,
    metric: str,
    pair: Pairs,
    *,
    scatters: dict[str, Scatter],
    others: dict[str, np.ndarray],
    delta: float,
) -> list[Effect]:
    """Return the effect on one figure in a list, or none where no pair has it."""
    pair = measured(rows, metric, pair)
    if not len(pair.a):
        return []
    interactions: list[Interaction] = []
    models: dict[str, differences.Difference] = {}
    if metric in TIMES:
        scatter = scatters[metric]
        each, _ = scatter.each(pair.a, pair.b)
        mean = scatter.mean(pair.a, pair.b)
        value, (low, high) = mean.value, mean.interval()
        interactions = _interactions(scatter, pair, others, delta)
        models = _means(scatter, pair, others["model"][pair.b]) if "model" in others else {}
        if len({one_engine(mean) for mean in models.values()}) < 2 and all(i.axis != "model" for i in interactions):
            models = {}
    else:
        values = rows[metric].to_numpy(dtype=float, na_value=math.nan)
        each = np.log(values[pair.b]) - np.log(values[pair.a])
        value, low, high = float(each.mean()), math.nan, math.nan
        if len(each) >= SEVERAL:
            half = float(
                special.stdtrit(len(each) - 1, (1 + visits.LEVEL) / 2) * each.std(ddof=1) / math.sqrt(len(each))
            )
            low, high = value - half, value + half
    ends = float(each.min()), float(each.max())
    return [Effect(metric, pair.base, pair.level, len(pair.a), value, low, high, *ends, interactions, models)]


def _interactions(scatter: Scatter, pair: Pairs, others: dict[str, np.ndarray], delta: float) -> list[Interaction]:
    """Return the other axes with which the effect changes, the clearest first.

    The test is Cochran's Q between the means of the groups of pairs that each axis makes (W. G. Cochran, The
    combination of estimates from different experiments, 1954). Each mean has the variance that its interval tells. It
    is corrected for the number of axes. Pairs of one engine count as exactly 0. Groups of several models are compared
    within each model, since not every model need have been measured at every value.
    """
    found = []
    models = others["model"][pair.b] if "model" in others else np.zeros(len(pair.b))
    for axis, values in others.items():
        group = values[pair.b]
        means = _means(scatter, pair, group)
        within = [_means(scatter, pair.where(among), group[among]) for among in _groups(models).values()]
        spreads = [_spread(list(one.values())) for one in ([means] if axis == "model" else within)]
        spread, freedom = (sum(items) for items in zip(*spreads, strict=True))
        logs = [mean.value for mean in means.values()]
        if freedom < 1 or np.ptp(logs) <= math.log1p(delta):
            continue
        if special.chdtrc(freedom, spread) < (1 - visits.LEVEL) / len(others):
            found.append((spread / freedom, Interaction(axis, means)))
    return [interaction for _, interaction in sorted(found, key=lambda item: -item[0])]


def _means(scatter: Scatter, pair: Pairs, group: np.ndarray) -> dict[str, differences.Difference]:
    """Return the mean over the pairs of each group."""
    return {name: scatter.mean(pair.a[among], pair.b[among]) for name, among in _groups(group).items()}


def _groups(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return where each value stands, in the order of the values."""
    numbers, names = pd.factorize(values, sort=True)  # as numpy compares texts, a final NUL is none
    return {name: numbers == number for number, name in enumerate(names)}


def _spread(means: list[differences.Difference]) -> tuple[float, int]:
    """Return Cochran's Q between means and its degrees of freedom; means of unknown scatter are left out."""
    lows, highs = np.array([mean.interval() for mean in means]).T
    errors = (highs - lows) / 2 / special.ndtri((1 + visits.LEVEL) / 2)
    values, exact = np.array([mean.value for mean in means]), errors == 0
    known = np.isfinite(errors) & ~exact
    if not known.any():
        return 0.0, 0
    weights = errors[known] ** -2
    common = 0.0 if exact.any() else np.average(values[known], weights=weights)
    return float(weights @ (values[known] - common) ** 2), int(known.sum()) - (not exact.any())


def words(interactions: list[Interaction], most: int = 2) -> str:
    """Say how an effect changes with other axes, `changes with precision: -40.1 % at fp16, -5.0 % at fp32`.

    Only the clearest is told, and how many more there are.
    """
    more = [f"{len(interactions) - most} more"] if len(interactions) > most else []
    return "; ".join([*map(_words, interactions[:most]), *more])


def _words(interaction: Interaction, most: int = 4) -> str:
    """Say one of them; only the ends where there are many values."""
    means = sorted(interaction.means.items(), key=lambda item: item[1].value)
    shown = means if len(means) <= most else [means[0], means[-1]]
    return f"changes with {interaction.axis}: " + ", ".join(
        f"{text.change(mean.value)} at {text.named(name)}" for name, mean in shown
    )
