"""Find out whether calls of several threads give at the same time what each gives alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

import torch

from trt_sweep.measure import accuracy, outputs
from trt_sweep.measure.accuracy import Reference
from trt_sweep.measure.clocks import Call
from trt_sweep.measure.outputs import Leaf
from trt_sweep.measure.timer import Timer

SECONDS = 0.3  # for which the threads call
FEWEST, MOST = 3, 10_000  # calls of a thread
KEPT = 3  # outputs of a thread that are another than alone, bit for bit

Outputs = dict[str, torch.Tensor]


def alone(call: Call) -> Outputs:
    """Return a copy of the outputs of a call by their names."""
    return _copied(outputs.tensors(call()))


def judged(timer: Timer, expected: Sequence[Outputs], reference: Reference, rel_l2: float) -> list[Leaf]:
    """Have all threads of a timer call at the same time, and judge what they give by what each call gives alone.

    `expected` has that for each of the timer's calls. Return the worst leaves of all, as `accuracy.judge` does with the
    tolerance `rel_l2`; none where all outputs are the same, bit for bit.
    """
    timer.capture_in_turn()
    pairs = zip(timer.calls, expected, strict=True)
    found = timer.together([partial(_others, call, own) for call, own in pairs])
    leaves: list[Leaf] = []
    for others, own in zip(found, expected, strict=True):
        names = {name: tensor for name, tensor, _ in outputs.paired(own, reference.outputs)}
        itself = dataclasses.replace(reference, outputs=names, further=(), eager={})
        for other in others:
            each = accuracy.judge(other, itself, rel_l2)
            leaves = accuracy.worse(leaves, each) if leaves else each
    return leaves


def _others(call: Call, expected: Outputs) -> list[Outputs]:
    """Call for a while, and return the first outputs that are not as expected, bit for bit."""
    found: list[Outputs] = []
    made, end = 0, time.perf_counter() + SECONDS
    while made < FEWEST or (made < MOST and time.perf_counter() < end):
        given = outputs.tensors(call())
        if any(tensor.is_cuda for tensor in expected.values()):
            torch.cuda.current_stream().synchronize()  # they may lie in the host's memory
        if len(found) < KEPT and not _equal(given, expected):
            found.append(_copied(given))
        del given  # the next call may have its memory, and so need not be captured anew
        made += 1
    return found


def _equal(given: Outputs, expected: Outputs) -> bool:
    pairs = zip(given.values(), expected.values(), strict=True)
    return len(given) == len(expected) and all(torch.equal(one.to(other.device), other) for one, other in pairs)


def _copied(found: Outputs) -> Outputs:
    return {name: tensor.clone() for name, tensor in found.items()}
