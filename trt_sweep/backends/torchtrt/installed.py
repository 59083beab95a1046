"""Read what a version of Torch-TensorRT accepts, from the files of its package.

So any version can be looked at without being installed or imported.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trt_sweep.backends.torchtrt.argument_values import constant
from trt_sweep.errors import SweepError
from trt_sweep.machine import versions

# Where each frontend's compilation arguments stand: a function's parameters, or a dataclass's fields.
FRONTENDS = {
    "dynamo": ("dynamo/_compiler.py", "compile"),
    "torch_compile": ("dynamo/_settings.py", "CompilationSettings"),
    "torchscript": ("ts/_compiler.py", "compile"),
    "fx": ("fx/lower.py", "compile"),
}


@dataclass(frozen=True)
class Parameter:
    """Hold a compilation argument: its annotation as written ("" without one), and its default.

    A default that is no literal is its source text.
    """

    annotation: str
    default: Any = None


@dataclass(frozen=True)
class InstalledTorchTensorRT:
    """Hold one Torch-TensorRT: its package's folder, its flavour, and the version of the TensorRT beside it."""

    package: Path
    rtx: bool
    tensorrt: str | None = None

    @functools.cached_property
    def version(self) -> tuple[int, ...]:
        """Return major and minor version."""
        found = re.search(r'__version__ = "(\d+)\.(\d+)', (self.package / "_version.py").read_text(encoding="utf-8"))
        assert found is not None
        return int(found[1]), int(found[2])

    @property
    def name(self) -> str:
        """Return the package's name with its version, for messages."""
        return "torch-tensorrt" + "-rtx" * self.rtx + " " + ".".join(map(str, self.version))

    def has(self, frontend: str) -> bool:
        """Return whether a frontend is there: RTX has no FX, and TorchScript needs the C++ library."""
        if frontend == "fx" and self.rtx:
            return False
        if frontend == "torchscript" and not (self.package / "lib/libtorchtrt.so").is_file():
            return False
        return (self.package / FRONTENDS[frontend][0]).is_file()

    @functools.cache  # noqa: B019  (one InstalledTorchTensorRT a process)
    def parameters(self, frontend: str) -> dict[str, Parameter]:
        """Return the compilation arguments of a frontend, by name; raise SweepError where they are not found."""
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
                value, literal = constant(default), True
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
        """Return the runtimes that can be asked for, the default first.

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
        """Return whether RTX's cache, specialization strategy and CUDA graphs are set on the module (2.13 on)."""
        return self.rtx and (self.package / "runtime/_runtime_config.py").is_file()

    def cache_paths(self, frontend: str) -> list[str]:
        """Return the arguments that name a cache file which builds share by default."""
        return [name for name in ("timing_cache_path", "runtime_cache_path") if name in self.parameters(frontend)]


@functools.cache
def torch_tensorrt() -> InstalledTorchTensorRT:
    """Return the installed Torch-TensorRT; raise SweepError where its package is not found. It is not imported."""
    spec = importlib.util.find_spec("torch_tensorrt")
    if spec is None or not spec.submodule_search_locations:
        raise SweepError("torch_tensorrt is installed but not found: reinstall it, pip install --force-reinstall")
    rtx = versions.flavor() == "rtx"
    return InstalledTorchTensorRT(Path(spec.submodule_search_locations[0]), rtx, versions.tensorrt_version())
