"""Show that the harness leaves a module's partition alone: ours is set beside the library's own dry run."""

from __future__ import annotations

import functools

import pytest
import torch
from conftest import build_group, needs_tensorrt, without_gpu
from hydra.utils import get_class
from test_partition import dry_run as partitioner_dry_run
from test_points_run import FAST
from torch import nn

from trt_sweep.backends.torchtrt import partitioner
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.models import factory
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.model import Model
from trt_sweep.points.plan import effective
from trt_sweep.points.point import Point

HERE = __name__


class Bag(nn.Module):
    def __init__(self, mode: str = "sum") -> None:
        super().__init__()
        self.bag, self.top = nn.EmbeddingBag(50, 8, mode=mode), nn.Linear(8, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.top(self.bag(ids)).relu()


class Rotated(nn.Module):
    """A complex table as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.polar(torch.ones(4), torch.arange(4.0)))
        self.q = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.view_as_complex(self.q(x).reshape(*x.shape[:-1], 4, 2))
        return torch.view_as_real(z * self.table).flatten(-2)


class Residual(nn.Module):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.body(x)).mean((2, 3))


class HeadInFp32(nn.Module):
    """In half but for its head, as transformers keeps some modules in FP32."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU()).half(), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).to(self.head.weight.dtype))


class Half(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU())
        self.half()


IDS = InputConfig(shape=[5], dtype="int64", low=0, high=50)
ROWS, IMAGE = InputConfig(shape=[6, 8]), InputConfig(shape=[8, 16, 16])
MODELS = {
    "bag sum": (f"{HERE}.Bag", {"mode": "sum"}, IDS),
    "bag mean": (f"{HERE}.Bag", {"mode": "mean"}, IDS),
    "rotated": (f"{HERE}.Rotated", {}, ROWS),
    "residual": (f"{HERE}.Residual", {}, IMAGE),
    "linear": ("torch.nn.Linear", {"in_features": 8, "out_features": 4}, ROWS),
    "layer norm": ("torch.nn.LayerNorm", {"normalized_shape": 8}, ROWS),
    "encoder": ("torch.nn.TransformerEncoderLayer", {"d_model": 8, "nhead": 2, "batch_first": True}, ROWS),
    "embedding": ("torch.nn.Embedding", {"num_embeddings": 50, "embedding_dim": 8}, IDS),
    "transposed": ("torch.nn.ConvTranspose2d", {"in_channels": 8, "out_channels": 4, "kernel_size": 2}, IMAGE),
    "group norm": ("torch.nn.GroupNorm", {"num_groups": 2, "num_channels": 8}, IMAGE),
    "half": (f"{HERE}.Half", {}, ROWS),
    "mixed": (f"{HERE}.HeadInFp32", {}, ROWS),
}
HALF = ("half", "mixed")


def config(name: str) -> SweepConfig:
    target, arguments, inputs = MODELS[name]
    model = ModelConfig(name=name, factory={"_target_": target, **arguments}, inputs=[inputs])
    precision = "fp16" if name in HALF else "fp32"
    return SweepConfig(
        model=model, backend="dynamo", precision=precision, batch_size=2, dryrun=True, min_block_size=1, measure=FAST
    )


def untouched(spec: SweepConfig) -> tuple[int | None, int | None, int | None]:
    """Return all and supported operators, and engines, that the library's dry run tells of a module as it comes."""
    target, arguments, _ = MODELS[spec.model.name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = get_class(target)(**arguments).eval()
    inputs = factory.build(spec, torch.device("cpu"), ProcessCache()).inputs
    with torch.no_grad():
        program = torch.export.export(module, inputs.args)
        dry_run = functools.partial(partitioner_dry_run, program, Model(module, inputs))
        found, _ = partitioner.plan(dry_run, 1, lambda what, make: make())
    return found.ops_total, found.ops_supported, found.engines


@needs_tensorrt
@without_gpu
@pytest.mark.parametrize("name", MODELS)
def test_the_partition_is_that_of_the_module_as_it_comes(name, tmp_path):
    (point,) = effective(config(name))
    with build_group([Point(point, [0])], tmp_path) as group:
        record = group.runs[0].start()
    assert record.status == "dryrun", record.reason
    found = record.ops_total, record.ops_supported, record.engines
    assert found == untouched(point) and record.ops_total
