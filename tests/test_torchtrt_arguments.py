"""What the frontends of each version of Torch-TensorRT are called with, and which arguments are refused."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt
from test_torchtrt_argument_values import RELU
from wheels import HAVE_RUNTIMES, NAMES, VERSIONS, config, every_wheel, frontends, written

from trt_sweep.backends.torchtrt.arguments import FIXED, OURS, compile_arguments, ignored_axes, with_defaults
from trt_sweep.backends.torchtrt.installed import FRONTENDS, InstalledTorchTensorRT, torch_tensorrt
from trt_sweep.config.groups import AUTOCAST, PRECISIONS
from trt_sweep.config.point import RUNTIME_CACHES, RUNTIMES, SPECIALIZATION, SPECIALIZATIONS
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.machine import versions as machine_versions

# How a runtime refuses RTX's runtime cache and specialization strategy; None where it takes them.
NOWHERE = "torch-tensorrt-rtx 2.11 has no such setting; 2.12 and later have it, and backend=onnx"
REFUSES = {
    ("rtx", "2.11", "cpp"): NOWHERE,
    ("rtx", "2.11", "python"): NOWHERE,
    ("rtx", "2.12", "cpp"): "torch-tensorrt-rtx 2.12 has it in its Python runtime only: add runtime=python",
    ("rtx", "2.12", "python"): None,
    ("rtx", "2.13", "cpp"): None,
    ("rtx", "2.14", "cpp"): None,
    **{
        ("standard", version, runtime): f"only TensorRT-RTX has it, and this is torch-tensorrt {version}"
        for version, runtimes in HAVE_RUNTIMES.items()
        for runtime in runtimes
    },
}
WARM_LATER = (
    "torch-tensorrt-rtx 2.12 saves its cache only when a module goes away; 2.13 and later can do it, and backend=onnx"
)
UNWRITABLE = {
    "dynamo": {"engine_capability", "autocast_calibration_dataloader"},
    "torch_compile": {"engine_capability", "autocast_calibration_dataloader"},
    "torchscript": {"capability", "input_signature"},
}
REFITTED = {"strip_engine_weights": True}


@every_wheel
@pytest.mark.parametrize("frontend", ["dynamo", "torch_compile"])
def test_arguments_are_of_the_version_or_the_point_is_refused(wheel, flavor, version, frontend):
    api = wheel(flavor, version)
    known = set(written(api, frontend))
    axes = PRECISIONS, (None, *RUNTIMES), (None, 0, 5), (None, *RUNTIME_CACHES), (None, *SPECIALIZATIONS)
    for precision, runtime, level, cache, strategy in itertools.product(*axes):
        values = {"precision": precision, "runtime": runtime, "optimization_level": level}
        point = config(**values, runtime_cache=cache, **{SPECIALIZATION: strategy})
        point = with_defaults(api, point, frontend)
        reason = None
        if point.runtime not in HAVE_RUNTIMES[version]:
            reason = f"runtime={runtime}: {api.name} runs engines in its cpp runtime only; leave runtime out"
        elif (cache or strategy) and (words := REFUSES[flavor, version, point.runtime]):
            asked = f"runtime_cache={cache}" if cache else f"{SPECIALIZATION}={strategy}"
            reason = f"{asked}: {words}"
        elif (flavor, version, cache) == ("rtx", "2.12", "warm"):
            reason = f"runtime_cache=warm: {WARM_LATER}"
        if reason is not None:
            with pytest.raises(Unsupported) as caught:
                compile_arguments(api, point, frontend)
            assert str(caught.value) == reason
            continue
        expected = {
            "disable_tf32": precision != "tf32",
            "min_block_size": 5,
            "optimization_level": level,
            "cache_built_engines": False,
            "reuse_cached_engines": False,
            "use_python_runtime": runtime == "python" if version in ("2.11", "2.12") else None,
            SPECIALIZATION: strategy if version == "2.12" else None,
        }
        if precision in AUTOCAST:
            low = {"autocast_fp16": torch.float16, "autocast_bf16": torch.bfloat16}[precision]
            expected |= {"enable_autocast": True, "autocast_low_precision_type": low}
        passed = compile_arguments(api, point, frontend)
        assert passed == {name: value for name, value in expected.items() if value is not None}
        assert passed.keys() <= known


@every_wheel
@pytest.mark.parametrize("precision", PRECISIONS)
def test_arguments_of_the_legacy_frontends(wheel, flavor, version, precision):
    api = wheel(flavor, version)
    values = {"precision": precision, "optimization_level": 3, "runtime": "cpp", "runtime_cache": "cold"}
    expected = {"torchscript": {"min_block_size": 3, "disable_tf32": precision != "tf32"}}
    if flavor == "standard":
        expected["fx"] = {"min_acc_module_size": 10, "explicit_batch_dimension": True}
    for frontend, arguments in expected.items():
        assert compile_arguments(api, with_defaults(api, config(**values), frontend), frontend) == arguments
        assert arguments.keys() <= set(written(api, frontend))


@pytest.mark.parametrize(
    ("frontend", "name", "value", "expected"),
    [
        ("dynamo", "truncate_double", True, True),
        ("dynamo", "max_aux_streams", 2, 2),
        ("dynamo", "torch_executed_ops", ["aten.relu"], {RELU.default, RELU.out}),
        ("torch_compile", "torch_executed_ops", ["aten.relu.default"], {RELU.default}),
        ("torch_compile", "autocast_max_output_threshold", 256, 256),
        ("torchscript", "torch_executed_ops", ["aten::relu"], ["aten::relu"]),
        ("torchscript", "truncate_long_and_double", True, True),
        ("fx", "correctness_atol", 0.5, 0.5),
        ("fx", "verbose_log", True, True),
    ],
)
def test_further_arguments_are_passed_on(wheel, frontend, name, value, expected):
    for api in (wheel("standard", version) for version in VERSIONS):
        plain = with_defaults(api, config(), frontend)
        point = with_defaults(api, config(compile={name: value}), frontend)
        assert point.compile == {name: value}
        assert compile_arguments(api, point, frontend) == compile_arguments(api, plain, frontend) | {name: expected}


def test_null_leaves_a_further_argument_out(wheel):
    point = config(compile={"max_aux_streams": None})
    assert "max_aux_streams" not in compile_arguments(wheel("rtx", "2.14"), point, "dynamo")


@every_wheel
def test_few_further_arguments_cannot_be_written(wheel, flavor, version):
    api = wheel(flavor, version)
    for frontend, expected in UNWRITABLE.items():
        messages = {}
        for name in api.parameters(frontend).keys() - OURS.keys() - set(FIXED):
            with pytest.raises(SweepError) as caught:
                with_defaults(api, config(compile={name: object()}), frontend)
            messages[name] = str(caught.value)
        assert {name for name, text in messages.items() if "cannot be written on the command line" in text} == expected


def test_every_further_argument_of_fx_has_a_type(wheel):
    api = wheel("standard", "2.14")
    assert with_defaults(api, config(compile={"max_workspace_size": 1 << 20}), "fx").compile


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("num_avg_timing_iter", "did you mean num_avg_timing_iters"),
        ("workspacesize", "did you mean workspace_size"),
        ("zzz", "use one of assume_dynamic_shape_support, attn_bias_is_causal, "),
    ],
)
@every_wheel
def test_an_unknown_name_is_refused_with_the_nearest(wheel, flavor, version, name, words):
    api = wheel(flavor, version)
    for method, frontend in itertools.product((with_defaults, compile_arguments), ("dynamo", "torch_compile")):
        with pytest.raises(SweepError) as caught:
            method(api, config(compile={name: 1}), frontend)
        known, _, advice = str(caught.value).partition(": ")
        assert known == f"compile.{name} is not known to {NAMES[flavor]} {version} ({frontend})"
        assert advice.startswith(words)
        assert not set(re.findall(r"\w+", advice)) & (OURS.keys() | set(FIXED))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("use_python_runtime", "is set by trt_sweep: use runtime instead"),
        ("disable_tf32", "is set by trt_sweep: use precision instead"),
        ("enabled_precisions", "is set by trt_sweep: use precision instead"),
        ("min_block_size", "is set by trt_sweep: use min_block_size instead"),
        ("min_acc_module_size", "is set by trt_sweep: use min_block_size instead"),
        ("optimization_level", "is set by trt_sweep: use optimization_level instead"),
        ("runtime_cache_path", "is set by trt_sweep: use runtime_cache instead"),
        (SPECIALIZATION, f"is set by trt_sweep: use {SPECIALIZATION} instead"),
        ("device", "is set by trt_sweep: use device instead"),
        ("dryrun", "is set by trt_sweep: use dryrun instead"),
        ("inputs", "is set by trt_sweep: use model.inputs instead"),
        ("dynamic_batch", "is set by trt_sweep: use batch_size=[1,8,32] instead"),
        ("timing_cache_path", f"is not a setting here: {FIXED['timing_cache_path']}; leave it out"),
        ("reuse_cached_engines", f"is not a setting here: {FIXED['reuse_cached_engines']}; leave it out"),
        ("pass_through_build_failures", f"is not a setting here: {FIXED['pass_through_build_failures']}; leave it out"),
    ],
)
@every_wheel
def test_a_name_of_trt_sweep_is_refused_with_its_own(wheel, flavor, version, name, words):
    for frontend in frontends(flavor):
        with pytest.raises(SweepError) as caught:
            with_defaults(wheel(flavor, version), config(compile={name: True}), frontend)
        assert str(caught.value) == f"compile.{name} {words}"


def test_names_of_trt_sweep_are_of_some_version_and_lead_to_fields(wheel):
    apis = [wheel("standard", version) for version in VERSIONS]
    known = {name for api in apis for frontend in FRONTENDS for name in api.parameters(frontend)}
    assert OURS.keys() | set(FIXED) <= known
    fields = {item.name for item in dataclasses.fields(SweepConfig)}
    assert {re.split(r"[.=]", instead or name)[0] for name, instead in OURS.items()} <= fields


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("use_explicit_typing", ("2.11", "2.12")),
        ("fallback_data_dependent_ops", ("2.13", "2.14")),
        ("use_complex_decomposition", ("2.14",)),
    ],
)
@every_wheel
def test_a_name_of_other_versions_is_refused(wheel, flavor, version, name, versions):
    api, point = wheel(flavor, version), config(compile={name: True})
    for frontend in ("dynamo", "torch_compile"):
        if version in versions:
            assert compile_arguments(api, with_defaults(api, point, frontend), frontend)[name] is True
        else:
            message = rf"^compile\.{name} is not known to {NAMES[flavor]} {version} \({frontend}\): "
            with pytest.raises(SweepError, match=message):
                with_defaults(api, point, frontend)


@pytest.mark.parametrize(
    ("rtx", "tensorrt", "frontend", "values", "expected"),
    [
        (True, "1.4.0.76", "dynamo", {"precision": "fp32"}, ["disable_tf32"]),
        (True, "1.4.0.76", "onnx", {"precision": "fp32"}, ["disable_tf32"]),
        (True, "1.6.1.120", "dynamo", {"precision": "fp32"}, ["disable_tf32"]),
        (True, "1.4.0.76", "dynamo", {"precision": "tf32"}, []),
        (True, "1.4.0.76", "dynamo", {"precision": "fp16"}, []),
        (True, "1.40.0", "dynamo", {"precision": "fp32"}, []),
        (True, "1.5.0", "dynamo", {"precision": "fp32"}, []),
        (True, None, "dynamo", {"precision": "fp32"}, []),
        (False, "11.4.0", "dynamo", {"precision": "fp32"}, []),
        (True, "1.6.1.120", "torch_compile", {"optimization_level": 0}, ["optimization_level", "disable_tf32"]),
        (False, "11.1.0", "torch_compile", {"optimization_level": 0}, []),
        (True, "1.4.0.76", "dynamo", {"optimization_level": 5}, ["optimization_level", "disable_tf32"]),
        (False, "11.1.0", "dynamo", {"compile": {"torch_executed_modules": []}}, ["compile.torch_executed_modules"]),
        (False, "11.1.0", "torchscript", {"compile": {"torch_executed_modules": []}}, []),
        (True, "1.4.0.76", "torchscript", {"precision": "fp32"}, []),
        (False, "11.1.0", "torch_compile", {"compile": REFITTED}, ["compile.strip_engine_weights"]),
        (False, "11.1.0", "dynamo", {"compile": REFITTED}, ["compile.strip_engine_weights"]),
        (False, "11.1.0", "dynamo", {"compile": REFITTED | {"immutable_weights": False}}, []),
        (
            False,
            "11.1.0",
            "torch_compile",
            {"compile": {"require_full_compilation": True}},
            ["compile.require_full_compilation"],
        ),
    ],
)
def test_what_is_accepted_without_effect(rtx, tensorrt, frontend, values, expected):
    library = InstalledTorchTensorRT(Path("nowhere"), rtx, tensorrt)
    assert ignored_axes(library, config(**values), frontend) == expected


@every_wheel
def test_autocast_takes_excluded_operators_for_nothing_and_torch_compile_takes_no_autocast(wheel, flavor, version):
    passes = wheel(flavor, version).package / "dynamo/lowering/passes"
    source = (passes / "nodeclassifier.py").read_text(encoding="utf-8")
    assert "node_name = ConverterRegistry.qualified_name_or_str(node.target)" in source  # a text
    assert "return node_name in self.excluded_ops" in source  # among operators
    before_export = (passes / "_aten_lowering_pass.py").read_text(encoding="utf-8").partition("post_lowering_pass_list")
    assert "    rule_based_autocast,\n" in before_export[0] and "    rule_based_autocast,\n" not in before_export[2]


@pytest.mark.parametrize("frontend", ["dynamo", "torch_compile"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "autocast_fp16"])
def test_autocast_is_a_precision(frontend, precision):
    library = InstalledTorchTensorRT(Path("nowhere"), False, None)
    given = {"autocast_excluded_nodes": ["a"], "autocast_excluded_ops": ["aten.relu"], "use_fp32_acc": True}
    obeys = (frontend, precision) == ("dynamo", "autocast_fp16")
    found = ignored_axes(library, config(precision=precision, compile=given), frontend)
    assert found == ["compile.autocast_excluded_nodes"] * (not obeys) + ["compile.autocast_excluded_ops"]


@every_wheel
def test_dynamo_takes_executed_modules_for_nothing(wheel, flavor, version):
    api = wheel(flavor, version)
    source = (api.package / "dynamo/_compiler.py").read_text(encoding="utf-8")
    assert "This feature is unimplemented in Torch-TRT Dynamo currently" in source
    assert "torch_executed_modules" in api.parameters("dynamo")
    assert "torch_executed_modules" not in api.parameters("torch_compile")


@needs_tensorrt
@pytest.mark.parametrize(("precision", "disabled"), [("fp32", True), ("tf32", False), ("fp16", True), ("bf16", True)])
def test_arguments_of_a_precision(precision, disabled):
    api, point = torch_tensorrt(), config(precision=precision)
    passed = compile_arguments(api, point, "dynamo")
    assert passed.pop("use_python_runtime", False) is False
    assert passed == {"disable_tf32": disabled, "cache_built_engines": False, "reuse_cached_engines": False}
    always_tf32 = (machine_versions.version("tensorrt-rtx") or "").startswith(("1.4.", "1.6."))
    assert ignored_axes(api, point, "dynamo") == (["disable_tf32"] if precision == "fp32" and always_tf32 else [])


@needs_tensorrt
def test_arguments_of_the_axes():
    api, point = torch_tensorrt(), config(precision="fp16", min_block_size=7, optimization_level=0)
    passed = compile_arguments(api, point, "dynamo")
    assert (passed["min_block_size"], passed["optimization_level"]) == (7, 0)
    assert ignored_axes(api, point, "dynamo") == (["optimization_level"] if api.rtx else [])
