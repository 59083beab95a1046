"""Run a model in FP32 as PyTorch does, and find out what it does that a function does not."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from trt_sweep.measure import accuracy, outputs
from trt_sweep.models.model import Inputs, Model

log = logging.getLogger(__name__)
TOGETHER = 1e-3  # relative: kernels for other sizes answer differently by less
STEADY = 1e-4  # relative: kernels that add up in any order answer differently by less


def make(
    module: torch.nn.Module,
    inputs: Inputs,
    other: Inputs,
    *,
    alone: Sequence[Inputs] = (),
    further: Iterable[Inputs] = (),
    batch: int = 1,
) -> accuracy.Reference:
    """Return the outputs for `inputs` and for `further` batches, and what more calls tell of the module.

    Two are made with `inputs`, and one with `other` ones: where these are the same, nothing is known of what depends on
    them. `alone` are the first of the `batch` samples of `inputs`, each a batch of its own. Every call gets copies, and
    the module's buffers are afterwards as they were; a module that changes them gets no further batches, since a build
    of it goes on from there. Raises SweepError for outputs that nothing can be compared with, and what the module
    raises.
    """
    state = _State(module)
    first, changed = _call(module, inputs, state)
    accuracy.require_tensors(first)
    again, _ = _call(module, inputs, state)
    moved = None if _equal(inputs, other) else _if_taken(module, other, state)
    far_again = _distance(first, again)
    unsteady = frozenset(name for name, far in far_again.items() if not far <= STEADY) - {*accuracy.not_numbers(first)}
    apart = {} if moved is None else _distance(first, moved)
    constant = frozenset(name for name, far in apart.items() if far == 0) - unsteady
    varying = frozenset() if moved is None else _reshaped(first, moved)
    notes = _notes(first, changed, unsteady, constant, alone=len(constant) == len(apart))
    singles = [_if_taken(module, each, state) for each in alone]
    notes += _of_batch(first, singles, batch, unsteady)
    moves = any(what.startswith("buffer ") for what in changed)
    more = [] if moves else [_call(module, each, state)[0] for each in further]
    kept = tuple(pytree.tree_map_only(torch.Tensor, torch.Tensor.cpu, found) for found in more)
    return accuracy.Reference(first, apart, constant, varying, unsteady, tuple(notes), batch=batch, further=kept)


def _of_batch(
    found: dict[str, Any], singles: Sequence[dict[str, Any] | None], batch: int, unsteady: frozenset[str]
) -> list[str]:
    """Return a note where a sample alone gives something else than in its batch."""
    worst, which = 0.0, ""
    for number, single in enumerate(singles):
        for name, tensor in outputs.tensors(single or {}).items():
            whole = found.get(name)
            if name in unsteady or not isinstance(whole, torch.Tensor) or not whole.dim() or len(whole) != batch:
                continue
            own = whole[number : number + 1]
            far = float(outputs.compare(name, tensor, own).error or 0.0) if own.shape == tensor.shape else 0.0
            if far > worst:
                worst, which = far, f"sample {number} of output {name}"
    if worst <= TOGETHER:
        return []
    return [f"the samples of a batch depend on each other: alone, {which} is {worst:.2g} off"]


def _notes(
    found: dict[str, Any], changed: list[str], unsteady: frozenset[str], constant: frozenset[str], *, alone: bool
) -> list[str]:
    notes = []
    if unsteady:
        every = len(unsteady) == len(outputs.tensors(found))
        which = "every output" if every else f"output {', '.join(sorted(unsteady))}"
        notes.append(f"{which} is different each time: its errors are not judged")
    own = [what for what in changed if what.startswith("buffer ")]
    if own:
        notes.append(f"the model changes its own state ({', '.join(own)}): the first call is judged")
    given = [what for what in changed if what.startswith("input ")]
    if given:
        notes.append(f"the model changes its inputs ({', '.join(given)}): calls that are timed go on from there")
    if constant:
        which = "no output depends" if alone else f"output {', '.join(sorted(constant))} does not depend"
        notes.append(f"{which} on the inputs: equality there proves little")
    skipped = [name for name, leaf in outputs.leaves(found).items() if not isinstance(leaf, torch.Tensor)]
    if skipped:
        which = f"output {', '.join(skipped)} is no tensor"
        notes.append(f"{which}: it is not compared, and what is exported keeps its value")
    return notes


def errors(model: Model, dtype: torch.dtype, reference: accuracy.Reference) -> dict[str, float]:
    """Return the error of a model in another precision, by leaf; empty where it does not run in it."""
    try:
        cast = model.to(dtype)
        compared = accuracy.compare(cast.module(*cast.inputs.args, **cast.inputs.kwargs), reference)
    except Exception:  # what PyTorch has no kernel or no room for says nothing of an engine
        log.warning("eager does not run in %s, so that no error of its own is known", dtype, exc_info=True)
        return {}
    return {leaf.name: leaf.error for leaf in compared if leaf.error is not None and leaf.finite}


class _State:
    """Hold the buffers of a module as they are, to put them back; each is known by its module and its name."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._kept = [
            (path, part, name, tensor, None if tensor is None or is_lazy(tensor) else tensor.detach().clone())
            for path, part in module.named_modules()
            for name, tensor in part._buffers.items()
        ]

    def put_back(self) -> list[str]:
        """Put all back, and return the names of those that had changed."""
        changed = []
        for path, part, name, tensor, copy in self._kept:
            now = part._buffers.get(name)
            same = now is tensor if copy is None else _same(now, copy)
            if not same:
                changed.append(f"{path}.{name}".lstrip("."))
                part._buffers[name] = tensor if copy is None else copy.clone()
        return changed


