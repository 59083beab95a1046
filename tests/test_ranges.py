"""Several dynamic dimensions: what is one and what is two, at which sizes they are timed, and what is refused."""

from __future__ import annotations

import pytest
import torch

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import factory, reproduction_inputs, tracing
from trt_sweep.models.inputs import inputs_over_range
from trt_sweep.points.plan import axes, effective

CPU = torch.device("cpu")
IDENTITY = {"_target_": "torch.nn.Softmax", "dim": -1}


class Times(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x.softmax(-1) * y.mean((0, 1))


def config(*shapes, batch_size=(1, 4, 8), backend="inductor", target=IDENTITY, **values) -> SweepConfig:
    inputs = [InputConfig(shape=shape) for shape in shapes]
    model = ModelConfig(name="m", factory=target, inputs=inputs)
    size = list(batch_size) if isinstance(batch_size, tuple) else batch_size
    return SweepConfig(**{"model": model, "backend": backend, "device": "cpu", "batch_size": size, **values})


def names(found: SweepConfig) -> dict[str, tuple[int, ...]]:
    return {name: item[:3] for name, item in found.ranges.items()}


@pytest.mark.parametrize(
    ("shapes", "batch_size", "wanted"),
    [
        ([[[1, 128, 512]]], (1, 4, 8), {"batch": (1, 4, 8), "size": (1, 128, 512)}),
        ([[{"seq": [1, 128, 512]}]], (1, 4, 8), {"batch": (1, 4, 8), "seq": (1, 128, 512)}),
        ([[{"h": [8, 16, 32]}, {"w": [8, 16, 32]}]], 2, {"h": (8, 16, 32), "w": (8, 16, 32)}),
        ([[[8, 16, 32], [8, 16, 32]]], 2, {"size": (8, 16, 32)}),  # one where it is the same and has no name
        ([[{"seq": [1, 2, 3]}], ["seq"]], 2, {"seq": (1, 2, 3)}),
        ([["seq"], [{"seq": [1, 2, 3]}]], 2, {"seq": (1, 2, 3)}),
        ([["batch", 3]], (1, 4, 8), {"batch": (1, 4, 8)}),
        ([[[1, 4, 8]]], (1, 4, 8), {"batch": (1, 4, 8)}),
        ([[[1, 2, 3], [4, 5, 6]]], 2, {"size": (1, 2, 3), "size_1": (4, 5, 6)}),
        ([[3]], 2, {}),
    ],
)
def test_which_dimensions_there_are(shapes, batch_size, wanted):
    found = config(*shapes, batch_size=batch_size)
    assert names(found) == wanted


def test_a_point_for_each_combination():
    found = effective(config([{"seq": [1, 128, 512]}]))
    assert [each.time_at for each in found] == [
        [{"batch": 1, "seq": 1}],
        [{"batch": 4, "seq": 128}],
        [{"batch": 8, "seq": 512}],
    ]
    chosen = effective(config([{"seq": [1, 128, 512]}], time_at=[{"batch": 1, "seq": 512}, {"batch": 8}]))
    assert [(each.timed.batch_size, each.timed.model.inputs[0].shape) for each in chosen] == [(1, [512]), (8, [128])]
    assert len({each.build_id for each in chosen}) == 1 and len({each.point_id for each in chosen}) == 2
    row = axes(chosen[0])
    assert row["dynamic_range"] == "batch=1:4:8 seq=1:128:512"
    assert (row["batch_size"], row["input_shapes"], row["time_at"]) == (1, "1x512", None)
    fixed = effective(config([{"seq": [1, 128, 512]}], backend="eager"))
    assert [(each.batch_size, each.model.inputs[0].shape) for each in fixed] == [(1, [1]), (4, [128]), (8, [512])]


def test_a_shape_may_name_the_range_of_the_batch():
    found = config(["batch", 3])
    assert found.unsized.source_key and factory.build(found, CPU).inputs.args[0].shape == (4, 4, 3)
    lines = reproduction_inputs.shapes(found.to_dict()["model"]["inputs"], found.batch_size)
    assert "shapes[args[0]] = {0: batch, 1: batch}" in lines


def test_one_dimension_is_as_it_was():
    found = effective(config([3], time_at=[2, 8]))
    assert [each.time_at for each in found] == [[2], [8]] and axes(found[0])["time_at"] == 2
    assert axes(found[0])["dynamic_range"] == "1:4:8"


def test_all_of_them_are_exported():
    target = {"_target_": f"{__name__}.Times"}
    found = config([{"seq": [2, 16, 64]}, 3], [{"other": [2, 8, 64]}, 3], target=target)
    model = factory.build(found, CPU)
    assert [tuple(tensor.shape) for tensor in model.inputs.args] == [(4, 16, 3), (4, 8, 3)]
    exported = tracing.export(model)
    bounds = sorted((each.lower, each.upper) for each in exported.range_constraints.values())
    assert bounds == [(1, 8), (2, 64), (2, 64)]
    ends = [tuple(map(tuple, (tensor.shape for tensor in each.args))) for each in inputs_over_range(found, CPU)]
    assert ends == [((1, 2, 3), (1, 2, 3)), ((4, 16, 3), (4, 8, 3)), ((8, 64, 3), (8, 64, 3))]
    x, y = torch.randn(5, 7, 3), torch.randn(5, 33, 3)
    assert torch.allclose(exported.module()(x, y), Times()(x, y))


@pytest.mark.parametrize(
    ("shapes", "values", "words"),
    [
        ([[{"seq": [1, 2, 3]}], [{"seq": [1, 2, 4]}]], {}, ["seq=[1, 2, 4]", "one range for one name", "[1, 2, 3]"]),
        ([["seq"]], {}, ["seq", "no range of that name", "{seq: [1,8,32]}"]),
        ([[{"a": [1, 2, 3], "b": [1, 2, 3]}]], {}, ["one name and its range"]),
        ([[{"seq": 3}]], {}, ["one name and its range", "{seq: [1,128,512]}"]),
        ([[{"seq": [3, 2, 1]}]], {}, ["min <= opt <= max"]),
        (
            [[{"seq": [1, 2, 3]}]],
            {"time_at": [3]},
            ["time_at=[3]", "batch from 1 to 8", "seq from 1 to 3", "{batch: 4, seq: 2}"],
        ),
        ([[{"seq": [1, 2, 3]}]], {"time_at": [{"seq": 4}]}, ["seq from 1 to 3"]),
        ([[{"seq": [1, 2, 3]}]], {"time_at": [{"sek": 2}]}, ["time_at=[{'sek': 2}]", "seq from 1 to 3"]),
        ([[3]], {"time_at": ["x"]}, ["time_at=['x']", "sizes from 1 to 8"]),
    ],
)
def test_mistakes_are_one_line(shapes, values, words):
    with pytest.raises(SweepError) as error:
        effective(config(*shapes, **values))
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), error.value
