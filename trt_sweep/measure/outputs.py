"""Name the leaves of a model's outputs, and compare them one by one with the reference's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trt_sweep.errors import SweepError

ONLY = "output"  # the name of an output that is one tensor
FLOATING, COMPLEX, WHOLE = "floating", "complex", "integer or boolean"


@dataclass(frozen=True)
class Leaf:
    """Hold how one tensor of the outputs compares with the reference's.

    `error` is ||output - reference|| / ||reference||, or the share of entries that differ where they are integers or
    booleans. Complex numbers count as pairs of real ones. Infinities at the same places are equal. Where the leaf has a
    batch of samples, `sample_error` is the largest ||difference|| of one sample, over the root mean square of
    ||reference|| of all, and `sample` is the number of that one. `note` says why the leaf is not judged; where nothing
    can be compared its figures are null. `excess` is its error over the largest that is accurate.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    error: float | None = None
    max_abs_error: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    finite: bool = True
    sample_error: float | None = None
    sample: int | None = None
    note: str | None = None
    excess: float | None = None


def leaves(outputs: Any) -> dict[str, Any]:
    """Return the leaves of an output by their names, such as `logits` or `hidden.1`, in their order; None is no leaf.

    An output is any nesting of sequences, mappings, dataclasses and what is registered with torch's pytree. Those of
    transformers and diffusers (ModelOutput) are mappings.
    """
    found: dict[str, Any] = {}
    for path, leaf in _walk(outputs):
        name = ".".join(path) or ONLY
        found[name if name not in found else f"{name} ({len(found)})"] = leaf
    return found


def _walk(value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if value is None:
        return
    parts = _parts(value)
    if parts is None:
        yield (), value
        return
    for name, part in parts:
        for path, leaf in _walk(part):
            yield (name, *path), leaf


def _parts(value: Any) -> Iterator[tuple[str, Any]] | None:
    """Return the parts of a value with their names, None where it is a leaf."""
    if isinstance(value, Mapping):
        return ((str(name), part) for name, part in value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=True)
    if isinstance(value, tuple | list):
        return ((str(number), part) for number, part in enumerate(value))
    if type(value) in pytree.SUPPORTED_NODES:
        return (
            (str(number), part) for number, part in enumerate(pytree.SUPPORTED_NODES[type(value)].flatten_fn(value)[0])
        )
    return None


def tensors(outputs: Any) -> dict[str, torch.Tensor]:
    """Return the leaves that are tensors."""
    return {name: leaf for name, leaf in leaves(outputs).items() if isinstance(leaf, torch.Tensor)}


def named(names: Iterable[str], pattern: str) -> list[str]:
    """Return those of the names that are this one, begin with it and a dot, or match it as a pattern of the shell."""
    return [name for name in names if name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)]


def paired(outputs: Any, reference: Any) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield the reference's name of each tensor, the tensor and the reference's.

    They are matched by name, or in order where a backend gives them other names. Raises SweepError for another number.
    """
    got, wanted = tensors(outputs), tensors(reference)
    if len(got) != len(wanted):
        raise SweepError(
            f"the compiled model returns {len(got)} tensors ({_shown(got)}), the eager one {len(wanted)} "
            f"({_shown(wanted)})"
        )
    in_order = [*got.values()]
    for number, (name, tensor) in enumerate(wanted.items()):
        yield name, got[name] if got.keys() == wanted.keys() else in_order[number], tensor


def _shown(found: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in found.items()) or "none"


def compare(name: str, output: torch.Tensor, reference: torch.Tensor, batch: int = 1) -> Leaf:
    """Return how a tensor compares with the reference's of the same shape; sample by sample where it has `batch`."""
    shape = tuple(reference.shape)
    output = output.to(reference.device)
    if not (reference.is_floating_point() or reference.is_complex()):
        differs = output != reference
        share = float(differs.double().mean()) if differs.numel() else 0.0
        return Leaf(
            name, WHOLE, shape, share, float((output.double() - reference.double()).abs().max()) if share else 0.0
        )
    kind = COMPLEX if reference.is_complex() or output.is_complex() else FLOATING
    if kind == COMPLEX:
        a, b = (torch.view_as_real(tensor.to(torch.complex128).resolve_conj()) for tensor in (output, reference))
    else:
        a, b = output.double(), reference.double()
    top1 = _top1(a, b) if kind == FLOATING else None
    same = torch.isinf(b) & (a == b)
    a, b = (torch.where(same, 0.0, tensor) for tensor in (a, b))
    sample_error, sample = _of_samples(a, b) if batch > 1 and b.dim() and len(b) == batch else (None, None)
    a, b = a.flatten(), b.flatten()
    if not a.numel():
        return Leaf(name, kind, shape, 0.0, 0.0)
    return Leaf(
        name,
        kind,
        shape,
        _relative(a, b),
        float((a - b).abs().max()),
        float(torch.nn.functional.cosine_similarity(a, b, dim=0)) if b.any() else None,
        top1,
        bool(torch.isfinite(a).all()),
        sample_error,
        sample,
    )


def _of_samples(a: torch.Tensor, b: torch.Tensor) -> tuple[float | None, int | None]:
    """Return the largest error of one sample, over the size of a typical one, and its number."""
    apart, size = ((tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]).norm(dim=1) for tensor in (a - b, b))
    typical = float(size.square().mean().sqrt())
    sample = int(apart.argmax())
    return (float(apart[sample]) / typical, sample) if typical > 0 else (None, None)


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return ||a - b|| / ||b||; where b is zero, 0 if a is, too."""
    difference, size = float((a - b).norm()), float(b.norm())
    if size == 0:
        return 0.0 if difference == 0 else math.inf if difference > 0 else math.nan
    return difference / size


def _top1(output: torch.Tensor, reference: torch.Tensor) -> float | None:
    if reference.dim() < 2 or reference.shape[-1] < 2 or not reference.numel():
        return None
    return float((output.argmax(-1) == reference.argmax(-1)).double().mean())


def distance(one: Any, other: Any) -> dict[str, float]:
    """Return how far each tensor of two outputs of one model lies from the other's; infinite for other shapes."""
    return {
        name: math.inf if a.shape != b.shape else float(compare(name, b, a).error or 0.0)
        for name, b, a in paired(other, one)
    }
