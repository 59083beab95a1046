"""The real Torch-TensorRT partitioner, on models whose partitions are known."""

from __future__ import annotations

import functools

import pytest
import torch
from conftest import needs_tensorrt

from trt_sweep.backends import base
from trt_sweep.backends.torchtrt import loading, partitioner
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.models.factory import build
from trt_sweep.models.model import Inputs, Model
from trt_sweep.models.sources.torchvision import GET_MODEL

pytestmark = [needs_tensorrt, pytest.mark.xdist_group("googlenet")]  # which is exported once


def torchvision(name: str) -> Model:
    factory = {"_target_": GET_MODEL, "name": name}
    model = ModelConfig(name=name, factory=factory, inputs=[InputConfig(shape=[3, 224, 224])])
    return build(
        SweepConfig(model=model, backend="dynamo"),
        torch.device("cpu" if not torch.cuda.is_available() else "cuda"),
    )


def dry_run(program: torch.export.ExportedProgram, model: Model, size: int) -> list[base.GraphDryRun]:
    with partitioner.trackers() as found:
        graph = loading.load().dynamo.compile(program, arg_inputs=model.inputs.args, min_block_size=size, dryrun=True)
    return [(found[0] if found else None, graph)]


class Planned:
    """An exported model, and its plan at each size."""

    def __init__(self, model: Model) -> None:
        self.model, self.program = model, torch.export.export(model.module, model.inputs.args)
        self._finest: list[int] | None = None
        self.once = functools.cache(self.plan)

    def dry_run(self, size: int) -> list[base.GraphDryRun]:
        return dry_run(self.program, self.model, size)

    def plan(self, size: int = 5):
        return partitioner.plan(self.dry_run, size, self._keep)

    def _keep(self, _: str, make):
        self._finest = self._finest or make()
        return self._finest


@pytest.fixture(scope="module")
def googlenet():
    return Planned(torchvision("googlenet"))


@pytest.mark.parametrize(("size", "engines"), [(1, 11), (5, 10), (22, 6), (45, 3), (300, 0)])
def test_googlenet(googlenet, size, engines, capfd):
    found, details = googlenet.once(size)
    assert found.engines == engines == len(found.engine_ops)
    # Torch-TensorRT 2.14 counts 253 operators, 2.11 one more; 13 poolings with ceil_mode have no converter.
    assert found.ops_total - found.ops_supported == 13 and found.ops_total in (253, 254)
    # The advice does not depend on the size that was asked for, as the library's own does.
    assert (found.advised_min_block_size, found.advised_min_block_size_moderate) == (45, 22)
    assert sum(found.engine_ops) + found.fallback_ops <= found.ops_total + 13
    assert len(details["engine_ops_at_min_block_size_1"]) == 11
    pools = [item for item in details["fallback"] if "max_pool2d" in item["op"]]
    assert pools and {item["module"] for item in pools} >= {"maxpool1", "inception3a.branch4.0"}
    assert sum(details["unsupported_ops"].values()) == 13
    assert capfd.readouterr().out == ""


class Complex(torch.nn.Module):
    """Has a complex output, which the library computes in real numbers and puts together behind the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halves = torch.view_as_complex(self.linear(x).relu().reshape(-1, 4, 2))
        return halves * halves


def small(module: type[torch.nn.Module]) -> Model:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = module().eval().requires_grad_(False).to(device)
    return Model(made, Inputs((torch.randn(2, 8, device=device),), {}))


@pytest.mark.parametrize("name", ["googlenet", "complex"])
def test_a_graph_lowered_once_is_partitioned_as_one_lowered_for_each_size(googlenet, name):
    of = googlenet if name == "googlenet" else Planned(small(Complex))
    lowered = partitioner.Lowered(lambda: of.dry_run(1))
    for size in (5, 300, 1, 5):  # the last as the first: nothing was taken off the graph
        ((tracker, graph),), (direct, details) = lowered.dry_run(size), of.once(size)
        assert partitioner.identity([graph]) == direct.partition_id
        assert partitioner.engine_ops([(tracker, graph)]) == direct.engine_ops
        assert partitioner._fallback(graph) == details["fallback"]


def test_a_library_that_partitions_elsewhere_is_told():
    with pytest.raises(RuntimeError, match="partitions elsewhere"):
        partitioner.Lowered(lambda: None)


def test_identity_tells_partitions_apart_and_holds_still(googlenet):
    finest, usual, again = (plan.partition_id for plan, _ in (googlenet.once(1), googlenet.once(5), googlenet.plan(5)))
    assert finest != usual == again


def test_precision_is_part_of_the_identity():
    ids = []
    for dtype in (torch.float32, torch.float16):
        found, _ = Planned(torchvision("squeezenet1_1").to(dtype)).plan(16)
        assert found.engines == 1
        ids.append(found.partition_id)
    assert ids[0] != ids[1]


def test_a_graph_without_a_single_operator_to_convert():
    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.pinv(x)

    found, details = Planned(Model(Same().eval(), Inputs((torch.randn(4, 4),), {}))).plan()
    assert (found.engines, found.ops_supported, found.advised_min_block_size) == (0, 0, None)
    assert [item["op"] for item in details["fallback"]] != []


def test_planning_leaves_torch_as_it_was():
    before = torch.cuda.get_device_capability, torch.cuda.current_device
    loading.load()
    assert Planned(small(Complex)).plan(1)[0].engines == 1
    assert (torch.cuda.get_device_capability, torch.cuda.current_device) == before
