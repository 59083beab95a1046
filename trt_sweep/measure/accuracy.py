"""Compare a point's outputs with the reference: those of the model in FP32, run eagerly by PyTorch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils import _pytree as pytree

from trt_sweep.errors import SweepError
from trt_sweep.results.columns import Accuracy


def tensors(outputs: Any) -> list[torch.Tensor]:
    """Return the tensors of an output in the order of their keys.

    An output is a tensor, or any nesting of tuples, lists and dicts.
    """
    leaves = sorted(pytree.tree_leaves_with_path(outputs), key=lambda item: pytree.keystr(item[0]))
    return [leaf for _, leaf in leaves if isinstance(leaf, torch.Tensor)]


def require_variance(reference: Any) -> None:
    """Raise SweepError for a reference that can prove nothing: without tensors, not finite, or constant."""
    found = tensors(reference)
    if not found:
        raise SweepError(
            "the model returns no tensor, so its output cannot be checked: return tensors, tuples or dicts of them"
        )
    for index, output in enumerate(found):
        values = output.double()
        if not torch.isfinite(values).all():
            raise SweepError(
                f"output {index} of the FP32 reference is not finite: check model.weights and the range of model.inputs"
            )
        if output.numel() < 2 or not bool((values != values.flatten()[0]).any()):
            raise SweepError(
                f"output {index} of the FP32 reference has no variance (shape {tuple(output.shape)}), so an error "
                "against it means nothing: load trained weights (model.weights=…), initialise the last layer, or "
                "change the inputs"
            )


def relative_distance(reference: Any, other: Any) -> float:
    """Return how far other outputs lie from the reference: ||other - reference|| / ||reference||, the least of all."""
    pairs = zip(tensors(reference), tensors(other), strict=True)
    return min(float((b.double() - a.double()).norm() / a.double().norm()) for a, b in pairs)


def require_dependence(distance: float) -> None:
    """Raise SweepError where an output does not change with the inputs: it can prove nothing.

    `distance` is the `relative_distance` between outputs for two inputs.
    """
    if not distance > 1e-9:
        raise SweepError(
            "an output of the FP32 reference does not depend on the inputs, so an error against it means nothing: load "
            "trained weights (model.weights=…) or initialise the model otherwise"
        )


def check(outputs: Any, reference: Any, rel_l2: float) -> Accuracy:
    """Compare outputs with the reference; each metric is the worst over all output tensors.

    `rel_l2` is the largest relative L2 error that counts as accurate. Raises SweepError where the number or the shapes
    of the outputs differ.
    """
    got, wanted = tensors(outputs), tensors(reference)
    shapes = [[tuple(tensor.shape) for tensor in side] for side in (got, wanted)]
    if shapes[0] != shapes[1]:
        raise SweepError(f"the compiled model returns shapes {shapes[0]}, the eager one {shapes[1]}")
    finite, worst_l2, worst_abs, worst_cosine, worst_top1 = True, 0.0, 0.0, 1.0, math.nan
    for output, expected in zip(got, wanted, strict=True):
        a, b = output.to(expected.device).double().flatten(), expected.double().flatten()
        finite &= bool(torch.isfinite(a).all())
        worst_l2 = _worse(worst_l2, float((a - b).norm() / b.norm()), max)
        worst_abs = _worse(worst_abs, float((a - b).abs().max()), max)
        worst_cosine = _worse(worst_cosine, float(torch.nn.functional.cosine_similarity(a, b, dim=0)), min)
        if expected.dim() >= 2 and expected.shape[-1] > 1 and expected.dtype != torch.bool:
            same = output.to(expected.device).argmax(-1) == expected.argmax(-1)
            share = float(same.double().mean())
            worst_top1 = share if math.isnan(worst_top1) else min(worst_top1, share)
    return Accuracy(
        finite=finite,
        rel_l2_error=worst_l2,
        max_abs_error=worst_abs,
        cosine=worst_cosine,
        top1_agreement=None if math.isnan(worst_top1) else worst_top1,
        accurate=finite and worst_l2 <= rel_l2,
    )


def _worse(a: float, b: float, pick: Any) -> float:
    """Return the worse of two metrics by `pick`; NaN is worse than any number."""
    return math.nan if math.isnan(a) or math.isnan(b) else float(pick(a, b))
