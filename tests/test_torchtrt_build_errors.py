"""When a failure is the library's refusal, and in whose words."""

from __future__ import annotations

import logging

import pytest
import torch
from conftest import needs_tensorrt

from trt_sweep.backends.torchtrt import build_errors
from trt_sweep.errors import Refused, Unsupported

pytestmark = needs_tensorrt
LOGGER = logging.getLogger("torch_tensorrt [TensorRT Conversion Context]")


def test_a_converters_words():
    error = ValueError("only INT8 or FP8, got num_bits=4\nWhile executing %quantize_op")
    said = r"^x: torch-tensorrt.* refuses it: only INT8 or FP8, got num_bits=4$"
    with pytest.raises(Refused, match=said), build_errors.explained("x"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("TensorRT build_serialized_network returned None"), AssertionError()])
def test_the_builders_words_are_in_its_log(error):
    with pytest.raises(Unsupported, match=r"refuses it: no INT8 here$") as caught, build_errors.explained("x"):
        LOGGER.error("no %s here", "INT8")
        raise error
    assert type(caught.value) is Unsupported  # another batch size may be built
    assert not LOGGER.handlers


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a mistake of ours"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("build_serialized_network returned None: std::bad_alloc"),
    ],
)
def test_other_failures_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, build_errors.explained("x"):
        raise error
    assert caught.value is error
