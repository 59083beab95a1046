"""What a build and its calls are charged with; the GPU's own part is in test_gpu.py."""

from __future__ import annotations

import pytest
import torch
from conftest import build_group
from test_points_run import eager
from torch.testing._internal.two_tensor import TwoTensor

from trt_sweep.measure import memory
from trt_sweep.points.point import Point

CPU = torch.device("cpu")


class Tied(torch.nn.Module):
    """Two linear layers with the same weights, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Linear(8, 8, bias=False)
        self.two = torch.nn.Linear(8, 8, bias=False)
        self.two.weight = self.one.weight
        self.register_buffer("shift", torch.ones(8, dtype=torch.float16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x)) + self.shift


def test_weights_that_are_shared_count_once():
    assert memory.weight_bytes(Tied(), CPU) == 8 * 8 * 4 + 8 * 2
    assert memory.weight_bytes(Tied(), torch.device("cuda", 0)) == 0  # what lies elsewhere is none of the GPU's
    assert memory.weight_bytes(None, CPU) == 0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_constants_of_a_frozen_module():
    frozen = torch.jit.freeze(torch.jit.trace(torch.nn.Linear(64, 32, bias=False).eval(), torch.zeros(1, 64)))
    assert not list(frozen.parameters()) and memory.weight_bytes(frozen, CPU) == 64 * 32 * 4


def test_a_tensor_that_is_made_of_others():
    module = torch.nn.Module()
    module.register_buffer("pair", TwoTensor(torch.zeros(4), torch.zeros(4)))
    assert memory.weight_bytes(module, CPU) == 2 * 4 * 4


def test_null_on_a_cpu(tmp_path):
    with build_group([Point(eager())], tmp_path) as run:
        record = run.runs[0].start()
    assert record.status == "ok" and record.peak_gpu_bytes is None
