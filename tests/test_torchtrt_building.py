"""What is asked of the installed Torch-TensorRT's objects, on machines without a GPU too."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

from trt_sweep.backends.base import BuildContext
from trt_sweep.backends.torchtrt import building, installed, loading
from trt_sweep.backends.torchtrt.runtime import binding_of, engine_modules, runtime_of
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.machine import versions
from trt_sweep.models.model import Inputs


def config(backend: str = "dynamo", **values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return SweepConfig(model=model, backend=backend, **values)


def holding(*engines: object) -> torch.nn.Sequential:
    module = torch.nn.Sequential(*(torch.nn.Identity() for _ in engines))
    for child, engine in zip(module, engines, strict=True):
        child.serialized_engine = engine
    return module


def test_without_torch_tensorrt_there_are_no_defaults(monkeypatch):
    monkeypatch.setattr(versions, "flavor", lambda: None)
    with pytest.raises(SweepError, match=r"^backend=torchscript needs Torch-TensorRT, which is not installed"):
        building.effective(config("torchscript"), "torchscript")


@needs_tensorrt
@without_gpu
def test_no_builder_is_asked_without_a_gpu():
    assert building.default_optimization_level() is None


@needs_tensorrt
@pytest.mark.parametrize(("frontend", "size"), [("dynamo", 5), ("torch_compile", 5), ("torchscript", 3)])
def test_defaults_of_the_installed_package(monkeypatch, frontend, size):
    monkeypatch.setattr(building, "default_optimization_level", lambda: 3)
    found = building.effective(config(frontend), frontend)
    has_runtimes = frontend != "torchscript"
    assert found.min_block_size == size
    assert found.runtime == (installed.torch_tensorrt().runtimes[0] if has_runtimes else None)
    assert found.optimization_level == (3 if has_runtimes else None)
    assert found.profiling_verbosity == ("layer_names_only" if has_runtimes else None)
    given = config(frontend, min_block_size=7, runtime="cpp", optimization_level=0, profiling_verbosity="none")
    assert building.effective(given, frontend) == given


@needs_tensorrt
@pytest.mark.parametrize("frontend", ["dynamo", "torch_compile"])
def test_caches_are_the_points_own_and_begin_empty(tmp_path: Path, frontend):
    old = tmp_path / "timing_cache.bin"
    old.touch()
    device = torch.device("cuda", 1)
    settings = BuildContext(config(), device, tmp_path, lambda _: None, lambda _: None, contextlib.ExitStack())
    found = building.further_arguments(settings, frontend)
    assert found.pop("device") == device
    assert found["timing_cache_path"] == str(old)
    assert not old.exists()
    assert found.keys() == set(installed.torch_tensorrt().cache_paths(frontend))
    assert {Path(path).parent for path in found.values()} == {tmp_path}


def test_engines_of_a_module_without_any():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert building.serialized([module]) == engine_modules([module]) == building.serialized([]) == []
    assert runtime_of([module]) is None
    assert building.describe([]) == {"engine_bytes": 0, "engine_id": None}


def test_engines_in_the_order_of_the_submodules():
    module, other = holding(b"one", None, bytearray(b"two")), holding(b"three")
    assert engine_modules([module, other]) == [module[0], module[2], other[0]]
    assert building.serialized([module]) == [b"one", b"two"]
    assert building.serialized([other, module]) == [b"three", b"one", b"two"]


def test_the_name_of_engines_depends_on_each_and_on_their_order():
    digests = b"".join(hashlib.sha256(engine).digest() for engine in (b"one", b"two"))
    expected = {"engine_bytes": 6, "engine_id": hashlib.sha256(digests).hexdigest()[:16]}
    assert building.describe([b"one", b"two"]) == expected
    ids = [building.describe(engines)["engine_id"] for engines in ([b"two", b"one"], [b"onetwo"], [b"one", b"twx"])]
    assert len({expected["engine_id"], *ids}) == 4


@pytest.mark.parametrize(
    ("module", "engine", "runtime"),
    [
        ("PythonTorchTensorRTModule", "ICudaEngine", "python"),
        ("TorchTensorRTModule", "ScriptObject", "cpp"),
        ("TorchTensorRTModule", "TRTEngine", "python"),
    ],
)
def test_the_runtime_is_told_by_the_module_or_by_its_engine(module, engine, runtime):
    holder = type(module, (torch.nn.Module,), {})()
    holder.engine, holder.serialized_engine = type(engine, (), {})(), b"engine"
    assert runtime_of([torch.nn.Sequential(torch.nn.Identity(), holder)]) == runtime


@needs_tensorrt
@pytest.mark.parametrize("rest", ["_run_on_acc_1", "_run_on_gpu_1"])
def test_engines_behind_a_function_are_captured_one_by_one(tmp_path, rest):
    """As torch.compile hands them out, by the library's own switch."""
    torch_tensorrt = loading.load()
    graph = torch.nn.Module()
    graph.add_module("_run_on_acc_0", torch.nn.Identity())
    graph.add_module(rest, torch.nn.Identity())
    seen = []

    def called(x: torch.Tensor) -> torch.Tensor:
        seen.append(torch_tensorrt.runtime.get_cudagraphs_mode())
        if len(x) > 1:
            raise RuntimeError("out of memory")
        return x

    settings = config(cuda_graphs=True)
    context = BuildContext(
        settings, torch.device("cpu"), tmp_path, lambda _: None, lambda _: None, contextlib.ExitStack()
    )
    bind, running, method = binding_of([graph], called, 1, context)
    call = bind(Inputs((torch.ones(1, 3),), {}))
    with pytest.raises(RuntimeError), running():
        bind(Inputs((torch.ones(2, 3),), {}))()
    assert seen.pop() and not torch_tensorrt.runtime.get_cudagraphs_mode()
    with running():  # a point of the same build goes on after one that failed
        call()
    native = installed.torch_tensorrt().runtime_settings
    assert method == ("rtx" if native else "torch_tensorrt_engine")
    assert seen == [True] and not torch_tensorrt.runtime.get_cudagraphs_mode()
