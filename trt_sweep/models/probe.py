"""Set what inner modules give in a low precision against FP32, to name the first that goes wrong.

It is PyTorch's eager model that is looked at: an engine has no modules any more.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from trt_sweep.config.groups import AUTOCAST
from trt_sweep.measure import outputs
from trt_sweep.models.model import DTYPE, Inputs, Model, autocast, float32_mode


@dataclass(frozen=True)
class Probed:
    """Hold how one call of a module compares with FP32: the errors are relative L2 errors, NaN for another form.

    `largest` is the largest magnitude that FP32 has inside, and `overflows` is whether there is a value inside that is
    not finite, though all are in FP32.
    """

    module: str
    kind: str
    call: int
    error: float
    input_error: float
    largest: float
    overflows: bool

    def wrong(self, limit: float) -> bool:
        """Return whether its output is further from FP32's than a relative error of `limit`, or not finite."""
        return not self.error <= limit

    def why(self, precision: str) -> str:
        """Say what goes wrong there in this precision."""
        low = AUTOCAST.get(precision, precision)
        most = torch.finfo(DTYPE[low]).max
        what = f"{self.module or 'the model'} ({self.kind}{f', call {self.call + 1}' if self.call else ''})"
        if self.overflows and self.largest > most:
            return f"{what} overflows in {low}: FP32 has {self.largest:.3g} in it, and {low} ends at {most:.3g}"
        if not math.isfinite(self.error):
            return f"{what} is not finite in {low}: the largest magnitude in it is {self.largest:.3g} in FP32"
        return f"{what} has a relative error of {self.error:.2g}, what goes in has {self.input_error:.2g}"


def first_wrong(found: Iterable[Probed], limit: float) -> Probed | None:
    """Return the first call that turns sound inputs into a wrong output, in the order in which calls end.

    Return the first wrong one where none has sound inputs, None where none is wrong.
    """
    wrong = [item for item in found if item.wrong(limit)]
    return next((item for item in wrong if item.input_error <= limit), wrong[0] if wrong else None)


@torch.no_grad()
def probe(model: Model, precision: str, device: torch.device, names: Sequence[str]) -> list[Probed]:
    """Run a model in FP32 and in a precision, and compare each call of the named modules, in the order they end.

    "" names the model itself. What the model raises in that precision is raised.
    """
    with float32_mode("fp32"), _Watch(model.module, names) as exact:
        _call(model.module, model.inputs.to(torch.float32))
    low = model.to(DTYPE[precision])
    with float32_mode(precision), autocast(precision, device), _Watch(low.module, names, exact) as watch:
        _call(low.module, low.inputs)
    return watch.found


def calls(model: Model) -> dict[str, set[str]]:
    """Return the modules that a call of the model calls, in the order in which they end, with operators of their own.

    "" is the model itself. An operator is a module's own where no other module inside is at work.
    """
    names = [name for name, _ in model.module.named_modules()]
    with torch.no_grad(), float32_mode("fp32"), _Watch(model.module, names, values=False) as watch:
        _call(model.module, model.inputs.to(torch.float32))
    found: dict[str, set[str]] = {}
    for frame in watch.ended:
        found.setdefault(frame.module, set()).update(frame.operators)
    return found


def _call(module: torch.nn.Module, inputs: Inputs) -> None:
    args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (inputs.args, inputs.kwargs))
    module(*args, **kwargs)


@dataclass
class _Frame:
    """Hold a call of a module: copies of what went in and out, and what was seen inside."""

    module: str
    kind: str
    call: int
    given: dict[str, torch.Tensor]
    made: dict[str, torch.Tensor] = field(default_factory=dict)
    largest: float = 0.0
    finite: bool = True
    operators: set[str] = field(default_factory=set)


class _Watch(TorchDispatchMode):
    """Watch the calls of modules; with `exact`, which has watched them in FP32, compare each with that one's."""

    def __init__(
        self, module: torch.nn.Module, names: Iterable[str], exact: _Watch | None = None, *, values: bool = True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ended: list[_Frame] = []
        self.found: list[Probed] = []
        self._exact = {(frame.module, frame.call): frame for frame in exact.ended} if exact else None
        self._values = values
        self._open: list[_Frame] = []
        self._calls: dict[str, int] = {}
        self._module, self._names = module, list(names)
        self._hooks = contextlib.ExitStack()

    def __enter__(self) -> _Watch:
        for name in self._names:
            part = self._module.get_submodule(name)
            # What a module that is kept in FP32 is given counts before the casts, and what it gives behind them.
            hooks = (
                part.register_forward_pre_hook(self._begin(name), with_kwargs=True, prepend=True),
                part.register_forward_hook(self._end),
            )
            for hook in hooks:
                self._hooks.callback(hook.remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hooks.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if self._open:
            self._open[-1].operators.add(str(func))
        if self._values and self._open:
            for tensor in pytree.tree_leaves(made):
                if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.numel():
                    self._see(tensor)
        return made

    def _see(self, tensor: torch.Tensor) -> None:
        largest = float(tensor.detach().abs().amax())
        finite = math.isfinite(largest)
        if not finite:
            largest = float(torch.nan_to_num(tensor.detach(), 0.0, 0.0, 0.0).abs().amax())
        for frame in self._open:
            frame.largest, frame.finite = max(frame.largest, largest), frame.finite and finite

    def _begin(self, name: str) -> Any:
        def begin(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            number = self._calls[name] = self._calls.get(name, -1) + 1
            given = self._copies((args, kwargs))
            self._open.append(_Frame(name, type(module).__name__, number, given))

        return begin

    def _end(self, module: torch.nn.Module, args: Any, made: Any) -> None:
        frame = self._open.pop()
        frame.made = self._copies(made)
        if self._exact is None:
            self.ended.append(frame)
            return
        exact = self._exact.get((frame.module, frame.call))
        if exact is not None:
            errors = _error(frame.made, exact.made), _error(frame.given, exact.given)
            overflows = exact.finite and not frame.finite
            self.found.append(Probed(frame.module, frame.kind, frame.call, *errors, exact.largest, overflows))

    def _copies(self, value: Any) -> dict[str, torch.Tensor]:
        if not self._values:
            return {}
        with self._unwatched():
            return {
                name: tensor.detach().clone()
                for name, tensor in outputs.tensors(value).items()
                if tensor.is_floating_point()
            }

    @contextlib.contextmanager
    def _unwatched(self) -> Iterator[None]:
        before, self._open = self._open, []
        yield
        self._open = before


def _error(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> float:
    """Return the largest error of these tensors; infinite where one is not finite, NaN for another form."""
    if found.keys() != exact.keys() or any(found[name].shape != exact[name].shape for name in exact):
        return math.nan
    return max((_relative(found[name].float(), exact[name].float()) for name in exact), default=0.0)


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    same = torch.isinf(b) & (a == b)  # as in a mask
    a, b = torch.where(same, 0.0, a), torch.where(same, 0.0, b)
    apart, size = float((a - b).norm()), float(b.norm())
    if not math.isfinite(apart):
        return math.inf
    return apart / size if size > 0 else 0.0 if apart == 0 else math.inf
