"""Find the layers that must stay in FP32: `trt-sweep sensitivity precision=fp16`.

Groups of modules are kept in FP32 one at a time while the rest is in the precision. Then the smallest set is searched
that keeps the model's error small enough, from the whole model down to single modules.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

import torch

from trt_sweep.analysis.sensitivity import Damage, Groups, Trials
from trt_sweep.config.groups import AUTOCAST
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import mixed, patterns, probe
from trt_sweep.models.model import DTYPE, Model, copied

SMALLEST = "smallest set"
SOFTMAX = re.compile(r"softmax|scaled_dot_product|native_multi_head|attention")
C = TypeVar("C", bound=PointConfig)
Enough = Callable[[Damage], bool]


class Layers:
    """Know which modules of a model a call reaches, in their order, and what each of them does by itself."""

    def __init__(self, model: Model) -> None:
        self.module = model.module
        calls = probe.calls(model)
        order = [name for name, _ in self.module.named_modules()]
        self.operators = {name: calls[name] for name in order if name in calls and name}
        start = patterns.prefix(self.module)
        self.operators = {name: value for name, value in self.operators.items() if f"{name}." != start}

    def inside(self, name: str) -> list[str]:
        """Return the modules that are called right inside this one; "" is the model."""
        if name and isinstance(self.module.get_submodule(name), torch.nn.MultiheadAttention):
            return []
        within = [other for other in self.operators if not name or other.startswith(f"{name}.")]
        return [one for one in within if not any(one.startswith(f"{other}.") for other in within)]

    @property
    def single(self) -> list[str]:
        """Return the modules that call no other one."""
        return [name for name in self.operators if not self.inside(name)]


def groups(layers: Layers, depth: int, given: list[str]) -> Groups:
    """Return the groups of modules by name: by patterns that are given, or by parts of their names and by kind.

    The kinds are norms, what computes a softmax, and the first and the last layer with a matrix. Raises SweepError for
    a pattern that matches nothing, and for a model of one layer.
    """
    module, single = layers.module, layers.single
    if len(single) < 2:
        raise SweepError("the model has one layer, so there is none to choose: compare precision=fp32,fp16 instead")
    if given:
        return {pattern: patterns.matching(module, [pattern], "--groups") for pattern in given}
    found: Groups = {}
    start = patterns.prefix(module)
    for name in single:
        key = start + ".".join(name.removeprefix(start).split(".")[:depth])
        found.setdefault(key.removeprefix(start), []).append(key if key in layers.operators else name)
    found = {name: list(dict.fromkeys(members)) for name, members in found.items()}
    kinds = {
        "norms": [name for name in single if "norm" in type(module.get_submodule(name)).__name__.lower()],
        "softmax": [name for name, own in layers.operators.items() if any(map(SOFTMAX.search, own))],
    }
    matrices = [name for name in single if any(weight.dim() > 1 for weight in module.get_submodule(name).parameters())]
    kinds |= {"first": matrices[:1], "last": matrices[-1:]}
    return found | {f"{kind} (by kind)": members for kind, members in kinds.items() if members}


def written(module: torch.nn.Module, names: Sequence[str]) -> list[str]:
    """Return patterns for `keep_fp32` that match these modules and no other, with few words where numbers differ."""
    start = patterns.prefix(module)
    wanted = [name.removeprefix(start) for name in names]
    inside = {name for name in patterns.names(module) for one in wanted if name == one or name.startswith(f"{one}.")}
    found: dict[str, None] = {}
    for name in wanted:
        pattern = re.sub(r"\d+", "*", name)
        exact = all(other in inside for other in patterns.names(module) if fnmatchcase(other, pattern))
        several = sum(fnmatchcase(other, pattern) for other in wanted) > 1
        found[pattern if exact and several else name] = None
    return list(found)


def kept(config: C, module: torch.nn.Module, names: Sequence[str]) -> C:
    """Return the point that keeps these modules in FP32, beside those that it keeps anyway."""
    return dataclasses.replace(config, keep_fp32=[*config.keep_fp32, *written(module, names)])


class Search:
    """Try sets of modules that stay in FP32, each once. `enough` tells whether a set is good enough."""

    def __init__(self, model: Model, config: PointConfig, enough: Enough) -> None:
        self._model, self._config, self._enough = model, config, enough
        self._base = patterns.within(model.module, config.keep_fp32, "keep_fp32")
        self._trials = Trials(model, config)
        self._tried: dict[frozenset[str], Damage] = {}
        self._alone: dict[str, float] = {}

    def fp32(self) -> Damage:
        """Return what FP32 is worth."""
        return dataclasses.replace(self._trials.fp32(), group="all (fp32)")

    def run(self, group: str, names: Sequence[str], *, own: bool = False) -> Damage:
        """Return what the model is worth with these modules in FP32; with `own` also with them alone not in FP32."""
        key = frozenset(names)
        if key not in self._tried or own:
            keep = self._base | {
                name
                for name, _ in self._model.module.named_modules()
                for one in names
                if name == one or name.startswith(f"{one}.")
            }
            made = dataclasses.replace(self._model, keep_fp32=frozenset(keep)).to(DTYPE[self._config.precision])
            alone = self._only(names) if own else None
            self._tried[key] = self._trials.run(group, self._config, made, len(names), alone)
        return dataclasses.replace(self._tried[key], group=group)

    def _only(self, names: Sequence[str]) -> Model:
        low = DTYPE[AUTOCAST.get(self._config.precision, self._config.precision)]
        module = copied(self._model.module)
        mixed.run_in(module, self._model.module, names, low, torch.float32)
        return dataclasses.replace(self._model, module=module)

    def own_error(self, name: str) -> float:
        """Return the error of the model in FP32 but for this module."""
        if name not in self._alone:
            found = self._trials.run(name, dataclasses.replace(self._config, precision="fp32"), self._only([name]), 1)
            self._alone[name] = found.rel_l2_error
        return self._alone[name]

    def smallest(self, layers: Layers) -> list[str]:
        """Return a set of modules that is enough, and of which none can be left out nor be taken apart.

        From the whole model down: what does the least damage by itself is left out first, in halves, then a module that
        has to stay gives way to those inside it. Raises SweepError where all modules together are not enough.
        """
        if self._good([]):
            return []
        whole = layers.inside("")
        if not self._good(whole):
            raise SweepError(self._missed(whole))
        return self._down(whole, layers)

    def _good(self, names: Sequence[str]) -> bool:
        return self._enough(self.run("", names))

    def _down(self, names: list[str], layers: Layers) -> list[str]:
        names = self._thinned(names)
        for name in names:
            others, inner = [other for other in names if other != name], layers.inside(name)
            if inner and self._good([*others, *inner]):
                return self._down([*others, *inner], layers)
        order = [name for name, _ in self._model.module.named_modules()]
        return sorted(names, key=order.index)

    def _thinned(self, names: list[str]) -> list[str]:
        """Leave out what need not stay, the least harmful first: halves, then ever smaller parts.

        It ends when no single one can be left out: what was needed beside others may be needed no longer without them.
        """
        names = sorted(names, key=self.own_error)
        size = max(len(names) // 2, 1)
        while True:
            start, before = 0, len(names)
            while start < len(names):
                rest = names[:start] + names[start + size :]
                if rest and self._good(rest):
                    names = rest
                else:
                    start += size
            if size == 1 and len(names) == before:
                return names
            size = max(size // 2, 1)

    def _missed(self, whole: list[str]) -> str:
        best = self.run("", whole)
        told = f"the error is {best.rel_l2_error:.2g}"
        if best.evaluation is not None:
            told += f" and accuracy.evaluate gives {best.evaluation:.4g}"
        return (
            f"not even every module in FP32 keeps the limit: {told}, since the model's inputs and outputs and what it "
            f"computes itself stay in {self._config.precision}; allow more, or use precision=fp32"
        )


def measure(search: Search, found: Groups) -> Iterator[Damage]:
    """Measure FP32, then the precision without a module in FP32, then each group kept in FP32 alone."""
    yield search.fp32()
    yield search.run("none", [])
    for group, names in found.items():
        yield search.run(group, names, own=True)


def by_error(limit: float) -> Enough:
    """Return whether an error is at most a limit."""
    return lambda damage: damage.rel_l2_error <= limit


def by_evaluation(exact: float, change: float) -> Enough:
    """Return whether the user's function gives what it gives in FP32, to within a change; NaN never does."""
    return lambda damage: damage.evaluation is not None and math.fabs(damage.evaluation - exact) <= change
