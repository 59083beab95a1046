"""What holds for every backend, and what single ones refuse."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt

from trt_sweep import backends
from trt_sweep.backends import base
from trt_sweep.backends.paths import onnx
from trt_sweep.backends.tensorrt import network
from trt_sweep.config.compose import CONF
from trt_sweep.config.groups import TorchScriptConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points.plan import effective
from trt_sweep.points.prepared import PreparedModel


def config(backend: str, **values) -> SweepConfig:
    factory = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}
    model = ModelConfig(name="m", factory=factory, inputs=[InputConfig(shape=[3])])
    return SweepConfig(model=model, backend=backend, device="cpu", **values)


def test_each_has_its_choice_on_the_command_line():
    assert backends.names() == sorted(file.stem for file in (CONF / "backend").glob("*.yaml"))


@pytest.mark.parametrize("name", backends.names())
def test_each_says_what_it_is(name):
    backend = backends.get(name)
    assert isinstance(backend.TENSORRT, bool) and isinstance(backend.DYNAMIC, bool)
    assert hasattr(backend, "plan") == backend.TENSORRT


def test_an_unused_axis_is_unset():
    values = {"min_block_size": 7, "runtime": "cpp", "compile": {"x": 1}, "torchscript": TorchScriptConfig("script")}
    (eager,) = effective(config("eager", **values))
    assert eager == effective(config("eager"))[0]
    (jit,) = effective(config("jit", **values))
    assert jit.torchscript.mode == "script" and jit.min_block_size is None and jit.compile == {}


def test_a_range_becomes_sizes_of_one_build_or_points_of_their_own():
    values = {"batch_size": [1, 4, 8], "time_at": [2, 8]}
    built = effective(config("inductor", **values))
    assert [found.time_at for found in built] == [[2], [8]]
    assert len({found.build_id for found in built}) == 1 and len({found.point_id for found in built}) == 2
    fixed = effective(config("eager", **values))
    assert [(found.batch_size, found.time_at) for found in fixed] == [(2, None), (8, None)]
    assert [found.model_id for found in fixed] == [found.model_id for found in built]
    assert [found.time_at for found in effective(config("inductor", batch_size=[1, 4, 8]))] == [[1], [4], [8]]


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find_spec(name))
    with pytest.raises(SweepError, match=rf"backend=onnx needs {package}\b.*trt-sweep\[onnx\]"):
        effective(config("onnx"))


@needs_tensorrt
@pytest.mark.parametrize("name", ["dynamo", "torch_compile", "onnx", "torchscript"])
def test_what_another_point_has_built_is_not_built_again(name, tmp_path: Path):
    (point,) = effective(config(name, min_block_size=1))
    device, asked, other = torch.device("cpu"), list[base.Compiled](), base.Compiled(lambda inputs: lambda: None)

    def reuse(planned: base.Compiled) -> base.Compiled:
        asked.append(planned)
        return other

    model = PreparedModel(point, device, ProcessCache()).model()
    with contextlib.ExitStack() as stack, torch.no_grad():
        told = (lambda _: None, lambda _: None)
        context = base.BuildContext(point, device, tmp_path, *told, stack, reuse=reuse)
        assert backends.get(name).compile(model, context) is other
    assert len(asked) == 1


@needs_tensorrt
def test_the_parser_says_what_it_does_not_take(tmp_path: Path):
    class Determinant(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.det(x)

    file = tmp_path / "det.onnx"
    exported = torch.onnx.export(Determinant().eval(), (torch.randn(2, 3, 3),), dynamo=True, verbose=False)
    exported.save(str(file))
    with pytest.raises(Unsupported, match=r"ONNX parser does not take this model: .*Det"):
        network.Network(file, {})


@needs_tensorrt
def test_a_network_builds_the_same_engine_twice(tmp_path: Path):
    file = tmp_path / "linear.onnx"
    torch.onnx.export(torch.nn.Linear(3, 2).eval(), (torch.randn(4, 3),), dynamo=True, verbose=False).save(str(file))
    one, two = (network.Network(file, {}).build(None, tf32=False) for _ in range(2))
    assert one and one == two


def test_nodes_of_onnx_belong_to_the_module_whose_weight_they_have():
    """The exporter folds normalizations into the nodes before them, and makes equal weights one."""
    spread = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2), torch.nn.BatchNorm1d(2)
    for normalization in spread:
        normalization.running_mean.uniform_()  # otherwise there is nothing to fold
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 2, 3), spread[0], torch.nn.ConvTranspose2d(2, 2, 3), spread[1], torch.nn.Flatten()),
        *(torch.nn.Linear(32, 2), spread[2], torch.nn.LayerNorm(2), torch.nn.ReLU(), torch.nn.LayerNorm(2)),
    )
    program = torch.export.export(net.eval(), (torch.randn(2, 1, 4, 4),))
    graph = torch.onnx.export(program, dynamo=True, verbose=False).model.graph
    assert [node.op_type for node in graph if node.op_type == "BatchNormalization"] == []
    assert list(onnx._modules(graph).values()) == ["0", "2", "4", "5", "7", "8", "9"]
