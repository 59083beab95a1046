"""What is known of Torch-TensorRT's versions, held against the files of the wheels that are published."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import needs_tensorrt

from trt_sweep.backends.torchtrt import loading
from trt_sweep.backends.torchtrt.argument_values import converted
from trt_sweep.backends.torchtrt.arguments import FIXED, OURS, compile_arguments, ignored_axes, with_defaults
from trt_sweep.backends.torchtrt.installed import FRONTENDS, InstalledTorchTensorRT, Parameter, torch_tensorrt
from trt_sweep.config.groups import AUTOCAST, PRECISIONS
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.point import RUNTIME_CACHES, RUNTIMES, SPECIALIZATION, SPECIALIZATIONS
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.machine import versions as machine_versions
from trt_sweep.machine.versions import tensorrt_version

NAMES = {"rtx": "torch-tensorrt-rtx", "standard": "torch-tensorrt"}
VERSIONS = {"2.11": "2.11.0", "2.12": "2.12.1", "2.13": "2.13.0", "2.14": "2.14.0"}
SIZES = {"dynamo": 5, "torch_compile": 5, "torchscript": 3, "fx": 10}
HAVE_RUNTIMES = {
    "2.11": ("cpp", "python"),
    "2.12": ("cpp", "python"),
    "2.13": ("cpp",),
    "2.14": ("cpp",),
}
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
COUNTS = {
    "2.11": {"dynamo": 58, "torch_compile": 51, "torchscript": 21, "fx": 16},
    "2.12": {"dynamo": 60, "torch_compile": 53, "torchscript": 21, "fx": 16},
    "2.13": {"dynamo": 57, "torch_compile": 49, "torchscript": 21, "fx": 16},
    "2.14": {"dynamo": 59, "torch_compile": 51, "torchscript": 21, "fx": 16},
}
# The arguments that a version has and the one before it has not, and the other way round.
APPEARED = {
    "2.12": {"runtime_cache_path", SPECIALIZATION},
    "2.13": {"fallback_data_dependent_ops"},
    "2.14": {"use_complex_decomposition", "disabled_constant_fold_exclusions"},
}
VANISHED = {
    "2.12": set(),
    "2.13": {"runtime_cache_path", SPECIALIZATION, "enabled_precisions", "use_explicit_typing"},
    "2.14": set(),
}
UNWRITABLE = {
    "dynamo": {"engine_capability", "autocast_calibration_dataloader"},
    "torch_compile": {"engine_capability", "autocast_calibration_dataloader"},
    "torchscript": {"capability", "input_signature"},
}
REFITTED = {"strip_engine_weights": True}
RELU = torch.ops.aten.relu

every_version = pytest.mark.parametrize("version", VERSIONS)
every_wheel = pytest.mark.parametrize(("flavor", "version"), list(itertools.product(NAMES, VERSIONS)))
Wheel = Callable[[str, str], InstalledTorchTensorRT]


@pytest.fixture(scope="session")
def wheel() -> Iterator[Wheel]:
    """A wheel's InstalledTorchTensorRT, by flavour and version; skips the test where it cannot be downloaded."""
    with tempfile.TemporaryDirectory() as folder:

        @functools.cache
        def unpacked(flavor: str, version: str) -> InstalledTorchTensorRT | str:
            requirement, target = f"{NAMES[flavor]}=={VERSIONS[version]}", Path(folder) / flavor / version
            command = [
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
                *("--python-version", "3.12", "--implementation", "cp"),
                *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_34_x86_64"),
                *("-d", str(target), requirement),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"{requirement} cannot be downloaded: " + (done.stderr.strip() or "pip failed").splitlines()[-1]
            (file,) = target.glob("*.whl")
            with zipfile.ZipFile(file) as archive:
                archive.extractall(target)
            return InstalledTorchTensorRT(target / "torch_tensorrt", flavor == "rtx")

        def api(flavor: str, version: str) -> InstalledTorchTensorRT:
            found = unpacked(flavor, version)
            if isinstance(found, str):
                pytest.skip(found)
            return found

        yield api


def config(**values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return SweepConfig(model=model, backend="dynamo", **values)


def frontends(flavor: str) -> list[str]:
    return [name for name in FRONTENDS if name != "fx" or flavor == "standard"]


def written(api: InstalledTorchTensorRT, frontend: str) -> list[str]:
    """The names of a frontend's arguments by the layout of its source: indented by four, before a colon, = or comma."""
    file, name = FRONTENDS[frontend]
    opening, closing = (r"class {}:", r"    def ") if frontend == "torch_compile" else (r"def {}\(", r"\)")
    source = (api.package / file).read_text(encoding="utf-8")
    found = re.search(rf"^{opening.format(name)}$(.*?)^{closing}", source, re.DOTALL | re.MULTILINE)
    return re.findall(r"^    ([a-z]\w*)[:=,]", found[1], re.MULTILINE)


@every_wheel
def test_a_wheel_says_its_version(wheel, flavor, version):
    api = wheel(flavor, version)
    assert ".".join(map(str, api.version)) == version
    assert api.name == f"{NAMES[flavor]} {version}"


@every_wheel
def test_fx_is_in_the_standard_flavour_only(wheel, flavor, version):
    assert list(filter(wheel(flavor, version).has, FRONTENDS)) == frontends(flavor)


@every_wheel
def test_two_runtimes_became_one_in_2_13(wheel, flavor, version):
    api = wheel(flavor, version)
    assert api.runtimes == HAVE_RUNTIMES[version]
    assert api.runtime_settings == (flavor == "rtx" and version in ("2.13", "2.14"))


@every_version
def test_without_the_cpp_library_engines_run_in_python(wheel, version, tmp_path):
    whole = wheel("rtx", version)
    for entry in whole.package.iterdir():
        if entry.name != "lib":
            (tmp_path / entry.name).symlink_to(entry)
    bare = InstalledTorchTensorRT(tmp_path, rtx=True)
    assert bare.runtimes == ("python",)
    assert not bare.has("torchscript")
    assert with_defaults(bare, config(), "dynamo").runtime == "python"
    assert "use_python_runtime" not in compile_arguments(bare, config(runtime="python"), "dynamo")
    with pytest.raises(Unsupported, match=r"^runtime=cpp: torch-tensorrt-rtx .* its python runtime only"):
        compile_arguments(bare, config(runtime="cpp"), "dynamo")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libtorchtrt_runtime.so").touch()
    assert bare.runtimes == whole.runtimes
    assert not bare.has("torchscript")


@every_wheel
def test_every_argument_of_the_source_is_read(wheel, flavor, version):
    api = wheel(flavor, version)
    for frontend in frontends(flavor):
        assert list(api.parameters(frontend)) == written(api, frontend)
        assert len(api.parameters(frontend)) == COUNTS[version][frontend]


@pytest.mark.parametrize(("old", "new"), list(itertools.pairwise(VERSIONS)))
def test_arguments_come_and_go_between_versions(wheel, old, new):
    before, after = wheel("standard", old), wheel("standard", new)
    for frontend in ("dynamo", "torch_compile"):
        had, has = before.parameters(frontend), after.parameters(frontend)
        one_frontend = {"use_python_runtime"} if (frontend, new) == ("torch_compile", "2.13") else set()
        assert has.keys() - had.keys() == APPEARED[new]
        assert had.keys() - has.keys() == VANISHED[new] | one_frontend
        assert {name: had[name] for name in had.keys() & has} == {name: has[name] for name in had.keys() & has}
    for frontend in ("torchscript", "fx"):
        assert before.parameters(frontend) == after.parameters(frontend)


@every_version
def test_the_flavours_take_the_same_arguments(wheel, version):
    for frontend in frontends("rtx"):
        assert wheel("rtx", version).parameters(frontend) == wheel("standard", version).parameters(frontend)


@every_wheel
def test_defaults_are_filled_in(wheel, flavor, version):
    api = wheel(flavor, version)
    for frontend in frontends(flavor):
        found = with_defaults(api, config(), frontend)
        assert found.min_block_size == SIZES[frontend]
        assert found.runtime == ("cpp" if frontend in ("dynamo", "torch_compile") else None)
        assert found.optimization_level is None
        given = config(min_block_size=7, runtime="python")
        private = (flavor, version) == ("rtx", "2.12") and frontend in ("dynamo", "torch_compile")
        expected = dataclasses.replace(given, runtime_cache="cold" if private else None)
        assert with_defaults(api, given, frontend) == expected


@every_wheel
def test_defaults_are_read_through_names_expressions_and_factories(wheel, flavor, version):
    api = wheel(flavor, version)
    dynamo, settings = api.parameters("dynamo"), api.parameters("torch_compile")
    assert dynamo["exported_program"] == Parameter("ExportedProgram", None)
    assert dynamo["tiling_optimization_level"] == settings["tiling_optimization_level"] == Parameter("str", "none")
    assert dynamo["l2_limit_for_tiling"] == Parameter("int", -1)
    assert dynamo["engine_capability"] == Parameter("EngineCapability", "EngineCapability.STANDARD")
    assert settings["torch_executed_ops"] == Parameter("Collection[Target]", "field(default_factory=set)")
    if flavor == "standard":
        assert api.parameters("fx")["max_workspace_size"] == Parameter("int", 1 << 25)
    assert api.parameters("torchscript")["sparse_weights"] == Parameter("bool", False)


@every_wheel
def test_caches_that_builds_share(wheel, flavor, version):
    shared = ["timing_cache_path"] + ["runtime_cache_path"] * (version == "2.12")
    for frontend in ("dynamo", "torch_compile"):
        assert wheel(flavor, version).cache_paths(frontend) == shared
    assert wheel(flavor, version).cache_paths("torchscript") == []


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
    ("annotation", "value", "expected"),
    [
        ("bool", False, False),
        ("int", -1, -1),
        ("float", 0.5, 0.5),
        ("float", 512, 512),
        ("str", "fast", "fast"),
        ("Optional[int]", 2, 2),
        ("Optional[int]", None, None),
        ("Optional[bool]", True, True),
        ("Collection[str]", ["^conv", "^fc"], ["^conv", "^fc"]),
        ("Optional[List[str]]", [], []),
        ("Optional[List[str]]", None, None),
        ("Collection[Target]", ["aten.relu.default"], {RELU.default}),
        ("Optional[Collection[Target]]", ["torch.ops.aten.relu.default"], {RELU.default}),
        ("Collection[Target]", ["aten.relu", "aten.relu.out"], {RELU.default, RELU.out}),
        ("Collection[Target]", ["aten.add.Tensor", "aten.relu"], {torch.ops.aten.add.Tensor, RELU.default, RELU.out}),
        ("Optional[Collection[Target]]", None, None),
        ("Optional[Union[torch.dtype, dtype]]", "float16", torch.float16),
        ("Optional[dtype]", "bfloat16", torch.bfloat16),
        ("Optional[dtype]", None, None),
        ("Optional[EngineCapability]", None, None),
    ],
)
def test_a_value_becomes_what_the_annotation_asks_for(annotation, value, expected):
    found = converted("compile.x", value, annotation)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("bool", 1, "compile.x=1 is not allowed: use true or false"),
        ("bool", "true", "compile.x=true is not allowed: use true or false"),
        ("bool", None, "compile.x=null is not allowed: use true or false"),
        ("int", True, "compile.x=true is not allowed: use an integer"),
        ("int", 1.5, "compile.x=1.5 is not allowed: use an integer"),
        ("int", "1", "compile.x=1 is not allowed: use an integer"),
        ("float", False, "compile.x=false is not allowed: use a number"),
        ("float", "0.5", "compile.x=0.5 is not allowed: use a number"),
        ("str", 3, "compile.x=3 is not allowed: use a string"),
        ("Optional[int]", "many", "compile.x=many is not allowed: use an integer, or null"),
        ("Optional[int]", 2.0, "compile.x=2.0 is not allowed: use an integer, or null"),
        ("Collection[str]", "conv", "compile.x=conv is not allowed: use a list of strings"),
        ("Collection[str]", [1], "compile.x=[1] is not allowed: use a list of strings"),
        ("Collection[str]", None, "compile.x=null is not allowed: use a list of strings"),
        (
            "Collection[Target]",
            "aten.relu.default",
            "compile.x=aten.relu.default is not allowed: use a list of operators, [aten.relu.default]",
        ),
        (
            "Optional[dtype]",
            "f16",
            "compile.x=f16 is not allowed: use a type of torch, float16 or bfloat16, or null",
        ),
        ("Optional[Union[torch.dtype, dtype]]", "relu", "compile.x=relu is not allowed: use a type of torch"),
        ("Optional[dtype]", 16, "compile.x=16 is not allowed: use a type of torch"),
        (
            "EngineCapability",
            "standard",
            "compile.x is of type EngineCapability, which cannot be written on the command line: leave it out",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(annotation, value, message):
    with pytest.raises(SweepError) as caught:
        converted("compile.x", value, annotation)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "name", ["aten.rleu.default", "aten.relu.defualt", "aten", "aten.relu.overloads", "nn.ReLU", "sin", ""]
)
def test_what_is_no_operator_is_named(name):
    with pytest.raises(SweepError) as caught:
        converted("compile.x", ["aten.relu", name], "Collection[Target]")
    assert str(caught.value) == f"compile.x: {name} is no operator of torch: use names like aten.relu.default"


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
        (True, "1.4.0.76", "dynamo", {"precision": "tf32"}, []),
        (True, "1.4.0.76", "dynamo", {"precision": "fp16"}, []),
        (True, "1.40.0", "dynamo", {"precision": "fp32"}, []),
        (True, "1.6.1.120", "dynamo", {"precision": "fp32"}, []),
        (True, None, "dynamo", {"precision": "fp32"}, []),
        (False, "11.4.0", "dynamo", {"precision": "fp32"}, []),
        (True, "1.6.1.120", "torch_compile", {"optimization_level": 0}, ["optimization_level"]),
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


def test_a_package_of_another_layout_is_refused(tmp_path: Path):
    (tmp_path / "_version.py").write_text('__version__ = "3.0.1+cu140"\n')
    (tmp_path / "dynamo").mkdir()
    (tmp_path / "dynamo/_compiler.py").write_text("def compile_program(): ...\n")
    message = r"^torch-tensorrt 3\.0: dynamo/_compiler\.py has no compile; use a version from 2\.11 to 2\.14$"
    with pytest.raises(SweepError, match=message):
        InstalledTorchTensorRT(tmp_path, rtx=False).parameters("dynamo")


@needs_tensorrt
def test_the_installed_package_is_one_of_these_versions():
    api = torch_tensorrt()
    assert ".".join(map(str, api.version)) in VERSIONS
    assert machine_versions.version(NAMES["rtx" if api.rtx else "standard"]).startswith(api.name.split()[1] + ".")
    assert api.tensorrt == tensorrt_version()
    assert torch_tensorrt() is api


@needs_tensorrt
def test_the_installed_package_is_read_as_python_reads_it():
    api, module = torch_tensorrt(), loading.load()
    assert api.package == Path(module.__file__).parent
    parameters = inspect.signature(module.dynamo.compile).parameters.values()
    real = {item.name: item.default for item in parameters if item.kind is not inspect.Parameter.VAR_KEYWORD}
    fields = dataclasses.fields(module.dynamo.CompilationSettings)
    for frontend, defaults in {"dynamo": real, "torch_compile": {item.name: item.default for item in fields}}.items():
        read = {name: item.default for name, item in api.parameters(frontend).items()}
        assert list(read) == list(defaults)
        source = re.compile(r"[.(]")  # a default that is no literal is read as its source
        literal = {
            name: value
            for name, value in read.items()
            if value is not None and not (isinstance(value, str) and source.search(value))
        }
        assert literal == {name: defaults[name] for name in literal}
        assert [type(value) for value in literal.values()] == [type(defaults[name]) for name in literal]
        unset = (None, inspect.Parameter.empty, dataclasses.MISSING)
        computed = {name for name in read.keys() - literal if not any(defaults[name] is value for value in unset)}
        assert computed <= {
            *("timing_cache_path", "runtime_cache_path", "engine_cache_dir", "engine_capability"),
            *("enabled_precisions", "autocast_excluded_nodes", "autocast_excluded_ops"),
            *("use_complex_decomposition", "disabled_constant_fold_exclusions"),
        }


@needs_tensorrt
def test_the_installed_package_has_what_it_says_it_has():
    api, features = torch_tensorrt(), loading.load().ENABLED_FEATURES
    assert api.rtx == features.tensorrt_rtx
    assert api.has("torchscript") == features.torchscript_frontend
    assert api.has("fx") == features.fx_frontend
    assert ("cpp" in api.runtimes) == features.torch_tensorrt_runtime


@needs_tensorrt
def test_the_installed_package_is_not_imported():
    code = (
        "import sys; from trt_sweep.backends.torchtrt.installed import torch_tensorrt; found = torch_tensorrt(); "
        "found.parameters('dynamo'); found.runtimes; "
        "print(*{'torch_tensorrt', 'tensorrt', 'tensorrt_rtx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@needs_tensorrt
@pytest.mark.parametrize(("precision", "disabled"), [("fp32", True), ("tf32", False), ("fp16", True), ("bf16", True)])
def test_arguments_of_a_precision(precision, disabled):
    api, point = torch_tensorrt(), config(precision=precision)
    passed = compile_arguments(api, point, "dynamo")
    assert passed.pop("use_python_runtime", False) is False
    assert passed == {"disable_tf32": disabled, "cache_built_engines": False, "reuse_cached_engines": False}
    always_tf32 = (machine_versions.version("tensorrt-rtx") or "").startswith("1.4.")
    assert ignored_axes(api, point, "dynamo") == (["disable_tf32"] if precision == "fp32" and always_tf32 else [])


@needs_tensorrt
def test_arguments_of_the_axes():
    api, point = torch_tensorrt(), config(precision="fp16", min_block_size=7, optimization_level=0)
    passed = compile_arguments(api, point, "dynamo")
    assert (passed["min_block_size"], passed["optimization_level"]) == (7, 0)
    assert ignored_axes(api, point, "dynamo") == (["optimization_level"] if api.rtx else [])


@needs_tensorrt
def test_runtimes_of_the_installed_package():
    api = torch_tensorrt()
    for runtime in RUNTIMES:
        if runtime in api.runtimes:
            passed = compile_arguments(api, config(runtime=runtime), "dynamo")
            assert ("use_python_runtime" in passed) == (len(api.runtimes) > 1)
            assert passed.get("use_python_runtime", runtime == "python") is (runtime == "python")
        else:
            with pytest.raises(Unsupported, match=rf"^runtime={runtime}: torch-tensorrt.* its {api.runtimes[0]} run"):
                compile_arguments(api, config(runtime=runtime), "dynamo")


@needs_tensorrt
def test_shared_caches_of_the_installed_package_are_files():
    api, signature = torch_tensorrt(), inspect.signature(loading.load().dynamo.compile)
    paths = api.cache_paths("dynamo")
    assert "timing_cache_path" in paths
    assert all(isinstance(signature.parameters[name].default, str) for name in paths)


def test_a_package_that_is_not_found_is_said_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SweepError, match=r"^torch_tensorrt is installed but not found: reinstall it"):
        torch_tensorrt.__wrapped__()
