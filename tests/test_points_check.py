"""The first calls of a build, on a CPU; what they say of a GPU's memory is in test_gpu.py."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import pytest
import torch
from test_points_run import eager

from trt_sweep.backends import base
from trt_sweep.errors import SweepError
from trt_sweep.measure import memory
from trt_sweep.measure.outputs import WHOLE, Leaf
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points import check, evaluation
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.results.measured import Accuracy

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
    return check.make(compiled, source.config, CPU, source.reference("x"), running=running, enter=done.append), done


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
    reference = source.reference("x")
    found = check.make(compiled, source.config, CPU, reference, running=contextlib.nullcontext, enter=print)
    assert (found.accuracy.evaluation, found.accuracy.evaluation_name) == (0.5, "top1")


def calls(*leaves: Leaf, accurate: bool) -> check.FirstCalls:
    return check.FirstCalls(None, 1.0, Accuracy(accurate=accurate, finite=True), list(leaves), 1)


def test_the_worst_build_is_the_one_with_the_worst_verdict():
    good = calls(Leaf("x", "floating", (2,), 0.1, excess=0.5), accurate=True)
    bad = calls(Leaf("ids", WHOLE, (2,), 1.0, excess=50.0), accurate=False)
    for found in ([good, bad], [bad, good]):
        assert check.worst(found, 0.1)[0].accurate is False


def test_the_reason_is_of_the_worst_output():
    leaves = [Leaf("a", "floating", (2,), 0.1, excess=0.5), Leaf("b", "floating", (2,), 0.02, excess=2.0)]
    said = check.why_inaccurate(leaves, {"a": 0.05, "b": 1e-4}, eager())
    assert said.startswith("output b: relative L2 error 0.02, above accuracy.rel_l2.fp32=0.001 and 4 times eager's")
    leaves[1] = dataclasses.replace(leaves[1], error=1.0)
    said = check.why_inaccurate(leaves, {"b": 1.0}, eager())
    assert "above accuracy.rel_l2.fp32=0.001 and a quarter of the output (eager's own in fp32 is 1);" in said
    leaves[1] = dataclasses.replace(leaves[1], error=0.02)
    own = dataclasses.replace(eager().accuracy, output_rel_l2={"*": 0.02, "b": 0.01})
    said = check.why_inaccurate(leaves, {}, dataclasses.replace(eager(), accuracy=own))
    assert (
        said
        == "output b: relative L2 error 0.02, above accuracy.output_rel_l2.b=0.01; compared with the FP32 reference"
    )
    infinite = [Leaf("a", "floating", (2,), math.inf, finite=False, excess=math.inf)]
    assert check.why_inaccurate(infinite, {}, eager()) == "the output is not finite although the FP32 reference is"
