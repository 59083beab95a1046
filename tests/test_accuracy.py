"""Errors against the reference, and the references that would prove nothing."""

from __future__ import annotations

import math

import pytest
import torch

from trt_sweep.errors import SweepError
from trt_sweep.measure import accuracy

A = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
NESTED = {"logits": A, "more": [(torch.tensor([1, 5, 3]), None), {"deep": A + 1}], "name": "x"}


def test_tensors_of_a_nested_output():
    found = accuracy.tensors(NESTED)
    assert [tensor.tolist() for tensor in found] == [A.tolist(), [1, 5, 3], (A + 1).tolist()]
    assert accuracy.tensors(A)[0] is A


def test_equal_outputs():
    found = accuracy.check(NESTED, NESTED, 1e-9)
    assert (found.finite, found.accurate) == (True, True)
    assert (found.rel_l2_error, found.max_abs_error, found.top1_agreement) == (0.0, 0.0, 1.0)
    assert found.cosine == pytest.approx(1.0)


def test_metrics_by_hand():
    found = accuracy.check(torch.tensor([3.0, 0.0]), torch.tensor([3.0, 4.0]), 0.5)
    assert found.rel_l2_error == pytest.approx(4 / 5)
    assert found.max_abs_error == 4.0
    assert found.cosine == pytest.approx(3 / 5)
    assert found.top1_agreement is None
    assert (found.finite, found.accurate) == (True, False)


@pytest.mark.parametrize("swap", [False, True])
def test_the_worst_leaf_counts(swap):
    wanted = (torch.tensor([3.0, 4.0]), torch.tensor([30.0, 40.0]))
    got = (torch.tensor([3.0, 4.5]), torch.tensor([30.0, 41.0]))
    if swap:
        wanted, got = wanted[::-1], got[::-1]
    found = accuracy.check(got, wanted, 1.0)
    assert found.rel_l2_error == pytest.approx(0.1)  # the first leaf's
    assert found.max_abs_error == 1.0  # the second's


@pytest.mark.parametrize(("tolerance", "accurate"), [(0.25, True), (math.nextafter(0.25, 0), False)])
def test_the_tolerance_itself_is_accurate(tolerance, accurate):
    found = accuracy.check(torch.tensor([0.0, 4.0, 1.0]), torch.tensor([0.0, 4.0, 0.0]), tolerance)
    assert found.rel_l2_error == 0.25
    assert found.accurate is accurate


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("leaf", [0, 1])
def test_output_that_is_not_finite(value, leaf):
    got = [A.clone(), A.clone()]
    got[leaf][0, 0] = value
    found = accuracy.check(tuple(got), (A, A), math.inf)
    assert (found.finite, found.accurate) == (False, False)
    assert not math.isfinite(found.rel_l2_error)


def test_top1_agreement():
    wanted = torch.tensor([[1.0, 0.0, 0.5], [2.0, 9.0, 0.0], [3.0, 0.0, 8.0], [4.0, 1.0, 0.0]])
    got = wanted * 2
    got[3] = torch.tensor([0.0, 1.0, 0.5])
    assert accuracy.check(got, wanted, 1.0).top1_agreement == 0.75
    assert accuracy.check((wanted, got), (wanted, wanted), 1.0).top1_agreement == 0.75
    assert accuracy.check(torch.ones(3, 1), torch.ones(3, 1), 1.0).top1_agreement is None


def test_integer_outputs():
    found = accuracy.check(torch.tensor([3, 5]), torch.tensor([3, 4]), 0.2)
    assert (found.rel_l2_error, found.max_abs_error, found.accurate) == (0.2, 1.0, True)


def test_lower_precision_is_compared_in_double():
    found = accuracy.check(torch.full((2,), 1.001).half(), torch.tensor([1.0, 1.0]), 1e-2)
    assert found.max_abs_error == float(torch.tensor(1.001).half()) - 1


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (A[:, :1], r"\[\(2, 1\)\], the eager one \[\(2, 2\)\]"),
        ((A, A), r"\[\(2, 2\), \(2, 2\)\], the eager one \[\(2, 2\)\]"),
        (None, r"\[\], the eager one \[\(2, 2\)\]"),
    ],
)
def test_other_shapes(got, said):
    with pytest.raises(SweepError, match=said):
        accuracy.check(got, A, 1.0)


@pytest.mark.parametrize("outputs", [None, "text", [], {"loss": 1.0}])
def test_reference_without_a_tensor(outputs):
    with pytest.raises(SweepError, match="the model returns no tensor"):
        accuracy.require_variance(outputs)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (torch.zeros(2, 3), r"no variance \(shape \(2, 3\)\)"),
        (torch.full((4,), 7), "no variance"),
        (torch.tensor(1.5), "no variance"),
        (torch.tensor([True, True]), "no variance"),
        (torch.tensor([1.0, math.nan]), "not finite"),
        (torch.tensor([math.inf, 1.0]), "not finite"),
    ],
)
def test_reference_that_proves_nothing(output, said):
    with pytest.raises(SweepError, match=f"output 1 of the FP32 reference.*{said}"):
        accuracy.require_variance((A, output))


@pytest.mark.parametrize("output", [A, NESTED, torch.tensor([1, 2]), torch.tensor([True, False])])
def test_reference_with_variance(output):
    accuracy.require_variance(output)


def test_dicts_are_matched_by_key_and_booleans_compared():
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    flags = torch.tensor([[True, False], [False, True]])
    found = accuracy.check({"b": b, "a": a, "c": flags}, {"a": a, "b": b, "c": flags}, 1e-3)
    assert found.accurate and found.rel_l2_error == 0


def test_spread_is_the_least_over_the_outputs():
    one, two = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert accuracy.relative_distance(one, two) == pytest.approx(0.1)
    assert accuracy.relative_distance((one, one), (two, torch.zeros(2))) == pytest.approx(0.1)


def test_an_output_that_ignores_the_inputs_is_refused():
    one = torch.tensor([3.0, 4.0])
    with pytest.raises(SweepError, match="does not depend on the inputs"):
        accuracy.require_dependence(accuracy.relative_distance(one, one.clone()))
    with pytest.raises(SweepError, match="does not depend on the inputs"):
        accuracy.require_dependence(float("nan"))
    accuracy.require_dependence(1e-3)
