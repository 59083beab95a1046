"""Data for quantization: random ones, the user's, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from trt_sweep.config.groups import QuantizationConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models.quantization import calibration

CPU = torch.device("cpu")
HERE = __name__


def config(inputs=None, samples=5, **calibration) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=inputs or [InputConfig(shape=[3])])
    if calibration:
        calibration = {"_target_": f"{HERE}.given", **calibration}
    how = QuantizationConfig("modelopt_int8_default", calibration, samples)
    return SweepConfig(model=model, backend="eager", precision="int8", batch_size=2, quantization=how)


def given(kind: str):
    """Iterables of batches, good and bad."""
    torch.manual_seed(0)
    wrong = {
        "shape": [torch.ones(4, 5)],
        "dimensions": [torch.ones(3)],
        "nan": [torch.ones(2, 3), torch.tensor([[1.0, math.nan, 2.0]])],
        "integers": [torch.ones(2, 3, dtype=torch.int64)],
        "two": [(torch.ones(2, 3), torch.ones(2, 3))],
        "dict": [{"x": torch.ones(2, 3)}],
        "list": [[1.0, 2.0, 3.0]],
        "no tensor": [([1.0, 2.0, 3.0],)],
        "nothing in it": [torch.ones(0, 3)],
        "empty": [],
        "no iterable": 3,
        "tensor": torch.ones(2, 3),
    }
    good = {
        "batches": (torch.full((3, 3), float(number)) for number in range(10)),
        "tuples": [(torch.ones(2, 3), {})[:1]],
        "named": [{"mask": torch.ones(2, 4, dtype=torch.bool)}],
    }
    return (wrong | good)[kind]


def test_random_data_are_seeded_and_none_of_the_points_own():
    first, again = (calibration.batches(config(), CPU) for _ in range(2))
    assert [tuple(batch.args[0].shape) for batch in first] == [(2, 3)] * 3  # the sixth is the fifth again
    assert all(torch.equal(a.args[0], b.args[0]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].args[0], first[1].args[0])
    assert calibration.name(config()) == "random"


def test_random_samples_are_the_same_in_batches_of_any_size():
    ones, fives = (
        torch.cat([batch.args[0] for batch in calibration.batches(dataclasses.replace(config(), batch_size=size), CPU)])
        for size in (1, 5)
    )
    assert torch.equal(ones, fives) and len(ones.unique()) == 15


def test_data_of_ones_own_come_in_batches_of_the_points_size():
    found = calibration.batches(config(kind="batches"), CPU)
    # Three samples of the first batch and two of the second, which ends at the fifth.
    assert [batch.args[0][:, 0].tolist() for batch in found] == [[0, 0], [0, 0], [1, 1]]
    assert calibration.name(config(kind="batches")) == f"{HERE}.given"
    assert len(calibration.batches(config(kind="tuples"), CPU)) == 1


def test_inputs_by_name():
    spec = config([InputConfig(shape=[4], dtype="bool", name="mask")], kind="named")
    (batch,) = calibration.batches(spec, CPU)
    assert batch.args == () and batch.kwargs["mask"].dtype == torch.bool


def test_a_dynamic_dimension_takes_its_range():
    spec = dataclasses.replace(config([InputConfig(shape=[[2, 3, 4]], batched=False)]), batch_size=1)
    assert len(calibration.batches(spec, CPU)) == 5  # one sample each, where none has a batch dimension


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("shape", r"batch 0 has shape \[4, 5\]: the model takes \[batch, 3\]"),
        ("dimensions", r"batch 0 has shape \[3\]: the model takes \[batch, 3\]"),
        ("nan", "batch 1 holds NaN or infinity"),
        ("integers", "of torch.int64: the model takes floating-point"),
        (
            "two",
            "does not fit the model's inputs: .* tensors for input 0, input 1: it takes input 0",
        ),
        ("dict", "does not fit the model's inputs"),
        ("list", "does not fit the model's inputs"),
        ("no tensor", "tensors for no input: it takes input 0"),
        ("nothing in it", r"has shape \[0, 3\]"),
        ("empty", "gives no batch"),
        ("no iterable", "gives a int: it must give an iterable"),
        ("tensor", "gives a Tensor: it must give an iterable"),
        ("unknown", "cannot be built: KeyError"),
    ],
)
def test_data_that_do_not_fit(kind, said):
    with pytest.raises(SweepError, match=rf"^quantization\.calibration={HERE}\.given.*{said}") as caught:
        calibration.batches(config(kind=kind), CPU)
    assert "\n" not in str(caught.value)
