"""The code to paste runs: on the CPU as it is, for Torch-TensorRT up to a dry run by the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt
from test_table import put

from trt_sweep import table
from trt_sweep.report import code

TINY = {
    "name": "tiny",
    "factory": {"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 4},
    "weights": None,
    "seed": 3,
    "inputs": [{"shape": [8], "dtype": "float", "low": None, "high": None, "name": None, "batched": True}],
}


def point(tmp_path: Path, config=None, **values):
    put(tmp_path, "p", 1.0, **{"device": "cpu"} | values)
    folder = tmp_path / "points/p"
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return table.load(tmp_path).to_dict("records")[0], folder


def run(source: str) -> dict:
    names: dict = {}
    exec(compile(source, "pasted", "exec"), names)
    return names


@pytest.mark.parametrize("backend", ["eager", "jit", "inductor"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_code_runs_on_the_cpu(tmp_path, backend, precision):
    row, folder = point(tmp_path, {"model": TINY, "batch_size": 2}, backend=backend, precision=precision, batch_size=2)
    names = run(code.source(row, folder))
    assert names["output"].shape == (2, 4)
    assert names["output"].dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    torch.manual_seed(3)
    weights = torch.nn.Linear(8, 4).weight.to(names["output"].dtype)
    assert torch.equal(names["model"].weight, weights)  # the sweep's own


# Run away from this process, whose torch must not believe in a GPU. Torch-TensorRT is made importable first, as
# trt_sweep does where there is no driver.
DRY = """
import sys
from trt_sweep import loading
loading.load()
with loading.assumed_gpu():
    exec(compile(sys.stdin.read(), "pasted", "exec"))
"""


@needs_tensorrt
@pytest.mark.parametrize(
    ("axes", "config"),
    [
        ({}, {}),
        ({"dynamic_range": "2:4:8"}, {"batch_size": [2, 4, 8]}),
        ({}, {"compile": {"torch_executed_ops": ["aten.relu.default"], "num_avg_timing_iters": 2}}),
    ],
    ids=["plain", "range", "compile"],
)
def test_dynamo_code_runs_up_to_the_partition(tmp_path, axes, config):
    row, folder = point(
        tmp_path, {"model": TINY, "batch_size": 2} | config, backend="dynamo", batch_size=2, min_block_size=1,
        precision="fp16", runtime="cpp", torch_tensorrt="2.14.0", **axes,
    )  # fmt: skip
    source = code.source(row, folder, device="cpu", dryrun=True)
    shortened = source.rpartition("output =")[0]  # a dry run leaves nothing to call on a CPU
    done = subprocess.run(
        [sys.executable, "-c", DRY], input=shortened, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Dry-Run Results" in done.stdout + done.stderr or "Total number of operators" in done.stdout + done.stderr


def test_what_the_build_was_given_counts(tmp_path):
    row, folder = point(
        tmp_path, {"model": TINY}, backend="dynamo", min_block_size=5, optimization_level=None, device="cuda:0",
        torch_tensorrt="2.11.0", runtime="python", cuda_graphs=True,
    )  # fmt: skip
    saved = {"min_block_size": 7, "optimization_level": 4, "disable_tf32": True, "workspace_size": 0}
    (folder / "compile_arguments.json").write_text(json.dumps(saved))
    source = code.source(row, folder)
    compile(source, "pasted", "exec")
    passed = source.partition("kwarg_inputs=kwargs,\n")[2].partition(")\n")[0].split()
    assert passed == ["min_block_size=7,", "optimization_level=4,", "disable_tf32=True,", "use_python_runtime=True,"]
    assert "with torch_tensorrt.runtime.enable_cudagraphs(compiled) as replayed:" in source
    assert "device='cuda'" in source


@pytest.mark.parametrize("backend", ["torch_compile", "torchscript", "onnx", "aot_inductor", "fx", "new"])
def test_other_backends_give_code_or_words(tmp_path, backend):
    row, folder = point(tmp_path, {"model": TINY}, backend=backend, min_block_size=3, mode="trace", device="cuda:0")
    source = code.source(row, folder)
    compile(source, "pasted", "exec")
    expected = {
        "torch_compile": "backend='torch_tensorrt'",
        "torchscript": "torch_tensorrt.ts.compile(",
        "onnx": "trtexec --onnx=model.onnx",
        "aot_inductor": "aoti_load_package",
    }
    assert expected.get(backend, f"# backend={backend}: no code is known") in source


def test_inputs_by_name_with_ranges_of_values(tmp_path):
    spec = {"shape": [16], "batched": True}
    inputs = [
        spec | {"dtype": "int64", "low": 0, "high": 1000, "name": None},
        spec | {"dtype": "float", "low": 0.5, "high": 1.0, "name": "mask"},
        {"shape": [3], "batched": False, "dtype": "bool", "low": None, "high": None, "name": "flags"},
    ]
    row, folder = point(tmp_path, {"model": TINY | {"inputs": inputs}}, backend="fx", batch_size=2, precision="fp16")
    names = run(code.source(row, folder))
    (ids,), mask = names["args"], names["kwargs"]["mask"]
    assert ids.shape == (2, 16) and ids.dtype == torch.int64 and ids.min() >= 0 and ids.max() < 1000
    assert mask.dtype == torch.float16 and mask.min() >= 0.5 and mask.max() <= 1.0
    assert names["kwargs"]["flags"].dtype == torch.bool and names["kwargs"]["flags"].shape == (3,)


EVIL = "x\nimport os; os.abort()\r# ' \" \\ \u2028</script>"


@pytest.mark.parametrize("config", [None, {"model": TINY | {"factory": {"_target_": EVIL}}}, {"model": EVIL}, EVIL])
def test_text_from_records_cannot_become_code(tmp_path, config):
    row, folder = point(tmp_path, config, backend=EVIL, model=EVIL, torch=EVIL, gpu_name=EVIL)
    source = code.source(row, folder)
    compile(source, "pasted", "exec")
    assert all(line.startswith("#") for line in source.splitlines() if "abort" in line)


def test_values_from_a_configuration_cannot_become_code(tmp_path):
    factory = {"_target_": "torch.nn.Linear", "in_features": EVIL}
    row, folder = point(tmp_path, {"model": TINY | {"factory": factory}, "compile": {"extra": EVIL}}, backend="dynamo")
    source = code.source(row, folder)
    compile(source, "pasted", "exec")
    assert f"in_features={EVIL!r}" in source and f"extra={EVIL!r}" in source


def test_weights_by_name_and_by_file(tmp_path):
    factory = {"_target_": "torchvision.models.get_model", "name": "resnet18"}
    for weights, expected in (("DEFAULT", "weights='DEFAULT'"), ("my.pt", "load_state_dict of my.pt")):
        row, folder = point(tmp_path, {"model": TINY | {"factory": factory, "weights": weights}}, backend="eager")
        assert expected in code.source(row, folder)
