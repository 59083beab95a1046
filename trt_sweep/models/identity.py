"""Tell modules in memory apart: by structure, tensors, and whatever else may change their outputs."""

from __future__ import annotations

import hashlib
import io
import itertools
import types
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from trt_sweep.errors import SweepError
from trt_sweep.models.arguments import Structure

DEPTH = 6  # of nested attributes that are looked into
_IGNORED = {"training", "_parameters", "_buffers", "_modules"}  # known by other means, or without effect
_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_next = itertools.count()


def identity(module: torch.nn.Module, structure: Structure, tensors: Sequence[torch.Tensor]) -> str:
    """Return a hash of a module with the arguments that it is called with.

    Two modules have the same one only where all of this is equal: structure, tensors, and attributes. What cannot be
    looked into counts as different in each object. Raises SweepError for a module without values, on the meta device.
    """
    what = [f"{type(module).__module__}.{module}", module, repr(structure.spec), structure.leaves, [*tensors]]
    return hashlib.sha256(describe(what).encode()).hexdigest()


PLAIN = (type(None), bool, int, float, complex, str, bytes, type, torch.dtype, torch.device, types.ModuleType)


def describe(value: Any, depth: int = DEPTH, seen: frozenset[int] = frozenset()) -> str:
    """Return a text that is the same for equal values, and another one for different ones."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {np.shape(value)} {_hash(np.ascontiguousarray(value).tobytes())}"
    name = getattr(value, "__qualname__", type(value).__qualname__)
    parts = _parts(value) if depth and id(value) not in seen else None
    if parts is None:
        return f"{name} {_number(value)}"
    return f"{name} [{', '.join(describe(part, depth - 1, seen | {id(value)}) for part in parts)}]"


def _parts(value: Any) -> list[Any] | None:
    """Return what a value is made of; None where that cannot be told."""
    found: list[Any] | None = None
    if isinstance(value, torch.nn.Module):
        found = _of_module(value)
    elif isinstance(value, Mapping):
        found = [part for pair in value.items() for part in pair]
    elif isinstance(value, set | frozenset):
        found = sorted(value, key=describe)
    elif isinstance(value, tuple | list):
        found = [*value]
    elif isinstance(value, types.MethodType):
        found = [value.__func__, value.__self__]
    elif isinstance(value, types.CodeType):
        found = [value.co_code, value.co_names, value.co_consts]
    elif isinstance(value, types.FunctionType):
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        used = {name: value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__}
        found = [value.__code__, closed, used, value.__defaults__, value.__kwdefaults__]
    elif hasattr(value, "__dict__"):
        found = [vars(value)]
    return found


def _of_module(module: torch.nn.Module) -> list[Any]:
    """Return the attributes of a module and of those in it, its tensors, and what else its state dict has."""
    found: list[Any] = []
    for path, part in module.named_modules():
        own = {name: value for name, value in vars(part).items() if name not in _IGNORED}
        code = part.code if isinstance(part, torch.jit.ScriptModule) and hasattr(part, "code") else None
        found += [path, type(part).__qualname__, own, code]
    for named in (module.named_parameters(), module.named_buffers(), module.state_dict().items()):
        found += [part for pair in named for part in pair]
    return found


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _tensor(tensor: torch.Tensor) -> str:
    if is_lazy(tensor):
        return type(tensor).__qualname__  # its values are drawn by the seed
    if tensor.is_meta:
        raise SweepError("the module is on the meta device and has no values: load its weights, or make it on another")
    what = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.layout}"
    try:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    except (RuntimeError, TypeError, NotImplementedError):  # sparse, quantized, conjugate
        file = io.BytesIO()
        torch.save(tensor.detach().cpu(), file)
        content = file.getvalue()
    return f"{what} {_hash(content)}"


def _number(value: Any) -> int:
    """Return a number that this object alone has; its address where it takes none, as it then stays in use."""
    try:
        return _numbers.setdefault(value, next(_next))
    except TypeError:
        return id(value)
