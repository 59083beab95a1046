"""The leaves of a model's outputs, by name, and how one compares with the reference's."""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import NamedTuple

import pytest
import torch
from torch.utils import _pytree as pytree

from trt_sweep.errors import SweepError
from trt_sweep.measure import outputs

A = torch.tensor([[1.0, 2.0], [4.0, 3.0]])


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    loss: torch.Tensor | None = None


class ModelOutput(collections.OrderedDict):
    """As those of transformers and diffusers: registered with pytree, without the keys of its parts."""


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Cache:
    def __init__(self, *tensors):
        self.tensors = tensors


pytree.register_pytree_node(
    ModelOutput,
    lambda value: ([*value.values()], [*value]),
    lambda values, keys: ModelOutput(zip(keys, values, strict=True)),
)
pytree.register_pytree_node(Cache, lambda value: ([*value.tensors], None), lambda values, _: Cache(*values))


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (A, ["output"]),
        ((A, [A, A]), ["0", "1.0", "1.1"]),
        ({"b": A, "a": {"deep": A}}, ["b", "a.deep"]),
        (Answer(A), ["logits"]),
        (Answer(A, A), ["logits", "loss"]),
        (ModelOutput(last=A, pooled=None, hidden=(A, A)), ["last", "hidden.0", "hidden.1"]),
        (Pair(A, A), ["left", "right"]),
        ((A, Cache(A, A)), ["0", "1.0", "1.1"]),
        ({"loss": None, "scale": 0.5, "n": 3}, ["scale", "n"]),
    ],
)
def test_leaves_have_names(output, names):
    assert [*outputs.leaves(output)] == names


def test_two_leaves_of_one_name_are_two():
    assert len(outputs.leaves({"a.b": A, "a": {"b": A + 1}, 1: A, "1": A})) == 4


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16])
def test_small_types(dtype):
    leaf = outputs.compare("x", A.to(dtype), A)
    assert leaf.error == 0 and leaf.top1_agreement == 1


def test_complex_and_real_are_compared_as_complex():
    assert outputs.compare("x", torch.tensor([1 + 1j]), torch.tensor([1.0])).error == 1


def test_only_tensors_are_compared():
    assert [*outputs.tensors({"scale": 0.5, "text": "x", "y": A})] == ["y"] and outputs.tensors(None) == {}


def test_leaves_are_matched_by_name_and_else_in_order():
    wanted = {"a": A, "b": A + 1}
    by_name = list(outputs.paired({"b": A + 1, "a": A}, wanted))
    in_order = list(outputs.paired((A, A + 1), wanted))
    for found in (by_name, in_order):
        assert [name for name, *_ in found] == ["a", "b"]
        assert all(torch.equal(got, expected) for _, got, expected in found)
    with pytest.raises(SweepError, match=r"returns 1 tensors \(output \(2, 2\)\), the eager one 2 \(a \(2, 2\), b"):
        list(outputs.paired(A, wanted))


def test_floating_point_by_hand():
    leaf = outputs.compare("x", torch.tensor([3.0, 0.0]), torch.tensor([3.0, 4.0]))
    assert (leaf.kind, leaf.error, leaf.max_abs_error) == (outputs.FLOATING, pytest.approx(4 / 5), 4.0)
    assert leaf.cosine == pytest.approx(3 / 5) and leaf.finite and leaf.top1_agreement is None
    one = outputs.compare("x", torch.tensor(1.1), torch.tensor(1.0))  # one number is compared as one number
    assert one.error == pytest.approx(0.1) and one.shape == ()


def test_complex_numbers_are_pairs():
    leaf = outputs.compare("x", torch.tensor([3 + 0j]), torch.tensor([3 + 4j]))
    assert (leaf.kind, leaf.error) == (outputs.COMPLEX, pytest.approx(4 / 5)) and leaf.top1_agreement is None
    turned = outputs.compare("x", torch.tensor([4 - 3j]), torch.tensor([3 + 4j]))
    assert turned.error == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_whole_numbers_and_booleans_by_agreement(dtype):
    wanted = torch.tensor([1, 0, 1, 0]).to(dtype)
    got = torch.tensor([1, 0, 0, 0]).to(dtype)
    assert outputs.compare("x", got, wanted).error == 0.25 and outputs.compare("x", wanted, wanted).error == 0
    assert outputs.compare("x", got.long() * 1000, wanted.long() * 1000).error == 0.25  # however far


def test_infinities_at_the_same_places_are_equal():
    wanted = torch.tensor([1.0, -math.inf, 2.0, math.inf])
    assert outputs.compare("x", wanted.clone(), wanted).error == 0
    moved = torch.tensor([1.0, 3.0, 2.0, math.inf])
    found = outputs.compare("x", moved, wanted)
    assert math.isinf(found.error) or math.isnan(found.error)
    flipped = outputs.compare("x", torch.tensor([1.0, math.inf, 2.0, math.inf]), wanted)
    assert not flipped.finite


@pytest.mark.parametrize(("got", "error"), [([0.0, 0.0], 0.0), ([0.0, 1.0], math.inf)])
def test_a_reference_of_zeros_is_compared_for_equality(got, error):
    assert outputs.compare("x", torch.tensor(got), torch.zeros(2)).error == error


def test_top1():
    wanted = torch.tensor([[1.0, 0.0, 0.5], [2.0, 9.0, 0.0], [3.0, 0.0, 8.0], [4.0, 1.0, 0.0]])
    got = wanted * 2
    got[3] = torch.tensor([0.0, 1.0, 0.5])
    assert outputs.compare("x", got, wanted).top1_agreement == 0.75
    assert outputs.compare("x", torch.ones(3, 1), torch.ones(3, 1)).top1_agreement is None
    assert outputs.compare("x", torch.ones(0, 3), torch.ones(0, 3)).error == 0


def test_lower_precision_is_compared_in_double():
    leaf = outputs.compare("x", torch.full((2,), 1.001).half(), torch.tensor([1.0, 1.0]))
    assert leaf.max_abs_error == float(torch.tensor(1.001).half()) - 1


def test_how_far_outputs_moved():
    one, two = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert outputs.distance((one, one), (two, one)) == {"0": pytest.approx(0.1), "1": 0.0}
    assert outputs.distance(one, torch.ones(3)) == {"output": math.inf}


def test_one_wrong_sample_of_many_shows():
    """In the error of all it hides: one of 64 that is wholly wrong makes it an eighth."""
    reference = torch.randn(64, 100)
    wrong = reference.clone()
    wrong[5] = reference[6]
    leaf = outputs.compare("x", wrong, reference, batch=64)
    assert leaf.sample == 5 and leaf.sample_error > 1 and leaf.error < 0.25
    assert outputs.compare("x", wrong, reference).sample is None
    silent = torch.zeros(4, 3)
    assert outputs.compare("x", silent, silent, batch=4).sample is None
