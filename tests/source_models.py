"""Points, models and outputs of each source of models, by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trt_sweep.config import compose
from trt_sweep.errors import SweepError
from trt_sweep.measure import outputs as outputs_of
from trt_sweep.models import factory
from trt_sweep.models.model import Model
from trt_sweep.points import plan

CPU = torch.device("cpu")


def point(group: str, name: str, *overrides: str):
    """Return the effective configuration of one point, as the command line leads to it."""
    found = compose.composed([f"model={group}", f"model.name={name}", "backend=eager", "batch_size=2", *overrides])
    (effective,) = plan.effective(found.point)
    assert plan.effective(effective) == [effective]  # as for its baselines
    return effective


def build(group: str, name: str, *overrides: str) -> tuple[Model, dict[str, tuple[int, ...]]]:
    """Return a model, and the shapes of its outputs."""
    config = point(group, name, *overrides)
    model, again = factory.build(config, CPU), factory.build(config, CPU)
    assert not model.module.training
    state, same = model.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(state[name], same[name]) for name in state)  # by model.seed
    with torch.no_grad():
        outputs = finite(model())
    return model, {name: tuple(tensor.shape) for name, tensor in outputs.items()}


def finite(outputs: Any) -> dict[str, torch.Tensor]:
    found = outputs_of.tensors(outputs)
    assert all(tensor.isfinite().all() for tensor in found.values())
    return found


def settings(*values: str) -> list[str]:
    return [f"+model.factory.config.{value}" for value in values]


def refused(group: str, name: str, *overrides: str) -> str:
    """Return the one line that refuses a point."""
    with pytest.raises(SweepError) as caught:
        point(group, name, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)
