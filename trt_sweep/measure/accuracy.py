"""Judge a point's outputs by the reference: those of the model in FP32, run eagerly by PyTorch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import torch

from trt_sweep.config.groups import AccuracyConfig
from trt_sweep.errors import SweepError
from trt_sweep.measure import outputs as of_outputs
from trt_sweep.measure.outputs import WHOLE, Leaf
from trt_sweep.results.measured import Accuracy

# How many times the error of eager in the same precision a build may have. Of those in outputs/reference with eager
# beside them the worst has 2.5 times, as a test shows.
WORSE = 4.0
ABSURD = 1.0  # an error as large as the output itself
UNASKED = "it is not judged (accuracy.outputs)"
SHOWN = 12  # outputs that an error names


@dataclass(frozen=True)
class Reference:
    """Hold the outputs that a point's are compared with, and what they can prove.

    `moved` is how far other inputs move each leaf, relative. `constant` are the leaves that other inputs do not change,
    `varying` those whose shape they change, `unsteady` those that are different each time. `notes` say what the model
    does beside computing its outputs from its inputs. `eager` are the errors of eager in the point's precision, by
    leaf; empty where they are not known. Where a leaf's first dimension is `batch`, it has that many samples. `further`
    are the outputs for further batches of the `samples` that the user has. `unjudged` are the leaves that nobody asks
    about, `tolerances` those of leaves that have one of their own.
    """

    outputs: Any
    moved: Mapping[str, float] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()
    varying: frozenset[str] = frozenset()
    unsteady: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    eager: Mapping[str, float] = field(default_factory=dict)
    batch: int = 1
    samples: int | None = None
    further: tuple[Any, ...] = ()
    unjudged: frozenset[str] = frozenset()
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def spread(self) -> float | None:
        """Return the least that other inputs move an output by that is judged; None where none moves."""
        moved = (far for name, far in self.moved.items() if name not in self.unjudged)
        return min((far for far in moved if 0 < far < math.inf), default=None)


def require_tensors(outputs: Any) -> None:
    """Raise SweepError for outputs without a tensor: nothing can be compared with them."""
    if not of_outputs.tensors(outputs):
        raise SweepError(
            "the model returns no tensor, so its output cannot be checked: return tensors, tuples or dicts of them"
        )


def not_numbers(outputs: Any) -> list[str]:
    """Return the names of the leaves that have an entry that is not a number."""
    return [
        name
        for name, tensor in of_outputs.tensors(outputs).items()
        if (tensor.is_floating_point() or tensor.is_complex()) and torch.isnan(tensor).any()
    ]


def chosen(reference: Reference, asked: AccuracyConfig) -> Reference:
    """Return a reference that knows which of its leaves are judged, and by which tolerances of their own.

    Raises SweepError for a name that no output has, and where one to be judged is not a number.
    """
    names = [*of_outputs.tensors(reference.outputs)]
    for setting, patterns in (("outputs", asked.outputs), ("output_rel_l2", asked.output_rel_l2)):
        for pattern in patterns:
            if not of_outputs.named(names, pattern):
                nearest = sorted(names, key=lambda name: -SequenceMatcher(None, name, pattern).ratio())
                more = f" or {len(names) - SHOWN} more" * (len(names) > SHOWN)
                raise SweepError(
                    f"accuracy.{setting}: no output is named {pattern}; use {', '.join(nearest[:SHOWN])}{more}"
                )
    judged = {name for pattern in asked.outputs or ["*"] for name in of_outputs.named(names, pattern)}
    every = (name for outputs in (reference.outputs, *reference.further) for name in not_numbers(outputs))
    broken = next((name for name in every if name in judged), None)
    if broken is not None:
        raise SweepError(
            f"output {broken} of the FP32 reference is not a number (NaN): check model.weights and the range of "
            "model.inputs, or name the outputs to judge, accuracy.outputs=[…]"
        )
    unjudged = frozenset(names) - judged
    note = f"of {len(names)} outputs {', '.join(asked.outputs)} is judged (accuracy.outputs)"
    own = {name: own_tolerance(name, asked) for name in names}
    return dataclasses.replace(
        reference,
        unjudged=unjudged,
        tolerances={name: asked.output_rel_l2[pattern] for name, pattern in own.items() if pattern is not None},
        notes=(*reference.notes, *([note] if unjudged else [])),
    )


def own_tolerance(name: str, asked: AccuracyConfig) -> str | None:
    """Return the key of `output_rel_l2` that holds for an output: its name, or else the longest; None without one."""
    fit = [pattern for pattern in asked.output_rel_l2 if of_outputs.named([name], pattern)]
    return max(fit, key=lambda pattern: (pattern == name, len(pattern)), default=None)


def compare(outputs: Any, reference: Reference, number: int = 0) -> list[Leaf]:
    """Return how each tensor of the outputs compares with those of the reference for batch `number` of the samples.

    Raises SweepError for another number of tensors, or other shapes of them.
    """
    found = []
    for name, output, expected in of_outputs.paired(outputs, (reference.outputs, *reference.further)[number]):
        asked = name not in reference.unjudged
        if name in reference.unsteady:
            found.append(Leaf(name, "", tuple(expected.shape), note="it is different each time"))
        elif output.shape == expected.shape:
            leaf = of_outputs.compare(name, output, expected, reference.batch)
            if leaf.sample is not None or reference.further:
                sample = number * reference.batch + (leaf.sample or 0)
                leaf = dataclasses.replace(leaf, sample=sample % (reference.samples or sample + 1))
            found.append(leaf if asked else dataclasses.replace(leaf, note=UNASKED))
        elif name in reference.varying:
            note = f"its length depends on the data: {tuple(output.shape)} here"
            found.append(Leaf(name, "", tuple(expected.shape), note=note))
        elif not asked:
            found.append(Leaf(name, "", tuple(expected.shape), note=f"{UNASKED}, and has shape {tuple(output.shape)}"))
        else:
            raise SweepError(
                f"output {name} of the compiled model has shape {tuple(output.shape)}, that of the eager one "
                f"{tuple(expected.shape)}"
            )
    return found


def check(outputs: Any, reference: Reference, rel_l2: float) -> tuple[Accuracy, list[Leaf]]:
    """Return the verdict on outputs, and each leaf, as `judge` and `verdict` give them."""
    leaves = judge(outputs, reference, rel_l2)
    return verdict(leaves, reference), leaves


def judge(outputs: Any, reference: Reference, rel_l2: float, number: int = 0) -> list[Leaf]:
    """Return each leaf of the outputs for batch `number` of the samples, with its error over what is accurate.

    `rel_l2` is the error up to which a leaf without a tolerance of its own is accurate in any case. Beyond it, it is as
    long as it is at most `WORSE` times that of eager in the same precision, and below a quarter of the output. One
    sample of a batch may have `WORSE` times as much, below `ABSURD`: among many, a wrong one hides in the error of all.
    """
    return [
        leaf if leaf.note else dataclasses.replace(leaf, excess=_excess(leaf, reference, rel_l2))
        for leaf in compare(outputs, reference, number)
    ]


def worse(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Return the worse one of each leaf, as two batches of samples have it."""
    pairs = zip(leaves, others, strict=True)
    return [max(pair, key=lambda leaf: -1.0 if leaf.excess is None else leaf.excess) for pair in pairs]


