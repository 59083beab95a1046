"""What is asked of the installed Torch-TensorRT, on machines without a GPU too."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

from trt_sweep import gpu, torchtrt
from trt_sweep.config import InputConfig, ModelConfig, SweepConfig
from trt_sweep.errors import Unsupported

PATCHED = ("get_device_capability", "current_device", "mem_get_info", "get_device_properties")


def config(**values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return SweepConfig(model=model, backend="dynamo", **values)


@without_gpu
def test_assumed_gpu_is_gone_afterwards():
    before = [getattr(torch.cuda, name) for name in PATCHED]
    with pytest.raises(KeyError), torchtrt.assumed_gpu():
        assert torch.cuda.get_device_capability() == torchtrt.ASSUMED_CAPABILITY
        assert torch.cuda.get_device_properties(0).total_memory == torchtrt.ASSUMED_MEMORY
        assert torch.cuda.mem_get_info(0)[1] == torchtrt.ASSUMED_MEMORY
        assert not torch.cuda.is_available()
        raise KeyError
    assert [getattr(torch.cuda, name) for name in PATCHED] == before


@needs_tensorrt
def test_load_changes_nothing():
    torchtrt.load.cache_clear()
    watched = (
        [getattr(torch.cuda, name) for name in PATCHED],
        importlib.util.find_spec,
        torch.cuda.is_available(),
    )
    module = torchtrt.load()
    assert module.__name__ == "torch_tensorrt"
    assert callable(module.dynamo.compile)
    now = [getattr(torch.cuda, name) for name in PATCHED], importlib.util.find_spec, torch.cuda.is_available()
    assert now == watched
    assert torchtrt.load() is module


@needs_tensorrt
@without_gpu
def test_no_gpu_is_left_behind():
    torchtrt.load()
    assert not torch.cuda.is_available()
    with pytest.raises((RuntimeError, AssertionError)):
        torch.cuda.get_device_properties(0)
    assert torchtrt.default_optimization_level() is None


@needs_tensorrt
def test_defaults():
    assert torchtrt.default_of("min_block_size") == 5
    with pytest.raises(KeyError):
        torchtrt.default_of("no_such_argument")


@needs_tensorrt
@pytest.mark.parametrize(("precision", "disabled"), [("fp32", True), ("tf32", False), ("fp16", True), ("bf16", True)])
def test_arguments_of_a_precision(precision, disabled):
    passed, ignored = torchtrt.arguments(config(precision=precision))
    assert passed == {"disable_tf32": disabled, "cache_built_engines": False, "reuse_cached_engines": False}
    always_tf32 = (gpu.version("tensorrt-rtx") or "").startswith("1.4.")
    assert ignored == (["disable_tf32"] if precision == "fp32" and always_tf32 else [])


@needs_tensorrt
def test_arguments_of_the_axes():
    passed, ignored = torchtrt.arguments(config(precision="fp16", min_block_size=7, optimization_level=0))
    assert (passed["min_block_size"], passed["optimization_level"]) == (7, 0)
    assert ignored == (["optimization_level"] if torchtrt.is_rtx() else [])


@needs_tensorrt
def test_runtimes():
    have = torchtrt.runtimes()
    assert set(have) <= {"cpp", "python"}
    for runtime in ("cpp", "python"):
        if runtime in have:
            passed, _ = torchtrt.arguments(config(runtime=runtime))
            assert ("use_python_runtime" in passed) == (len(have) > 1)
            assert passed.get("use_python_runtime", runtime == "python") is (runtime == "python")
        else:
            with pytest.raises(Unsupported, match=rf"^runtime={runtime}: torch_tensorrt .* its {have[0]} runtime only"):
                torchtrt.arguments(config(runtime=runtime))


@needs_tensorrt
def test_cache_paths_are_arguments():
    paths = torchtrt.cache_paths()
    assert "timing_cache_path" in paths
    assert all(isinstance(torchtrt.default_of(name), str) for name in paths)


def test_engines_of_a_module_without_any():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert torchtrt.engines(module) == []
    assert torchtrt.runtime_of(module) is None


def test_engines_in_the_order_of_the_submodules():
    module = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(3)))
    module[0].serialized_engine = b"one"
    module[1].serialized_engine = None
    module[2].serialized_engine = bytearray(b"two")
    assert torchtrt.engines(module) == [b"one", b"two"]
