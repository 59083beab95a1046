"""Call a module with what is no plain list of tensors: lists, dicts, flags, numbers and None among its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trt_sweep.errors import SweepError

PASSED_ON = (type(None), bool, int, float, complex, str, slice, torch.dtype, torch.device, torch.memory_format)


class _Tensor:
    """Mark the place of a tensor among the leaves of arguments."""


@dataclass(frozen=True)
class Structure:
    """Hold what a call has beside its tensors: how its arguments are nested, and those that are no tensors.

    `leaves` has the class `_Tensor` in each tensor's place. A call is `(args, kwargs)`, any nesting that torch's pytree
    knows.
    """

    leaves: tuple[Any, ...]
    spec: pytree.TreeSpec

    def fill(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments by position and by keyword, with these tensors in them."""
        left = iter(tensors)
        args, kwargs = pytree.tree_unflatten(
            [next(left) if each is _Tensor else each for each in self.leaves], self.spec
        )
        return args, kwargs

    @property
    def plain(self) -> bool:
        """Return whether every argument is a tensor, so that nothing has to be filled in."""
        args, kwargs = pytree.tree_unflatten(list(self.leaves), self.spec)
        return all(each is _Tensor for each in (*args, *kwargs.values()))

    def constants(self) -> dict[str, Any]:
        """Return the arguments that are no tensors, by their place."""
        return {place: leaf for place, leaf in self._places() if leaf is not _Tensor}

    def names(self) -> list[str]:
        """Return the name of each tensor, by its place: `0`, `0.1`, `cache.k`."""
        return [place for place, leaf in self._places() if leaf is _Tensor]

    def _places(self) -> list[tuple[str, Any]]:
        paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(self.leaves), self.spec))
        return [(".".join(_key(key) for key in path[1:]), leaf) for path, leaf in paths]


def _key(key: Any) -> str:
    found = next((getattr(key, name) for name in ("idx", "key", "name") if hasattr(key, name)), key)
    return str(found)


def taken_apart(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Structure, list[torch.Tensor]]:
    """Return the structure of a call's arguments and their tensors in its order.

    Raises SweepError for a leaf that is neither a tensor nor what can be passed on as it is.
    """
    leaves, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
    for leaf in leaves:
        if not isinstance(leaf, (torch.Tensor, *PASSED_ON)):
            raise SweepError(
                f"inputs hold a {type(leaf).__name__}: give tensors, numbers, flags, texts or None, or lists, tuples "
                "and dicts of them"
            )
    marked = tuple(_Tensor if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)
    return Structure(marked, spec), [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


class Structured(torch.nn.Module):
    """Call a module with tensors by position, put where they belong among its other arguments."""

    def __init__(self, module: torch.nn.Module, structure: Structure) -> None:
        super().__init__()
        self.module, self.structure = module, structure

    def forward(self, *tensors: torch.Tensor) -> Any:
        args, kwargs = self.structure.fill(tensors)
        return self.module(*args, **kwargs)


def structured(module: torch.nn.Module, structure: Structure | None) -> torch.nn.Module:
    """Return a module that is called with the tensors of this structure alone; itself where it has nothing else."""
    return module if structure is None else Structured(module, structure).eval()
