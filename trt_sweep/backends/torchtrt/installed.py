"""All that is known of Torch-TensorRT's versions: what each accepts, what it ignores, what it cannot do.

Read from the package's files, so that any version can be looked at without being installed or imported.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trt_sweep.backends.tensorrt import timing_cache
from trt_sweep.backends.torchtrt.argument_values import _constant, _converted
from trt_sweep.backends.torchtrt.arguments import FIXED, OURS
from trt_sweep.config.point import SPECIALIZATION
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.machine import versions

# The axes that the frontends dynamo and torch_compile use.
AXES = frozenset(
    {
        *("min_block_size", "optimization_level", "runtime", "runtime_cache", SPECIALIZATION),
        *("cache", "cache_snapshot", "profiling_verbosity", "compile"),
    }
)

# Where each frontend's compilation arguments stand: a function's parameters, or a dataclass's fields.
FRONTENDS = {
    "dynamo": ("dynamo/_compiler.py", "compile"),
    "torch_compile": ("dynamo/_settings.py", "CompilationSettings"),
    "torchscript": ("ts/_compiler.py", "compile"),
    "fx": ("fx/lower.py", "compile"),
}


@dataclass(frozen=True)
class Parameter:
    """A compilation argument: its annotation as written ("" without one), and its default.

    A default that is no literal is its source text.
    """

    annotation: str
    default: Any = None


@dataclass(frozen=True)
class InstalledTorchTensorRT:
    """One Torch-TensorRT: the folder of its package, its flavour, and the version of the TensorRT beside it."""

    package: Path
    rtx: bool
    tensorrt: str | None = None

    @functools.cached_property
    def version(self) -> tuple[int, ...]:
        found = re.search(r'__version__ = "(\d+)\.(\d+)', (self.package / "_version.py").read_text(encoding="utf-8"))
        assert found is not None
        return int(found[1]), int(found[2])

    @property
    def name(self) -> str:
        return "torch-tensorrt" + "-rtx" * self.rtx + " " + ".".join(map(str, self.version))

    def has(self, frontend: str) -> bool:
        """Whether a frontend is there: RTX has no FX, and TorchScript needs the C++ library."""
        if frontend == "fx" and self.rtx:
            return False
        if frontend == "torchscript" and not (self.package / "lib/libtorchtrt.so").is_file():
            return False
        return (self.package / FRONTENDS[frontend][0]).is_file()

    @functools.cache  # noqa: B019  (one InstalledTorchTensorRT a process)
    def parameters(self, frontend: str) -> dict[str, Parameter]:
        """The compilation arguments of a frontend, by name."""
        file, name = FRONTENDS[frontend]
        tree = ast.parse((self.package / file).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                arguments = [*node.args.posonlyargs, *node.args.args]
                defaults = [None] * (len(arguments) - len(node.args.defaults)) + list(node.args.defaults)
                pairs = [
                    *zip(arguments, defaults, strict=True),
                    *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
                ]
                return {item.arg: self._parameter(item.annotation, default) for item, default in pairs}
            if isinstance(node, ast.ClassDef) and node.name == name:
                fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
                return {ast.unparse(item.target): self._parameter(item.annotation, item.value) for item in fields}
        raise SweepError(f"{self.name}: {file} has no {name}; use a version from 2.11 to 2.14")

    def _parameter(self, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
        if isinstance(default, ast.Attribute | ast.Name):
            name = default.attr if isinstance(default, ast.Attribute) else default.id
            default = self._defaults.get(name, default)
        value, literal = None, default is None
        if default is not None:
            try:
                value, literal = _constant(default), True
            except ValueError:
                value = ast.unparse(default)
        known = literal and value is not None
        return Parameter(ast.unparse(annotation) if annotation else type(value).__name__ if known else "", value)

    @functools.cached_property
    def _defaults(self) -> dict[str, ast.expr]:
        tree = ast.parse((self.package / "dynamo/_defaults.py").read_text(encoding="utf-8"))
        assigned = (node for node in tree.body if isinstance(node, ast.Assign))
        return {ast.unparse(node.targets[0]): node.value for node in assigned}

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes that can be asked for, the default first.

        Up to 2.12 there are two modules, and `use_python_runtime` chooses. From 2.13 on they are one, which runs
        engines through the C++ library where that is there and in Python where it is not.
        """
        libraries = ("lib/libtorchtrt.so", "lib/libtorchtrt_runtime.so")
        have_cpp = any((self.package / library).is_file() for library in libraries)
        if not have_cpp:
            return ("python",)
        two = (self.package / "dynamo/runtime/_PythonTorchTensorRTModule.py").is_file()
        return ("cpp", "python") if two else ("cpp",)

    @property
    def runtime_settings(self) -> bool:
        """Whether RTX's runtime cache, specialization strategy and CUDA graphs are set on the module (2.13 on)."""
        return self.rtx and (self.package / "runtime/_runtime_config.py").is_file()

    def effective(self, config: SweepConfig, frontend: str) -> SweepConfig:
        """Fill in the defaults; raises SweepError for a `compile.NAME` that this version does not take."""
        for name, value in config.compile.items():
            self._argument(frontend, name, value)
        size = config.min_block_size
        if size is None:
            own = "min_acc_module_size" if frontend == "fx" else "min_block_size"
            size = int(self.parameters(frontend)[own].default)
        if frontend not in ("dynamo", "torch_compile"):
            return dataclasses.replace(config, min_block_size=size)
        runtime, cache = config.runtime or self.runtimes[0], config.runtime_cache
        if runtime == "python" and self.rtx and "runtime_cache_path" in self.parameters(frontend):
            cache = cache or "cold"  # it has one always, and trt_sweep gives it an empty file
        return dataclasses.replace(config, min_block_size=size, runtime=runtime, runtime_cache=cache)

    def arguments(self, config: SweepConfig, frontend: str) -> dict[str, Any]:
        """Keyword arguments for a point; raises Unsupported where this version cannot do what it asks for."""
        further = {name: self._argument(frontend, name, value) for name, value in config.compile.items()}
        if frontend == "torchscript":
            return {"min_block_size": config.min_block_size, "disable_tf32": config.precision != "tf32", **further}
        if frontend == "fx":
            return {"min_acc_module_size": config.min_block_size, "explicit_batch_dimension": True, **further}
        timing_cache.require(config)
        passed: dict[str, Any] = {
            "disable_tf32": config.precision != "tf32",
            "min_block_size": config.min_block_size,
            "optimization_level": config.optimization_level,
            "cache_built_engines": False,
            "reuse_cached_engines": False,
            **self._runtime(config),
            **self._rtx_runtime(config, frontend),
            **further,
        }
        return {name: value for name, value in passed.items() if value is not None}

    def _runtime(self, config: SweepConfig) -> dict[str, Any]:
        if config.runtime is None or config.runtime in self.runtimes:
            return {"use_python_runtime": config.runtime == "python"} if len(self.runtimes) > 1 else {}
        raise Unsupported(
            f"runtime={config.runtime}: {self.name} runs engines in its {self.runtimes[0]} runtime only; leave "
            "runtime out"
        )

    def _rtx_runtime(self, config: SweepConfig, frontend: str) -> dict[str, Any]:
        """2.12's arguments for RTX's runtime, which its Python runtime alone obeys; 2.13 has `runtime_settings`."""
        for name in ("runtime_cache", SPECIALIZATION):
            value = getattr(config, name)
            if value is None or self.runtime_settings:
                continue
            if not self.rtx:
                raise Unsupported(f"{name}={value}: only TensorRT-RTX has it, and this is {self.name}")
            if "runtime_cache_path" not in self.parameters(frontend):
                raise Unsupported(
                    f"{name}={value}: {self.name} has no such setting; 2.12 and later have it, and backend=onnx"
                )
            if config.runtime != "python":
                raise Unsupported(f"{name}={value}: {self.name} has it in its Python runtime only: add runtime=python")
            if value == "warm":
                raise Unsupported(
                    f"{name}={value}: {self.name} saves its cache only when a module goes away; 2.13 and later can do "
                    "it, and backend=onnx"
                )
        strategy = getattr(config, SPECIALIZATION)
        return {} if strategy is None or self.runtime_settings else {SPECIALIZATION: strategy}

    def ignored(self, config: SweepConfig, frontend: str) -> list[str]:
        """What is accepted without effect, as far as that was measured or read.

        TensorRT-RTX builds byte-identical engines at every optimization level. Its release 1.4 computes FP32 in TF32
        whether `disable_tf32` is set or not: on an H200 the outputs of resnet18, of one convolution and of one linear
        layer were equal to the last bit, 3e-4 away from eager without TF32; through ONNX, resnet18 likewise. The rest
        was read: arguments that a frontend takes and reads nowhere, or resets.
        """
        found = []
        if self.rtx and config.optimization_level is not None:
            found.append("optimization_level")
        always_tf32 = self.rtx and (self.tensorrt or "").startswith("1.4.")
        if always_tf32 and config.precision == "fp32" and frontend != "torchscript":
            found.append("disable_tf32")
        refitted = {"strip_engine_weights", "refit_identical_engine_weights"}
        nowhere = {
            "dynamo": {"torch_executed_modules"},
            "torch_compile": {"require_full_compilation", "offload_module_to_cpu", "strip_engine_weights"},
        }.get(frontend, set())
        if config.compile.get("immutable_weights", True):
            nowhere = nowhere | refitted
        return found + [f"compile.{name}" for name in config.compile if name in nowhere]

    def cache_paths(self, frontend: str) -> list[str]:
        """The arguments that name a cache file which builds share by default."""
        return [name for name in ("timing_cache_path", "runtime_cache_path") if name in self.parameters(frontend)]

    def _argument(self, frontend: str, name: str, value: Any) -> Any:
        known = self.parameters(frontend)
        if name in FIXED:
            raise SweepError(f"compile.{name} is not a setting here: {FIXED[name]}; leave it out")
        ours = dict.fromkeys(AXES) | OURS
        if name in ours:
            raise SweepError(f"compile.{name} is set by trt_sweep: use {ours[name] or name} instead")
        if name not in known:
            free = sorted(set(known) - set(ours) - set(FIXED))
            near = get_close_matches(name, free, 3, 0.5)
            raise SweepError(
                f"compile.{name} is not known to {self.name} ({frontend}): "
                + (f"did you mean {' or '.join(near)}?" if near else "use one of " + ", ".join(free))
            )
        return _converted(f"compile.{name}", value, known[name].annotation)


@functools.cache
def torch_tensorrt() -> InstalledTorchTensorRT:
    """The Torch-TensorRT that is installed; its package is found, not imported."""
    spec = importlib.util.find_spec("torch_tensorrt")
    if spec is None or not spec.submodule_search_locations:
        raise SweepError("torch_tensorrt is installed but not found: reinstall it, pip install --force-reinstall")
    rtx = versions.flavor() == "rtx"
    return InstalledTorchTensorRT(Path(spec.submodule_search_locations[0]), rtx, versions.tensorrt_version())
