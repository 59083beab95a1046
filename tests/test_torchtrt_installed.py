"""What is known of Torch-TensorRT's versions, held against the files of the wheels that are published."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs_tensorrt
from wheels import HAVE_RUNTIMES, NAMES, VERSIONS, config, every_version, every_wheel, frontends, written

from trt_sweep.backends.torchtrt import loading
from trt_sweep.backends.torchtrt.arguments import compile_arguments, with_defaults
from trt_sweep.backends.torchtrt.installed import FRONTENDS, InstalledTorchTensorRT, Parameter, torch_tensorrt
from trt_sweep.config.point import RUNTIMES, SPECIALIZATION
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.machine import versions as machine_versions
from trt_sweep.machine.versions import tensorrt_version

SIZES = {"dynamo": 5, "torch_compile": 5, "torchscript": 3, "fx": 10}
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
