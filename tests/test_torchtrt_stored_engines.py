"""What the engine of a part of the graph depends on, with the real partitioner's parts."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

from trt_sweep.backends.base import BuildContext
from trt_sweep.backends.engine_store import Store, digest
from trt_sweep.backends.tensorrt import timing_cache
from trt_sweep.backends.torchtrt import installed, loading, partitioner, stored_engines
from trt_sweep.backends.torchtrt.arguments import compile_arguments
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import versions
from trt_sweep.models import tracing
from trt_sweep.models.model import Inputs, Model

pytestmark = [needs_tensorrt, without_gpu]
DTYPES = (torch.float32, torch.float16)


class Net(torch.nn.Module):
    def __init__(self, seed: int = 0, stride: int = 1, wide: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.stride = torch.nn.Conv2d(3, 4, 3, stride=stride), stride
        self.out = torch.nn.Linear(4, 8 if wide else 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.conv(x)).mean((2, 3)) * 0.5)


def part(size: int = 8, dtype: torch.dtype = torch.float32, **how) -> torch.fx.GraphModule:
    """What Torch-TensorRT makes one engine of."""
    net = Net(**how).eval().to(dtype)
    model = Model(net, Inputs((torch.randn(1, 3, size, size, dtype=dtype),), {}))
    program = tracing.export(model)
    with partitioner.trackers():
        graph = loading.load().dynamo.compile(program, arg_inputs=model.inputs.args, min_block_size=1, dryrun=True)
    (found,) = (child for name, child in graph.named_children() if "_run_on_acc" in name)
    return found


def test_what_is_another_engine_is_described_otherwise():
    base = stored_engines._graph(part())
    assert stored_engines._graph(part()) == base and json.loads(json.dumps(base)) == base
    others = [{"seed": 1}, {"stride": 2}, {"wide": True}, {"size": 9}, {"dtype": torch.float16}]
    for how in others:
        assert stored_engines._graph(part(**how)) != base, how


def test_another_process_describes_it_alike():
    code = "from test_torchtrt_stored_engines import *; print(digest(stored_engines._graph(part())))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == digest(stored_engines._graph(part()))


def settings(tmp_path: Path, **values) -> BuildContext:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    config = SweepConfig(model=model, backend="dynamo", **values)
    found = BuildContext(config, torch.device("cpu"), tmp_path, lambda _: None, lambda _: None, mock.Mock())
    return dataclasses.replace(found, store=Store(tmp_path))


def test_engines_come_from_the_store(tmp_path, monkeypatch):
    """In the place where Torch-TensorRT builds one, whose build needs a GPU here: its result is stood in for."""
    loading.load()
    import torch_tensorrt.dynamo.conversion._conversion as library
    from torch_tensorrt.dynamo._settings import CompilationSettings

    module, built = part(), []
    fields = dict.fromkeys(library.SerializedInterpreterResult._fields, False)

    def build(module, inputs, compilation, engine_cache=None):
        built.append(compilation)
        shapes = library.extract_symbolic_shape_expressions(module)  # holds types of torch
        own = {"serialized_engine": b"engine", "input_names": ["x"], "symbolic_shape_expressions": shapes}
        return library.SerializedInterpreterResult(**fields | own)

    monkeypatch.setattr(library, "interpret_module_to_result", build)

    def compiled(cache_id: str | None = None, values: dict | None = None, **compilation):
        with loading.assumed_gpu(), stored_engines.building(settings(tmp_path, **(values or {})), cache_id) as tally:
            found = library.interpret_module_to_result(
                module, ["Input(shape=(1, 3))"], CompilationSettings(**compilation), engine_cache=None
            )
        return found, tally.stored

    first, stored = compiled()
    assert stored == 0 and compiled() == (first, 1) and len(built) == 1
    assert first.symbolic_shape_expressions["outputs"][0]["dtype"] is torch.float32
    assert library.interpret_module_to_result is build
    # Where it comes from does not change an engine; nor does a level that RTX ignores.
    assert compiled(timing_cache_path="/elsewhere", min_block_size=7)[1] == 1
    levels = [{"optimization_level": level} for level in (0, 5)]
    assert [compiled(values=level, **level)[1] for level in levels] == [0, int(versions.flavor() == "rtx")]
    for other in ({"disable_tf32": True}, {"workspace_size": 1 << 20}, {"sparse_weights": True}):
        assert compiled(**other)[1] == 0, other
    assert compiled(cache_id="abc")[1] == 0


def test_converters_of_ones_own_count(monkeypatch):
    loading.load()
    import torch_tensorrt.dynamo.conversion._ConverterRegistry as registry

    assert stored_engines._converters() == {}
    support = registry.ConverterSupport(test_converters_of_ones_own_count)
    monkeypatch.setitem(registry.DYNAMO_ATEN_CONVERTERS, torch.ops.aten.relu.default, [support])
    assert list(stored_engines._converters()) == [f"{__name__}.test_converters_of_ones_own_count"]


@pytest.mark.parametrize("flavor", ["rtx", "standard"])
def test_the_timing_cache_of_either_flavour(monkeypatch, tmp_path, flavor):
    monkeypatch.setattr(versions, "flavor", lambda: flavor)
    snapshot = tmp_path / "kept.cache"
    snapshot.write_bytes(b"times")
    given = [settings(tmp_path, cache=name).config for name in (None, "cold", "warm")]
    given.append(settings(tmp_path, cache="frozen", cache_snapshot=str(snapshot)).config)
    found = [timing_cache.effective(config) for config in given]
    expected = ["cold", "cold", "warm", "frozen"] if flavor == "standard" else [None, None, "warm", "frozen"]
    assert [config.cache for config in found] == expected
    for config in found:
        if flavor == "rtx" and config.cache is not None:
            with pytest.raises(Exception, match=f"^cache={config.cache}: TensorRT-RTX has no timing cache"):
                compile_arguments(installed.torch_tensorrt(), config, "dynamo")
        else:
            timing_cache.require(config)


def test_a_frozen_timing_cache_is_a_copy(tmp_path):
    snapshot = tmp_path / "kept.cache"
    snapshot.write_bytes(b"times")
    frozen = settings(tmp_path, cache="frozen", cache_snapshot=str(snapshot)).config
    own = timing_cache.prepare(frozen, tmp_path)
    begun = timing_cache.content_id(own)
    own.write_bytes(b"more times")
    assert snapshot.read_bytes() == b"times" and begun is not None and timing_cache.content_id(own) != begun
    assert timing_cache.content_id(timing_cache.prepare(frozen, tmp_path)) == begun
    cold = settings(tmp_path, cache="cold").config
    assert timing_cache.content_id(timing_cache.prepare(cold, tmp_path)) is None


@pytest.mark.parametrize("name", ["none", "layer_names_only", "detailed"])
def test_the_builder_is_told_what_engines_are_to_tell(name):
    loading.load()
    from torch_tensorrt.dynamo._settings import CompilationSettings
    from torch_tensorrt.dynamo.conversion._TRTInterpreter import TRTInterpreter

    with loading.assumed_gpu():
        interpreter = TRTInterpreter(part(), [], compilation_settings=CompilationSettings())
        with stored_engines._telling(name):
            told = interpreter._populate_trt_builder_config().profiling_verbosity
        assert told.name == name.upper()
        default = interpreter._populate_trt_builder_config().profiling_verbosity
    assert default.name == "LAYER_NAMES_ONLY"  # what a point that asks for nothing is said to have


def test_an_engine_that_tells_otherwise_is_another_one(tmp_path):
    keys = set()
    for name in ("none", "layer_names_only", "detailed"):
        config = settings(tmp_path, profiling_verbosity=name).config
        keys.add(config.point_id)
    assert len(keys) == 3
