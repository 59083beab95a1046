"""The code to paste runs: on the CPU as it is, for Torch-TensorRT up to a dry run by the real one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt
from test_table import put

from trt_sweep import backends
from trt_sweep.backends import reproduction
from trt_sweep.models import quantization
from trt_sweep.models.reproduction import constant
from trt_sweep.results import table

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
    names = run(reproduction.source(row, folder))
    assert names["output"].shape == (2, 4)
    assert names["output"].dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    torch.manual_seed(3)
    weights = torch.nn.Linear(8, 4).weight.to(names["output"].dtype)
    assert torch.equal(names["model"].weight, weights)  # the sweep's own


def test_code_says_of_which_load_it_is_not(tmp_path):
    row, folder = point(tmp_path, {"model": TINY, "batch_size": 1}, backend="eager", precision="fp32", streams=4)
    said = reproduction.source(row | {"transfers": True}, folder)
    assert "# and while 4 threads called at the same time" in said and "# and each call copied its inputs" in said
    assert "threads called" not in reproduction.source(row | {"streams": 1}, folder)
    run(said)


NAMED = {
    "name": "bilinear", "weights": None, "seed": 3,
    "factory": {"_target_": "torch.nn.Bilinear", "in1_features": 8, "in2_features": 8, "out_features": 4},
    "inputs": [TINY["inputs"][0], TINY["inputs"][0] | {"name": "input2"}],
}  # fmt: skip


@pytest.mark.parametrize("backend", ["eager", "jit", "inductor"])
@pytest.mark.parametrize("named", [["input2"], ["input1", "input2"]])
def test_code_of_a_model_whose_inputs_have_names(tmp_path, backend, named):
    inputs = [TINY["inputs"][0] | {"name": name} for name in named]
    model = NAMED | {"inputs": [TINY["inputs"][0]] * (2 - len(named)) + inputs}
    row, folder = point(tmp_path, {"model": model}, backend=backend, batch_size=2, mode="trace" * (backend == "jit"))
    names = run(reproduction.source(row, folder))
    args = [*names["args"], *({} if backend == "jit" else names["kwargs"]).values()]
    torch.manual_seed(3)
    assert torch.allclose(names["output"], torch.nn.Bilinear(8, 8, 4)(*args), atol=1e-6)


def test_an_aot_inductor_point_says_what_is_left_to_do(tmp_path):
    values = {"backend": "aot_inductor", "mode": "max-autotune", "cuda_graphs": True, "device": "cuda:0"}
    source = reproduction.source(*point(tmp_path, {"model": TINY}, **values))
    compile(source, "pasted", "exec")
    assert "(program, inductor_configs={'max_autotune': True})\n" in source
    assert "# cuda_graphs=true: capture the call" in source


def linear(inside: int, outside: int) -> dict:
    return {"_target_": "torch.nn.Linear", "in_features": inside, "out_features": outside}


BLOCK = {"_target_": "torch.nn.Sequential", "_args_": [linear(8, 16), {"_target_": "torch.nn.GELU"}, linear(16, 4)]}
FEEDS = {"model": TINY | {"factory": BLOCK}, "batch_size": 2}


def up_to_model(source: str) -> torch.nn.Module:
    """The model of pasted code, which compiles as a whole; what comes behind the inputs is not run."""
    compile(source, "pasted", "exec")
    beginning = source.partition("program = ")[0].partition("with mtq.utils.export")[0]
    return run(beginning.replace(", torch_tensorrt", ""))["model"]  # which asks for a driver


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_factory_of_factories_is_written_out(tmp_path, precision):
    row, folder = point(tmp_path, FEEDS, backend="dynamo", precision=precision, batch_size=2)
    model = up_to_model(reproduction.source(row, folder))
    assert [type(layer) for layer in model] == [torch.nn.Linear, torch.nn.GELU, torch.nn.Linear]
    assert model[0].weight.shape == (16, 8)


@pytest.mark.parametrize("inner", [{"_target_": "Linear"}, {"_target_": "torch.nn.GELU", "_partial_": True}])
def test_a_factory_that_is_no_plain_call_is_left_to_the_reader(tmp_path, inner):
    config = {"model": TINY | {"factory": BLOCK | {"_args_": [inner]}}}
    row, folder = point(tmp_path, config, backend="dynamo")
    source = reproduction.source(row, folder)
    compile(source, "pasted", "exec")
    assert "# model: put your own" in source


QUANTIZED = {
    "backend": "dynamo", "precision": "fp8", "base_precision": "fp16", "batch_size": 2, "calibration": "random",
    "calibration_samples": 5,
}  # fmt: skip


def test_modelopt_quantizes_the_model_as_the_sweep_did(tmp_path):
    pytest.importorskip("modelopt.torch.quantization", exc_type=ImportError)
    config = FEEDS | {"quantization": {"skip": ["2"]}}
    row, folder = point(tmp_path, config, quantization_method="modelopt_fp8_default", **QUANTIZED)
    source = reproduction.source(row, folder)
    assert "mtq.FP8_DEFAULT_CFG" in source and "[batch() for _ in range(3)]" in source
    assert "with mtq.utils.export_torch_mode():\n    program = torch.export.export(" in source
    model = up_to_model(source)
    first, _, last = model
    assert first.weight.dtype == torch.float16 and first.input_quantizer.is_enabled
    assert first.input_quantizer.amax.dtype == torch.float32 and first.input_quantizer.amax > 1
    assert not last.weight_quantizer.is_enabled


def test_torchao_quantizes_the_model_as_the_sweep_did(tmp_path):
    pytest.importorskip("torchao.quantization", exc_type=ImportError)
    config = FEEDS | {"quantization": {"skip": ["2"]}}
    values = QUANTIZED | {"precision": "int8", "calibration": None}
    row, folder = point(tmp_path, config, quantization_method="torchao_int8_weight_only", **values)
    first, _, last = up_to_model(reproduction.source(row, folder))
    assert type(first.weight.data) is not torch.Tensor and type(last.weight.data) is torch.Tensor
    assert first.weight.dtype == torch.float16


@pytest.mark.parametrize("method", ["pt2e_int8_static", "tensorrt_int8_calibrator", "new", None])
def test_a_quantization_that_is_not_written_out_fails_loudly(tmp_path, method):
    row, folder = point(tmp_path, FEEDS, quantization_method=method, **QUANTIZED)
    with pytest.raises(NotImplementedError, match=f"quantize first: quantization_method={method}"):
        up_to_model(reproduction.source(row, folder))


def test_calibration_by_the_users_own_data_is_asked_for(tmp_path):
    values = QUANTIZED | {"calibration": "mine.images"}
    row, folder = point(tmp_path, FEEDS, quantization_method="modelopt_int8_default", **values)
    source = reproduction.source(row, folder).replace("modelopt.torch.quantization as mtq, ", "")
    with pytest.raises(NotImplementedError, match=r"each batch of mine\.images"):
        up_to_model(source)


def test_every_method_of_a_library_has_a_recipe_that_the_library_knows():
    folder = Path(quantization.methods.__file__).parent
    for name in quantization.method_names():
        library, recipe = f"_{name.partition('_')[0]}", constant(folder, name, "RECIPE")
        assert (constant(folder, library, "REPRODUCTION") is None) == (recipe is None), name
        assert recipe is None or recipe == importlib.import_module(f"{quantization.methods.__name__}.{name}").RECIPE


def test_every_backend_but_fx_has_its_lines():
    assert [name for name in backends.names() if not hasattr(backends.get(name), "REPRODUCTION")] == ["fx"]


def test_code_to_paste_is_written_without_torch(tmp_path):
    point(tmp_path, FEEDS, backend="dynamo", quantization_method="modelopt_fp8_default", precision="fp8")
    code = (
        "import sys; from pathlib import Path; from trt_sweep.results import table; "
        "from trt_sweep.analysis.report import assembly, recommend; folder = Path(sys.argv[1]); "
        "blocks = assembly.document(table.load(folder), folder, None, recommend.Wanted()); "
        "print('dynamo.compile(' in str(blocks), 'mtq.FP8' in str(blocks), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("True True False", "")


# Run away from this process, whose torch must not believe in a GPU. Torch-TensorRT is made importable first, as
# trt_sweep does where there is no driver.
DRY = """
import sys
from trt_sweep.backends.torchtrt import loading
loading.load()
with loading.assumed_gpu():
    exec(compile(sys.stdin.read(), "pasted", "exec"))
