"""Call models that are no functions: random ones, and such as change their state or inputs. Each must be named."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from torch import nn

from trt_sweep.models import reference
from trt_sweep.models.model import Inputs, Model, cast, copied

X, OTHER = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))


def made(module, x=X, other=OTHER, **more):
    with torch.no_grad():
        return reference.make(module.eval(), Inputs((x,), {}), Inputs((other,), {}), **more)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.lin = nn.Linear(8, 8)
        self.register_buffer("seen", torch.zeros(8))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def test_a_function():
    found = made(Function(lambda self, x: {"y": self.lin(x)}))
    assert (found.notes, found.unsteady, found.constant, found.varying) == ((), frozenset(), frozenset(), frozenset())
    assert [*found.outputs] == ["y"] and found.spread > 0.1


def counted(self, x):
    self.seen.add_(x.mean(0))
    return self.seen


def changed(self, x):
    x.mul_(2)
    return self.lin(x)


@pytest.mark.parametrize(
    ("function", "note", "unsteady"),
    [
        (lambda self, x: self.lin(x) + torch.randn_like(x), "every output is different each time", True),
        (lambda self, x: nn.functional.dropout(self.lin(x), 0.5), "every output is different each time", True),
        (counted, "changes its own state (buffer seen)", False),
        (changed, "changes its inputs (input 0)", False),
        (lambda self, x: (self.lin(x), self.lin.weight * 2), "output 1 does not depend on the inputs", False),
        (lambda self, x: self.lin.weight * 2, "no output depends on the inputs", False),
        (lambda self, x: {"y": self.lin(x), "scale": 0.5}, "output scale is no tensor", False),
    ],
)
def test_what_is_no_function_is_named(function, note, unsteady):
    module = Function(function)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = made(module)
    assert any(note in said for said in found.notes), found.notes
    assert bool(found.unsteady) is unsteady
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_the_callers_inputs_and_the_models_buffers_are_left_alone():
    x = X.clone()
    made(Function(changed), x)
    assert torch.equal(x, X)
    found = made(Function(lambda self, x: {"seen": self.seen}))
    assert torch.equal(found.outputs["seen"], torch.zeros(8))


def test_lengths_that_depend_on_the_data():
    found = made(Function(lambda self, x: (x[x > 0], self.lin(x))))
    assert found.varying == {"0"} and not found.unsteady and 0.1 < found.spread < math.inf


def test_one_output_that_is_random_leaves_the_others_to_be_judged():
    found = made(Function(lambda self, x: (self.lin(x), torch.rand(3))))
    assert found.unsteady == {"1"} and found.notes == ("output 1 is different each time: its errors are not judged",)


class Growing(nn.Module):
    """Makes its table at the first call, and keeps what is not a number in another."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.zeros(0))
        self.register_buffer("late", None)
        self.register_buffer("empty", torch.full((2,), math.nan))

    def forward(self, x):
        if len(self.table) < len(x):
            self.table, self.late = x.new_ones(len(x)), x.new_ones(1)
        return x * self.table[:, None]


def test_buffers_that_are_made_in_a_call_are_put_back():
    module = Growing()
    found = made(module)
    assert found.notes == ("the model changes its own state (buffer table, buffer late): the first call is judged",)
    assert len(module.table) == 0 and module.late is None and not found.unsteady


def test_outputs_that_are_zero_at_first_have_no_length_of_their_own():
    found = made(Function(lambda self, x: x.relu() * (x.sum() > X.sum() + 1)))
    assert found.varying == frozenset()


def test_inference_tensors_are_no_obstacle():
    with torch.inference_mode():
        x = X.clone()
        module = Function(lambda self, x: self.lin(x))
        module.register_buffer("table", torch.ones(2))
    assert made(module, x).notes == ()


def test_the_error_of_a_model_in_another_precision():
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval()
    found, model = made(module), Model(module, Inputs((X,), {}))
    with torch.no_grad():
        (error,) = reference.errors(model, torch.bfloat16, found).values()
        assert 1e-4 < error < 0.02
        strict = Model(Function(lambda self, x: self.lin(x) + torch.fft.rfft(x)[..., :1].real), Inputs((X,), {}))
        assert reference.errors(strict, torch.bfloat16, found) == {}  # it does not run: nothing is known


def test_a_module_that_holds_a_lock_is_copied_all_the_same():
    class Locked(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.lock = nn.Linear(2, 2), threading.Lock()
            self.tied = nn.Linear(2, 2)
            self.tied.weight = self.lin.weight

    module = Locked()
    module.steps = [module.lin]
    copy = copied(module)
    copy.lin.register_forward_hook(print)
    assert copy.steps[0] is copy.lin and not module.lin._forward_hooks
    assert copy.lock is module.lock and copy.lin is not module.lin
    assert copy.lin.weight is copy.tied.weight is not module.lin.weight
    assert torch.equal(copy.lin.weight, module.lin.weight)
    cast(copy, torch.float16)
    assert module.lin.weight.dtype == torch.float32


def test_only_floating_point_is_cast():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(2, 2)
            self.register_buffer("table", torch.polar(torch.ones(2), torch.ones(2)))
            self.register_buffer("ids", torch.arange(3))

    module = cast(Mixed(), torch.float16)
    assert (module.lin.weight.dtype, module.table.dtype, module.ids.dtype) == (
        *(torch.float16, torch.complex64, torch.int64),
    )


@pytest.mark.parametrize(
    ("function", "note"),
    [
        (lambda self, x: self.lin(x), None),
        (lambda self, x: (self.lin(x), x.argmax(-1)), None),
        (lambda self, x: self.lin(x) - self.lin(x).mean(0), "alone, sample"),
        (lambda self, x: self.lin(x).reshape(4, 8)[:3], None),  # no batch to be told from
        (lambda self, x: self.lin(x).view(4, 8), None),  # which one sample alone does not fit
    ],
)
def test_a_sample_alone_is_as_in_its_batch(function, note):
    found = made(Function(function), alone=[Inputs((x[None],), {}) for x in X], batch=4)
    assert found.batch == 4 and len(found.notes) == (note is not None)
    assert note is None or (note in found.notes[0] and "depend on each other" in found.notes[0])


def test_inputs_that_the_module_does_not_take_tell_nothing():
    def strict(self, x):
        if not torch.equal(x, X):
            raise ValueError("not these")
        return self.lin(x)

    found = made(Function(strict))
    assert found.moved == {} and found.notes == ()


def test_further_batches_are_kept():
    found = made(Function(lambda self, x: self.lin(x)), further=[Inputs((OTHER,), {})])
    ((outputs,),) = (each.values() for each in found.further)
    assert outputs.shape == (4, 8) and not torch.equal(outputs, found.outputs["output"])


def test_a_module_that_changes_its_state_has_no_further_batches():
    """A build goes on from where its first batch left it."""
    assert made(Function(counted), further=[Inputs((OTHER,), {})]).further == ()
