"""The first calls of a build, on a CPU; what they say of a GPU's memory is in test_gpu.py."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from test_points_run import eager

from trt_sweep.backends import base
from trt_sweep.errors import SweepError
from trt_sweep.measure import memory
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points import check, evaluation
from trt_sweep.points.prepared import PreparedModel

CPU = torch.device("cpu")


def made(function) -> tuple[check.FirstCalls, list[str]]:
    """Of a build that computes `function` of what the model gives, with what was done in which order."""
    done: list[str] = []
    source = PreparedModel(eager(), CPU, ProcessCache())

    def bind(inputs):
        done.append("bind")
        return lambda: done.append("call") or function(source.model().module(*inputs.args))

    @contextlib.contextmanager
    def running():
        done.append("in")
        yield
        done.append("out")

    compiled = base.Compiled(bind, build_memory=memory.BuildMemory(CPU))
    return check.make(compiled, source.config, CPU, source.reference("x")[0], running=running, enter=done.append), done


def test_what_the_first_calls_show():
    found, done = made(lambda outputs: outputs)
    assert found.accuracy.accurate and found.accuracy.rel_l2_error < 1e-6 and found.took_ms > 0
    assert found.peak_bytes is None and done == ["in", "bind", "call", "out", "in", "out"]
    found.timer.call()
    assert done[-1] == "call"


def test_wrong_outputs():
    found, _ = made(lambda outputs: outputs * 2)
    assert found.accuracy.finite and not found.accuracy.accurate
    assert found.accuracy.rel_l2_error == pytest.approx(1)
    with pytest.raises(SweepError):
        made(lambda outputs: outputs[:, :1])


def test_the_evaluation_is_of_the_build(monkeypatch):
    how = dataclasses.replace(eager().accuracy, evaluate={"_target_": "math.prod"})
    monkeypatch.setattr(evaluation, "run", lambda model, config, device: 0.5)
    monkeypatch.setattr(evaluation, "name", lambda config: "top1")
    source = PreparedModel(dataclasses.replace(eager(), accuracy=how), CPU, ProcessCache())
    module = source.model().module
    compiled = base.Compiled(lambda inputs: lambda: module(*inputs.args), build_memory=memory.BuildMemory(CPU))
    reference, _ = source.reference("x")
    found = check.make(compiled, source.config, CPU, reference, running=contextlib.nullcontext, enter=print)
    assert (found.accuracy.evaluation, found.accuracy.evaluation_name) == (0.5, "top1")
