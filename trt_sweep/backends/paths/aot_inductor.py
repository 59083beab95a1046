"""Compile by torch.export and AOTInductor into a .pt2 package, then load and run that."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
import zipfile

import torch
from torch._inductor import cpp_builder
from torch._inductor.package.package import load_package

from trt_sweep.backends.base import BuildContext, Compiled, binding, captured, putting_back
from trt_sweep.backends.paths import _inductor
from trt_sweep.config.point import PointConfig
from trt_sweep.models import tracing
from trt_sweep.models.model import Model
from trt_sweep.results.columns import Build

AXES = frozenset({"inductor"})
TENSORRT = False
DYNAMIC = True
STORED = False
CPP_LIBRARY = b"libstdc++.so"  # named by what is linked to PyTorch's; two of them in a process do not agree
REPRODUCTION = """
$export
package = torch._inductor.aoti_compile_and_package(program$autotune)
compiled = torch._inductor.aoti_load_package(package, run_single_threaded=True)
$capture
with torch.inference_mode()$stream:
    output = compiled(*args$kwargs)
"""


def effective(config: PointConfig) -> PointConfig:
    """Return the configuration with mode and CUDA graphs that agree; raise SweepError without a C++ compiler."""
    _inductor.require_cpp_compiler("backend=aot_inductor")
    return _inductor.effective_inductor(config)


def compile(model: Model, context: BuildContext) -> Compiled:
    """Export, compile into a package in the point's folder, load that; CUDA graphs are captured around the call."""
    mode = context.config.inductor.mode
    context.phase("export")
    cast = model.to(context.dtype)
    start = time.perf_counter()
    program = tracing.export(cast)
    whole = tracing.tensors_only(program)
    build = Build(export_s=time.perf_counter() - start, cuda_graphs_method=captured(context))
    context.keep(Compiled(None, build))
    context.phase("build")
    package = context.folder / "model.pt2"
    start = time.perf_counter()
    path = torch._inductor.aoti_compile_and_package(
        program,
        package_path=str(package),
        inductor_configs={"max_autotune": mode.startswith("max-autotune")},
    )
    build_s = time.perf_counter() - start
    require_loadable(path)
    context.stack.callback(package.unlink, missing_ok=True)  # as large as the weights

    def load() -> Compiled:
        # What several threads share waits for events, which CUDA cannot capture. So each loads the package.
        start = time.perf_counter()
        loaded = load_package(path, run_single_threaded=True)
        taken = dataclasses.replace(build, build_s=build_s, load_s=time.perf_counter() - start)
        return putting_back(Compiled(binding(loaded, context), taken), whole)

    return dataclasses.replace(load(), another=load)


def require_loadable(path: str) -> None:
    """Raise RuntimeError where loading the package, which is native code made just now, ends the process that does."""
    code = "import sys, torch; torch._inductor.aoti_load_package(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        what = f"a process that loads the package which AOTInductor built here ends with {name}"
        with zipfile.ZipFile(path) as archive:
            libraries = [archive.read(each) for each in archive.namelist() if each.endswith(".so")]
        if any(CPP_LIBRARY not in library for library in libraries):
            compiler = cpp_builder.get_cpp_compiler()
            what += f": {compiler} put a copy of the C++ library into it; set CXX to a compiler that links libstdc++.so"
        raise RuntimeError(what)