"""


def dry_run(source: str) -> str:
    """What a dry run of pasted code says; it leaves nothing to call on a CPU."""
    shortened = source.rpartition("output =")[0]
    done = subprocess.run(
        [sys.executable, "-c", DRY], input=shortened, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@needs_tensorrt
@pytest.mark.parametrize("method", ["modelopt_fp8_default", "torchao_int8_weight_only"])
def test_quantized_code_runs_up_to_the_partition(tmp_path, method):
    pytest.importorskip(f"{method.partition('_')[0]}", exc_type=ImportError)
    values = QUANTIZED if "fp8" in method else QUANTIZED | {"precision": "int8", "calibration": None}
    row, folder = point(
        tmp_path, FEEDS, quantization_method=method, min_block_size=1, torch_tensorrt="2.14.0", **values
    )
    said = dry_run(reproduction.source(row, folder, device="cpu", dryrun=True))
    assert "Dry-Run Results" in said or "Total number of operators" in said


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
    source = reproduction.source(row, folder, device="cpu", dryrun=True)
    said = dry_run(source)
    assert "Dry-Run Results" in said or "Total number of operators" in said


@pytest.mark.parametrize("backend", ["torch_compile", "torchscript", "onnx", "aot_inductor", "fx", "new"])
def test_other_backends_give_code_or_words(tmp_path, backend):
    row, folder = point(tmp_path, {"model": TINY}, backend=backend, min_block_size=3, mode="trace", device="cuda:0")
    source = reproduction.source(row, folder)
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
    names = run(reproduction.source(row, folder))
    (ids,), mask = names["args"], names["kwargs"]["mask"]
    assert ids.shape == (2, 16) and ids.dtype == torch.int64 and ids.min() >= 0 and ids.max() < 1000
    assert mask.dtype == torch.float16 and mask.min() >= 0.5 and mask.max() <= 1.0
    assert names["kwargs"]["flags"].dtype == torch.bool and names["kwargs"]["flags"].shape == (3,)


EVIL = "x\nimport os; os.abort()\r# ' \" \\ \u2028</script>"


@pytest.mark.parametrize("config", [None, {"model": TINY | {"factory": {"_target_": EVIL}}}, {"model": EVIL}, EVIL])
def test_text_from_records_cannot_become_code(tmp_path, config):
    row, folder = point(tmp_path, config, backend=EVIL, model=EVIL, torch=EVIL, gpu_name=EVIL)
    source = reproduction.source(row, folder)
    compile(source, "pasted", "exec")
    assert all(line.startswith("#") for line in source.splitlines() if "abort" in line)


def test_values_from_a_configuration_cannot_become_code(tmp_path):
    factory = {"_target_": "torch.nn.Linear", "in_features": EVIL}
    row, folder = point(tmp_path, {"model": TINY | {"factory": factory}, "compile": {"extra": EVIL}}, backend="dynamo")
    source = reproduction.source(row, folder)
    compile(source, "pasted", "exec")
    assert f"in_features={EVIL!r}" in source and f"extra={EVIL!r}" in source


def test_weights_by_name_and_by_file(tmp_path):
    factory = {"_target_": "torchvision.models.get_model", "name": "resnet18"}
    for weights, expected in (("DEFAULT", "weights='DEFAULT'"), ("my.pt", "load_state_dict of my.pt")):
        row, folder = point(tmp_path, {"model": TINY | {"factory": factory, "weights": weights}}, backend="eager")
        assert expected in reproduction.source(row, folder)
