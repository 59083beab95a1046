"""Run some modules of a model in another type than the rest: casts stand where they meet.

The casts are hooks. So names, weights and attributes stay where they are, and torch.export and tracing see the casts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils import _pytree as pytree


def outermost(module: torch.nn.Module, names: Iterable[str]) -> list[str]:
    """Return those of the names that lie in no other one, in the order of the model.

    A part of torch's attention is its whole attention, which reads the weights of its parts and does not call them.
    """
    within = {name: name for name, _ in module.named_modules()}
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            within |= {f"{name}.{inner}": name for inner, _ in part.named_modules() if inner}
    wanted = {within[name] for name in names}
    return [
        name for name in within if name in wanted and not any(name.startswith(f"{other}.") for other in wanted - {name})
    ]


def run_in(
    module: torch.nn.Module, weights: torch.nn.Module, names: Iterable[str], inner: torch.dtype, outer: torch.dtype
) -> None:
    """Let the named modules of `module` compute in `inner` while the rest, in `outer`, stays as it is.

    Their weights are copies of those in `weights`, a module of the same form. A tensor that other modules share is no
    longer shared then.
    """
    for name in outermost(module, names):
        part = module.get_submodule(name)
        for here, there in zip(part.modules(), weights.get_submodule(name).modules(), strict=True):
            for key, weight in there.named_parameters(recurse=False):
                setattr(here, key, torch.nn.Parameter(_copied(weight, inner), requires_grad=weight.requires_grad))
            for key, buffer in there.named_buffers(recurse=False):
                here._buffers[key] = _copied(buffer, inner)
        _seam(part, inner, outer)


def _copied(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.detach().clone().to(dtype) if tensor.is_floating_point() else tensor.detach().clone()


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map_only(
        torch.Tensor, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, value
    )


def _seam(module: torch.nn.Module, inner: torch.dtype, outer: torch.dtype) -> None:
    """Cast what goes into a module to one type, and what comes out to another."""
    module.register_forward_pre_hook(
        lambda _, args, kwargs: (_cast(args, inner), _cast(kwargs, inner)), with_kwargs=True
    )
    module.register_forward_hook(lambda _, args, output: _cast(output, outer))
    if inner == outer:
        _WithoutAutocast(module)


class _WithoutAutocast:
    """Switch autocast off inside a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._off: list[contextlib.ExitStack] = []
        module.register_forward_pre_hook(self._enter)
        module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        self._off.append(contextlib.ExitStack())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                self._off[-1].enter_context(torch.autocast(kind, enabled=False))

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self._off.pop().close()
