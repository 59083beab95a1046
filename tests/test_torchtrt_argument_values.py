"""How the values of further arguments become what Torch-TensorRT takes, and which do not fit."""

from __future__ import annotations

import pytest
import torch

from trt_sweep.backends.torchtrt.argument_values import converted
from trt_sweep.errors import SweepError

RELU = torch.ops.aten.relu


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("bool", False, False),
        ("int", -1, -1),
        ("float", 0.5, 0.5),
        ("float", 512, 512),
        ("str", "fast", "fast"),
        ("Optional[int]", 2, 2),
        ("Optional[int]", None, None),
        ("Optional[bool]", True, True),
        ("Collection[str]", ["^conv", "^fc"], ["^conv", "^fc"]),
        ("Optional[List[str]]", [], []),
        ("Optional[List[str]]", None, None),
        ("Collection[Target]", ["aten.relu.default"], {RELU.default}),
        ("Optional[Collection[Target]]", ["torch.ops.aten.relu.default"], {RELU.default}),
        ("Collection[Target]", ["aten.relu", "aten.relu.out"], {RELU.default, RELU.out}),
        ("Collection[Target]", ["aten.add.Tensor", "aten.relu"], {torch.ops.aten.add.Tensor, RELU.default, RELU.out}),
        ("Optional[Collection[Target]]", None, None),
        ("Optional[Union[torch.dtype, dtype]]", "float16", torch.float16),
        ("Optional[dtype]", "bfloat16", torch.bfloat16),
        ("Optional[dtype]", None, None),
        ("Optional[EngineCapability]", None, None),
    ],
)
def test_a_value_becomes_what_the_annotation_asks_for(annotation, value, expected):
    found = converted("compile.x", value, annotation)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("bool", 1, "compile.x=1 is not allowed: use true or false"),
        ("bool", "true", "compile.x=true is not allowed: use true or false"),
        ("bool", None, "compile.x=null is not allowed: use true or false"),
        ("int", True, "compile.x=true is not allowed: use an integer"),
        ("int", 1.5, "compile.x=1.5 is not allowed: use an integer"),
        ("int", "1", "compile.x=1 is not allowed: use an integer"),
        ("float", False, "compile.x=false is not allowed: use a number"),
        ("float", "0.5", "compile.x=0.5 is not allowed: use a number"),
        ("str", 3, "compile.x=3 is not allowed: use a string"),
        ("Optional[int]", "many", "compile.x=many is not allowed: use an integer, or null"),
        ("Optional[int]", 2.0, "compile.x=2.0 is not allowed: use an integer, or null"),
        ("Collection[str]", "conv", "compile.x=conv is not allowed: use a list of strings"),
        ("Collection[str]", [1], "compile.x=[1] is not allowed: use a list of strings"),
        ("Collection[str]", None, "compile.x=null is not allowed: use a list of strings"),
        (
            "Collection[Target]",
            "aten.relu.default",
            "compile.x=aten.relu.default is not allowed: use a list of operators, [aten.relu.default]",
        ),
        (
            "Optional[dtype]",
            "f16",
            "compile.x=f16 is not allowed: use a type of torch, float16 or bfloat16, or null",
        ),
        ("Optional[Union[torch.dtype, dtype]]", "relu", "compile.x=relu is not allowed: use a type of torch"),
        ("Optional[dtype]", 16, "compile.x=16 is not allowed: use a type of torch"),
        (
            "EngineCapability",
            "standard",
            "compile.x is of type EngineCapability, which cannot be written on the command line: leave it out",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(annotation, value, message):
    with pytest.raises(SweepError) as caught:
        converted("compile.x", value, annotation)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "name", ["aten.rleu.default", "aten.relu.defualt", "aten", "aten.relu.overloads", "nn.ReLU", "sin", ""]
)
def test_what_is_no_operator_is_named(name):
    with pytest.raises(SweepError) as caught:
        converted("compile.x", ["aten.relu", name], "Collection[Target]")
    assert str(caught.value) == f"compile.x: {name} is no operator of torch: use names like aten.relu.default"
