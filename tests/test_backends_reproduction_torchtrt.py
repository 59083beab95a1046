"""Check that the code to paste for Torch-TensorRT fits the installed version, and what the build was given."""

from __future__ import annotations

import json

import pytest
from conftest import needs_tensorrt
from test_backends_reproduction import TINY, point

from trt_sweep.backends import reproduction

GOOGLENET = TINY | {"factory": {"_target_": "torchvision.models.get_model", "name": "googlenet"}, "seed": 0}
USUAL = {
    "backend": "dynamo", "precision": "fp16", "device": "cuda:0", "min_block_size": 5, "default_min_block_size": 5,
    "torch_tensorrt": "2.14.0", "tensorrt_flavor": "rtx", "runtime": "cpp", "ignored_axes": ["optimization_level"],
    "optimization_level": 5,
}  # fmt: skip


@needs_tensorrt
def test_the_usual_case_is_eight_lines(tmp_path):
    row, folder = point(tmp_path, {"model": GOOGLENET}, **USUAL, cuda_graphs=True, cuda_graphs_method="rtx")
    source = reproduction.source(row, folder)
    lines = [line for line in source.splitlines() if line]
    assert len(lines) == 8 and lines[1] == "import torch, torch_tensorrt, torchvision.models"
    assert lines[-3:] == [
        "compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=args)",  # nothing that is a default or ignored
        "with torch.cuda.stream(torch.cuda.Stream()), torch_tensorrt.runtime.enable_cudagraphs("
        "compiled, cuda_graph_strategy='whole_graph_capture') as replayed:",
        "    output = replayed(*args)",
    ]


@pytest.mark.parametrize("version", ["2.12.0", "2.14.0"])
def test_the_code_is_for_the_version_that_is_installed(tmp_path, monkeypatch, version):
    strategy = {"dynamic_shapes_kernel_specialization_strategy": "eager"}
    row, folder = point(tmp_path, {"model": TINY}, **USUAL | strategy | {"runtime": "python"})
    monkeypatch.setattr(reproduction.versions, "torch_tensorrt_version", lambda: version)
    source = reproduction.source(row, folder)
    compile(source, "pasted", "exec")
    old = version.startswith("2.12")
    how = "dynamic_shapes_kernel_specialization_strategy='eager'"
    assert (f", use_python_runtime=True, {how})\n" in source) == old
    assert (f"torch_tensorrt.runtime.runtime_config(compiled, {how}):" in source) != old
    assert ("# and written for torch_tensorrt 2.12.0, which is installed here" in source) == old


@pytest.mark.parametrize("method", ["rtx", "torch_tensorrt_engine", "torch_tensorrt_module"])
@pytest.mark.parametrize("backend", ["dynamo", "torch_compile"])
@pytest.mark.parametrize("version", ["2.12.0", "2.14.0"])
def test_cuda_graphs_are_those_of_the_version_that_is_installed(tmp_path, monkeypatch, version, backend, method):
    values = {"backend": backend, "cuda_graphs": True, "cuda_graphs_method": method}
    row, folder = point(tmp_path, {"model": TINY}, **USUAL | values)
    monkeypatch.setattr(reproduction.versions, "torch_tensorrt_version", lambda: version)
    source = reproduction.source(row, folder)
    compile(source, "pasted", "exec")
    native = version == "2.14.0" and backend == "dynamo" and method != "torch_tensorrt_module"
    assert ("(compiled, cuda_graph_strategy='whole_graph_capture') as replayed" in source) == native
    assert ("enable_cudagraphs(compiled) as replayed" in source) != native


def test_tf32_is_switched_where_pytorch_runs_operators(tmp_path):
    for operators, switched in (([9], False), ([8], True), ([], True)):
        values = {"precision": "fp32", "engine_ops": operators, "ops_total": 9}
        row, folder = point(tmp_path, {"model": TINY}, **USUAL | values)
        source = reproduction.source(row, folder)
        assert ("allow_tf32 = False" in source) == switched and "disable_tf32=True" in source


def test_what_the_build_was_given_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction.versions, "flavor", lambda: None)  # so that the record's version counts
    row, folder = point(
        tmp_path, {"model": TINY}, backend="dynamo", min_block_size=5, optimization_level=None, device="cuda:0",
        torch_tensorrt="2.11.0", runtime="python", cuda_graphs=True,
    )  # fmt: skip
    saved = {"min_block_size": 7, "optimization_level": 4, "disable_tf32": True, "workspace_size": 0}
    (folder / "compile_arguments.json").write_text(json.dumps(saved))
    source = reproduction.source(row, folder)
    compile(source, "pasted", "exec")
    passed = source.partition("arg_inputs=args, ")[2].partition(")\n")[0].split(", ")
    assert passed == ["min_block_size=7", "optimization_level=4", "disable_tf32=True", "use_python_runtime=True"]
    assert "torch_tensorrt.runtime.enable_cudagraphs(compiled) as replayed:" in source
    assert "device='cuda'" in source