def verdict(leaves: list[Leaf], reference: Reference) -> Accuracy:
    """Return the worst figures of all leaves, and the name of the worst; null where no leaf can be judged."""
    judged = [leaf for leaf in leaves if leaf.excess is not None]
    numbers = [leaf for leaf in judged if leaf.kind != WHOLE]
    worst = max(judged, key=lambda leaf: leaf.excess or 0.0, default=None)
    varying, every = reference.varying - reference.unjudged, reference.batch * (1 + len(reference.further))
    lengths = [f"output {leaf.name}: {leaf.note}" for leaf in leaves if leaf.note and leaf.name in varying]
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
        judged_samples=min(every, reference.samples or every) if judged else None,
        worst_sample=worst.sample if worst is not None else None,
    )


def _excess(leaf: Leaf, reference: Reference, rel_l2: float) -> float:
    """Return a leaf's error over the largest that is accurate; infinite for what is not finite."""
    error = leaf.error
    if error is None or not leaf.finite or math.isnan(error):
        return math.inf
    most = max(
        reference.tolerances.get(leaf.name, rel_l2),
        min(WORSE * reference.eager.get(leaf.name, 0.0), math.nextafter(ABSURD / WORSE, 0)),
    )
    return max(error / most, (leaf.sample_error or 0.0) / max(most, min(WORSE * most, math.nextafter(ABSURD, 0))))


def _worst(values: Sequence[float | None], pick: Any) -> float | None:
    """Return the worst of the values that there are by `pick`, None without any; NaN is worse than any number."""
    known = [value for value in values if value is not None]
    if any(math.isnan(value) for value in known):
        return math.nan
    return float(pick(known)) if known else None
