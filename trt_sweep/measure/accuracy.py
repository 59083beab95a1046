"""Judge a point's outputs by the reference: those of the model in FP32, run eagerly by PyTorch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from trt_sweep.errors import SweepError
from trt_sweep.measure import outputs as of_outputs
from trt_sweep.measure.outputs import WHOLE, Leaf
from trt_sweep.results.columns import Accuracy

# How many times the error of eager in the same precision a build may have. Of the builds in outputs/reference the worst
# has 2.5 times, as a test shows.
WORSE = 4.0
ABSURD = 1.0  # an error as large as the output itself


@dataclass(frozen=True)
class Reference:
    """Hold the outputs that a point's are compared with, and what they can prove.

    `spread` is the least that other inputs move an output by, relative; None where none moves. `constant` are the
    leaves that other inputs do not change, `varying` those whose shape they change, `unsteady` those that are different
    each time. `notes` say what the model does beside computing its outputs from its inputs. `eager` are the errors of
    eager in the point's precision, by leaf; empty where they are not known.
    """

    outputs: Any
    spread: float | None = None
    constant: frozenset[str] = frozenset()
    varying: frozenset[str] = frozenset()
    unsteady: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    eager: Mapping[str, float] = field(default_factory=dict)


def require_tensors(outputs: Any) -> None:
    """Raise SweepError for outputs that nothing can be compared with: without a tensor, or not a number."""
    found = of_outputs.tensors(outputs)
    if not found:
        raise SweepError(
            "the model returns no tensor, so its output cannot be checked: return tensors, tuples or dicts of them"
        )
    for name, tensor in found.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and torch.isnan(tensor).any():
            raise SweepError(
                f"output {name} of the FP32 reference is not a number (NaN): check model.weights and the range of "
                "model.inputs"
            )


def compare(outputs: Any, reference: Reference) -> list[Leaf]:
    """Return how each tensor of the outputs compares; raise SweepError for another number or other shapes of them."""
    found = []
    for name, output, expected in of_outputs.paired(outputs, reference.outputs):
        if name in reference.unsteady:
            found.append(Leaf(name, "", tuple(expected.shape), note="it is different each time"))
        elif output.shape == expected.shape:
            found.append(of_outputs.compare(name, output, expected))
        elif name in reference.varying:
            note = f"its length depends on the data: {tuple(output.shape)} here"
            found.append(Leaf(name, "", tuple(expected.shape), note=note))
        else:
            raise SweepError(
                f"output {name} of the compiled model has shape {tuple(output.shape)}, that of the eager one "
                f"{tuple(expected.shape)}"
            )
    return found


def check(outputs: Any, reference: Reference, rel_l2: float) -> tuple[Accuracy, list[Leaf]]:
    """Return the verdict on outputs, and each leaf: `Accuracy` has the worst figure of all, and the name of the worst.

    `rel_l2` is the error up to which a leaf is accurate in any case. Beyond it, it is as long as it is at most `WORSE`
    times that of eager in the same precision, and below `ABSURD`. The verdict is None where no leaf can be judged.
    """
    leaves = [
        leaf if leaf.note else dataclasses.replace(leaf, excess=_excess(leaf, reference, rel_l2))
        for leaf in compare(outputs, reference)
    ]
    judged = [leaf for leaf in leaves if leaf.excess is not None]
    numbers = [leaf for leaf in judged if leaf.kind != WHOLE]
    worst = max(judged, key=lambda leaf: leaf.excess or 0.0, default=None)
    lengths = [f"output {leaf.name}: {leaf.note}" for leaf in leaves if leaf.note and leaf.name in reference.varying]
    return Accuracy(
        finite=all(leaf.finite for leaf in judged) if judged else None,
        rel_l2_error=_worst([leaf.error for leaf in numbers], max),
        max_abs_error=_worst([leaf.max_abs_error for leaf in judged], max),
        cosine=_worst([leaf.cosine for leaf in numbers], min),
        top1_agreement=_worst([leaf.top1_agreement for leaf in numbers], min),
        agreement=_worst([1 - (leaf.error or 0.0) for leaf in judged if leaf.kind == WHOLE], min),
        worst_output=worst.name if worst is not None and len(leaves) > 1 else None,
        eager_rel_l2_error=_worst([reference.eager.get(leaf.name) for leaf in numbers], max),
        accurate=all((leaf.excess or 0.0) <= 1 for leaf in judged) if judged else None,
        model_notes=[*reference.notes, *lengths] or None,
    ), leaves


def _excess(leaf: Leaf, reference: Reference, rel_l2: float) -> float:
    """Return a leaf's error over the largest that is accurate; infinite for what is not finite."""
    error = leaf.error
    if error is None or not leaf.finite or math.isnan(error):
        return math.inf
    return error / max(rel_l2, min(WORSE * reference.eager.get(leaf.name, 0.0), math.nextafter(ABSURD, 0)))


def _worst(values: Sequence[float | None], pick: Any) -> float | None:
    """Return the worst of the values that there are by `pick`, None without any; NaN is worse than any number."""
    known = [value for value in values if value is not None]
    if any(math.isnan(value) for value in known):
        return math.nan
    return float(pick(known)) if known else None