def _same(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    """Return whether two tensors are equal, NaN being equal to NaN."""
    if one is None or one.shape != other.shape or one.layout != other.layout:
        return False
    if one.layout != torch.strided:
        one, other = one.to_dense(), other.to_dense()
    if torch.equal(one, other):
        return True
    return one.is_floating_point() and bool(torch.isclose(one, other, 0, 0, equal_nan=True).all())


def _call(module: torch.nn.Module, inputs: Inputs, state: _State) -> tuple[dict[str, Any], list[str]]:
    """Return copies of the outputs by name, for copies of the inputs, and which buffers and inputs were changed."""
    own = pytree.tree_map_only(torch.Tensor, torch.clone, (inputs.args, inputs.kwargs))
    found = module(*own[0], **own[1])
    copies = {
        name: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf
        for name, leaf in outputs.leaves(found).items()
    }
    names = [*map(str, range(len(inputs.args))), *inputs.kwargs]
    pairs = zip(names, (*inputs.args, *inputs.kwargs.values()), (*own[0], *own[1].values()), strict=True)
    changed = [f"input {name}" for name, before, after in pairs if not _same(after, before)]
    return copies, [*changed, *(f"buffer {name}" for name in state.put_back())]


def _if_taken(module: torch.nn.Module, other: Inputs, state: _State) -> dict[str, Any] | None:
    """Return the outputs for inputs that were not asked for; None where the module does not take them."""
    try:
        return _call(module, other, state)[0]
    except torch.AcceleratorError:
        raise  # nothing else can run there any more
    except Exception:
        log.info("the model does not take inputs made of its own", exc_info=True)
        state.put_back()
        return None


def _equal(one: Inputs, other: Inputs) -> bool:
    pairs = zip(one.tensors, other.tensors, strict=True)
    return all(_same(a, b) for a, b in pairs)


def _reshaped(one: dict[str, Any], other: dict[str, Any]) -> frozenset[str]:
    """Return the tensors that have another shape for other inputs; all where their number is another one."""
    these, those = outputs.tensors(one), outputs.tensors(other)
    if these.keys() != those.keys():
        return frozenset(these)
    return frozenset(name for name, tensor in these.items() if tensor.shape != those[name].shape)


def _distance(one: Any, other: Any) -> dict[str, float]:
    """Return how far each tensor moved; infinite where its shape did, or the number of tensors."""
    if len(outputs.tensors(one)) != len(outputs.tensors(other)):
        return dict.fromkeys(outputs.tensors(one), math.inf)
    return outputs.distance(one, other)
