"""What points have in common before anything is built for one of them."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from test_points_run import eager

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import quantization
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model
from trt_sweep.points.prepared import PreparedModel
from trt_sweep.results import columns

CPU = torch.device("cpu")


def test_points_share_what_they_have_in_common():
    shared, point = ProcessCache(), eager()
    one = PreparedModel(point, CPU, shared)
    other = PreparedModel(dataclasses.replace(point, precision="bf16"), CPU, shared)
    larger = PreparedModel(dataclasses.replace(point, batch_size=8), CPU, shared)
    assert one.model() is other.model() and one.reference("x").outputs is other.reference("x").outputs
    assert larger.model().module is one.model().module and len(larger.reference("x").outputs["output"]) == 8
    inputs = one.model().inputs.args[0]
    assert torch.equal(one.reference("x").outputs["output"], one.model().module(inputs))
    assert one.reference("x").spread > 0.1 and one.beside_eager("x").eager == {}
    assert 0 < other.beside_eager("x").eager["output"] < 0.1


def test_points_that_judge_other_outputs_share_the_reference():
    shared, point = ProcessCache(), eager()
    own, unknown = (
        dataclasses.replace(point, accuracy=dataclasses.replace(point.accuracy, **asked))
        for asked in ({"outputs": ["out*"], "output_rel_l2": {"output": 0.5}}, {"outputs": ["logits"]})
    )
    found = PreparedModel(own, CPU, shared).reference("x")
    assert found.tolerances == {"output": 0.5}
    assert found.outputs is PreparedModel(point, CPU, shared).reference("x").outputs
    with pytest.raises(SweepError, match=r"^accuracy\.outputs: no output is named logits; use output$"):
        PreparedModel(unknown, CPU, shared).reference("x")


def test_weights_that_the_file_lacks_are_noted(tmp_path):
    torch.save({"no": torch.zeros(9)}, tmp_path / "w.pt")
    point = eager()
    model = dataclasses.replace(point.model, weights=str(tmp_path / "w.pt"), strict=False)
    with pytest.raises(SweepError, match="nothing that fits"):
        PreparedModel(dataclasses.replace(point, model=model), CPU, ProcessCache()).reference("x")
    state = PreparedModel(point, CPU, ProcessCache()).model().module.state_dict()
    torch.save({name: tensor for name, tensor in state.items() if name.endswith("weight")}, tmp_path / "w.pt")
    (note,) = PreparedModel(dataclasses.replace(point, model=model), CPU, ProcessCache()).reference("x").notes
    assert note.startswith("of the weights in w.pt 1 missing, and random (")


class Constant(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.arange(4.0)


def test_a_model_that_ignores_its_inputs_is_named():
    model = ModelConfig(name="m", factory={"_target_": f"{__name__}.Constant"}, inputs=[InputConfig(shape=[4])])
    found = PreparedModel(dataclasses.replace(eager(), model=model), CPU, ProcessCache()).reference("x")
    assert found.notes == ("no output depends on the inputs: equality there proves little",) and found.spread is None


def test_what_quantizing_alone_does(monkeypatch):
    """The error of the quantized model in PyTorch, computed once for all points that have it."""
    calls = []

    def prepared(model: Model, *_: object) -> tuple[Model, columns.Quantization]:
        calls.append(1)
        halved = copy.deepcopy(model.module)
        for parameter in halved.parameters():
            parameter.data.mul_(0.5)
        halved.register_forward_hook(lambda *_: calls.append("called"))
        return dataclasses.replace(model, module=halved), columns.Quantization(quantized_layers=1)

    monkeypatch.setattr(quantization, "quantize_cached", prepared)
    source = PreparedModel(dataclasses.replace(eager(), precision="int8"), CPU, ProcessCache())
    for _ in range(2):
        _, facts = source.quantized("x")
        assert facts.quantized_layers == 1 and facts.fake_quant_finite
        assert facts.fake_quant_rel_l2_error == pytest.approx(0.5)
    assert calls == [1, "called", 1]
