"""The user's own function: what it is called with, and what is refused in one line."""

from __future__ import annotations

import pytest
import torch

from trt_sweep.config.groups import AccuracyConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.points import evaluation

CPU = torch.device("cpu")
HERE = __name__


def config(target: str | None = None, inputs=None, **arguments) -> SweepConfig:
    inputs = inputs or [InputConfig(shape=[3])]
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=inputs)
    evaluate = {"_target_": f"{HERE}.{target}", **arguments} if target else {}
    return SweepConfig(model=model, backend="eager", batch_size=4, accuracy=AccuracyConfig(evaluate=evaluate))


def mean(model, device, scale=1.0):
    return float(model(torch.arange(30.0, device=device).view(10, 3)).mean()) * scale


def tensor(model, device):
    return torch.tensor(2)


def text(model, device):
    return "good"


def nothing_by_position(model, device):
    return model(x=torch.ones(1, 3))


def fails(model, device):
    raise ValueError("no\nsuch file")


def test_any_number_of_samples_passes_through_a_model_of_one_size():
    sizes, memory = [], torch.empty(4, 3)

    def bind(inputs):
        sizes.append(len(inputs.args[0]))
        return lambda: {"twice": memory.copy_(inputs.args[0] * 2)}  # into the same memory at each call

    x = torch.arange(30.0).view(10, 3)
    assert torch.equal(evaluation.Batched(bind, config())(x)["twice"], 2 * x)
    assert sizes == [4, 4, 4]


def test_inputs_without_a_batch_dimension_go_along():
    inputs = [InputConfig(shape=[3]), InputConfig(shape=[3], batched=False, name="shift")]
    model = evaluation.Batched(lambda given: lambda: given.args[0] + given.kwargs["shift"], config(inputs=inputs))
    assert model(torch.zeros(6, 3), shift=torch.ones(3)).shape == (6, 3)


def test_value_and_name():
    assert evaluation.run(lambda x: x, config(), CPU) is None and evaluation.name(config()) is None
    assert evaluation.run(lambda x: x, config("mean", scale=2), CPU) == 29.0
    assert evaluation.run(lambda x: x, config("tensor"), CPU) == 2.0
    assert evaluation.name(config("mean")) == f"{HERE}.mean"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such", "cannot be found: .*no_such"),
        ("text", "gives a str: it must give a number"),
        ("fails", "fails: ValueError: no such file"),
        ("nothing_by_position", "the model is called with tensors for x: it takes input 0"),
    ],
)
def test_functions_that_do_not_work(target, said):
    model = evaluation.Batched(lambda inputs: lambda: inputs.args[0], config())
    with pytest.raises(SweepError, match=rf"^accuracy\.evaluate.*{said}") as caught:
        evaluation.run(model, config(target), CPU)
    assert "\n" not in str(caught.value)
