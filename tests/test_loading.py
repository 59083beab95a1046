"""Importing Torch-TensorRT, on machines without a GPU too, changes nothing else."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

from trt_sweep.backends.torchtrt import loading
from trt_sweep.errors import SweepError
from trt_sweep.machine import versions

PATCHED = ("get_device_capability", "current_device", "mem_get_info", "get_device_properties")


def patched() -> list[object]:
    return [getattr(torch.cuda, name) for name in PATCHED]


@without_gpu
def test_assumed_gpu_is_gone_afterwards():
    before = patched()
    with pytest.raises(KeyError), loading.assumed_gpu():
        assert torch.cuda.get_device_capability() == loading.ASSUMED_CAPABILITY
        assert torch.cuda.get_device_properties(0).total_memory == loading.ASSUMED_MEMORY
        assert torch.cuda.mem_get_info(0)[1] == loading.ASSUMED_MEMORY
        assert not torch.cuda.is_available()
        raise KeyError
    assert patched() == before


def test_no_gpu_is_assumed_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = patched()
    with loading.assumed_gpu():
        assert patched() == before


@needs_tensorrt
@pytest.mark.parametrize(
    ("there", "fits"),
    [("2.14.0a0+nv26.9", True), ("2.14.1+cu130", True), ("2.15.0.dev9", False), ("nightly", True)],
)
def test_a_torch_before_its_release_counts_as_that(monkeypatch, there, fits):
    monkeypatch.setattr(versions.metadata, "requires", lambda name: ["torch<2.15.0,>=2.14.0"])
    found = versions.version
    monkeypatch.setattr(versions, "version", lambda *names: there if names == ("torch",) else found(*names))
    assert versions.unmet("torch") == ([] if fits else [("torch", "<2.15.0,>=2.14.0", there)])


@needs_tensorrt
def test_load_changes_nothing():
    loading.load.cache_clear()
    watched = patched(), importlib.util.find_spec, torch.cuda.is_available()
    module = loading.load()
    assert module.__name__ == "torch_tensorrt"
    assert callable(module.dynamo.compile)
    assert (patched(), importlib.util.find_spec, torch.cuda.is_available()) == watched
    assert loading.load() is module


@needs_tensorrt
@without_gpu
def test_no_gpu_is_left_behind():
    loading.load()
    assert not torch.cuda.is_available()
    with pytest.raises((RuntimeError, AssertionError)):
        torch.cuda.get_device_properties(0)


def test_a_failed_import_is_one_line_with_a_way_out(monkeypatch):
    def fail(name: str) -> None:
        raise OSError("libnvinfer.so.10:\ncannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", fail)
    message = r"^torch_tensorrt cannot be imported \(OSError: libnvinfer\.so\.10: cannot open .*\): reinstall it"
    with pytest.raises(SweepError, match=message):
        loading.load.__wrapped__()


def test_the_broken_plugin_is_hidden_and_nothing_else(monkeypatch):
    def broken(name: str, package: str | None = None) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", broken)
    with loading._without_broken_plugin():
        assert importlib.util.find_spec("tensorrt.plugin._lib") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.util.find_spec("tensorrt.other")
    assert importlib.util.find_spec is broken


def test_without_torch_tensorrt_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr(versions, "flavor", lambda: None)
    message = r"^backend=dynamo needs Torch-TensorRT, which is not installed: pip install 'trt-sweep\[rtx\]'"
    with pytest.raises(SweepError, match=message):
        loading.require_installed("dynamo")


def test_torch_tensorrt_needs_a_cuda_build_of_torch(monkeypatch):
    monkeypatch.setattr(versions, "flavor", lambda: "rtx")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    loading.require_installed("fx")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(SweepError, match=r"^backend=fx needs a CUDA build of torch, and \S+ is not one: reinstall"):
        loading.require_installed("fx")


@pytest.mark.parametrize(
    ("asks", "why"),
    [
        ("torch<2.0,>=1.9", r"backend=dynamo needs torch<2\.0,>=1\.9, and 2\.\d+\.\d+\S* is installed: pip install"),
        ('torch<2.0; extra == "all"', None),
        ("torch>=2.0", None),
        ("tensorrt_rtx>=99", r"needs tensorrt-rtx>=99, and \S+ is installed"),
    ],
)
def test_a_pair_that_does_not_go_together_is_refused(tmp_path, monkeypatch, asks, why):
    if "tensorrt" in asks and versions.version("tensorrt-rtx") is None:
        pytest.skip("no TensorRT-RTX here")
    about = tmp_path / "torch_tensorrt_rtx-2.99.0.dist-info"
    about.mkdir()
    text = f"Metadata-Version: 2.1\nName: torch-tensorrt-rtx\nVersion: 2.99.0\nRequires-Dist: {asks}\n"
    (about / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert versions.torch_tensorrt_version() == "2.99.0"
    if why is None:
        loading.require_installed("dynamo")
    else:
        with pytest.raises(SweepError, match=why):
            loading.require_installed("dynamo")
