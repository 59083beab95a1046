"""Write the help of the command as a whole: its verbs, the axes of a sweep, and the sweeps that are ready to run."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from trt_sweep import models
from trt_sweep.app.verbs import VERBS
from trt_sweep.config.compose import CONF
from trt_sweep.config.groups import INDUCTOR_MODES, PRECISIONS, TORCHSCRIPT_MODES
from trt_sweep.config.options import GPU, OBJECTIVES
from trt_sweep.config.point import (
    AUTO,
    CACHES,
    MOST_STREAMS,
    PROFILING_VERBOSITIES,
    RUNTIME_CACHES,
    RUNTIMES,
    SPECIALIZATION,
    SPECIALIZATIONS,
    PointConfig,
)
from trt_sweep.results.axes import Axes

WIDTH, FIRST = 80, 22  # columns in all, and of names
USAGE = """\
trt-sweep finds out which Torch-TensorRT settings to use for a model on this
GPU, and what each of them buys. It does the same as `python -m trt_sweep`.

  trt-sweep -m NAME=VALUE,VALUE …    sweep: all combinations of these values
  trt-sweep NAME=VALUE …             run one point
  trt-sweep VERB …                   do something else, see below

Start with  trt-sweep -m optimization_level=0,3,5
Add plan=true to see first what a sweep would do. Without a GPU a sweep builds
nothing, and only tells which engines there would be.
"""
MORE = (
    ("--cfg job", "print the configuration that the overrides make"),
    ("--info", "print where the configuration comes from"),
    ("--hydra-help", "print Hydra's own options"),
    ("VERB --help", "print what a verb takes"),
    ("--version", "print the version of trt_sweep"),
)


def text() -> str:
    """Return the help, in lines of at most 80 columns."""
    parts = [
        USAGE,
        "Verbs\n" + "".join(f"  {verb.name:<13}{verb.meaning}\n{'':15}trt-sweep {verb.example}\n" for verb in VERBS),
        "What can be swept; null is the library's default\n" + _entries(axes()),
        "How a sweep goes\n" + _entries(settings()),
        "Sweeps that are ready to run, as in  trt-sweep -m +sweep=nightly\n" + _entries(sweeps()),
        "To see more\n" + _entries(MORE),
    ]
    return "\n".join(parts).rstrip()


def axes() -> list[tuple[str, str]]:
    """Return each axis with its meaning and values."""
    found = [
        (
            "model",
            f"the model: {_one_of(names('model'))}; others of torchvision, timm and so on: model=timm model.name=NAME",
        ),
        ("backend", f"how the model is compiled: {_one_of(names('backend'))}; eager is plain PyTorch"),
        (
            "precision",
            f"what the model computes in: {_one_of((*PRECISIONS, AUTO))}; int8, fp8, int4 need quantization.method",
        ),
        (
            "keep_fp32",
            "modules that stay in FP32: patterns of their names; 'keep_fp32=[],[*.norm?]' compares none with these",
        ),
        ("quantization.method", f"how a model is quantized: {_one_of(methods())}, or null"),
        ("batch_size", "how many samples a call has; [min,opt,max] builds for a range of sizes"),
        ("time_at", "the sizes of a range that are timed: [1,8]; of several ranges [{batch: 1, seq: 128}]"),
        ("min_block_size", "the fewest operators that make an engine: 1 or more"),
        ("optimization_level", "how long TensorRT searches for fast kernels: 0 (short) to 5 (long)"),
        ("runtime", f"which runtime of Torch-TensorRT runs the engines: {_one_of(RUNTIMES)}"),
        ("cuda_graphs", "whether calls are replayed as CUDA graphs: true or false"),
        ("streams", f"how many threads call at the same time, each on a CUDA stream: 1 to {MOST_STREAMS}"),
        ("transfers", "whether calls copy inputs to the GPU and outputs back: true or false"),
        ("device", "where points run: auto, cpu, cuda or cuda:N"),
        ("torchscript.mode", f"for backend=torchscript and jit: {_one_of(TORCHSCRIPT_MODES)}"),
        ("inductor.mode", f"for backend=inductor and aot_inductor: {_one_of(INDUCTOR_MODES)}"),
        ("profiling_verbosity", f"what an engine tells of its layers: {_one_of(PROFILING_VERBOSITIES)}"),
        ("runtime_cache", f"TensorRT-RTX's cache of kernels when the first call comes: {_one_of(RUNTIME_CACHES)}"),
        (SPECIALIZATION, f"when TensorRT-RTX compiles kernels for a size that it meets: {_one_of(SPECIALIZATIONS)}"),
        ("cache", f"TensorRT's timing cache when a build begins: {_one_of(CACHES)}"),
        ("cache_snapshot", "the file that cache=frozen starts from"),
    ]
    return [
        *found,
        *_further({name.partition(".")[0] for name, _ in [*found, *settings()]}),
        ("model.factory.NAME", "an argument of the model's factory; +model.factory.NAME where its file has none"),
        ("compile.NAME", "any other compilation argument of the installed Torch-TensorRT"),
    ]


def _further(known: set[str]) -> list[tuple[str, str]]:
    """Return the axes that are not `known` here, with the words of their columns."""
    settable = {item.name for item in fields(PointConfig)} - known - {"compile"}
    said = {item.name: str(item.metadata["description"]) for item in fields(Axes) if "axis" in item.metadata}
    return [(name, meaning) for name, meaning in said.items() if name in settable]


def settings() -> list[tuple[str, str]]:
    """Return each setting at the root that is not swept as a rule, with its meaning and values."""
    return [
        ("dryrun", "only plan engines, build and time nothing: true or false"),
        ("plan", "show what the sweep would do, and do no more: true or false"),
        ("profile", "look into the engines of each point: true or false"),
        ("baselines", "add points in plain PyTorch to compare with: true or false"),
        ("resume", "go on with the sweep in this folder"),
        ("retry", "with resume: which points run again, by their status: [crashed,timeout]"),
        ("allow_changed", "with resume: go on although versions or the GPU have changed: true or false"),
        ("reuse", "build only once what several points need: true or false"),
        ("cache_dir", "a folder that keeps built engines for other sweeps"),
        ("build_workers", "how many processes build the next points ahead: 0 or more"),
        ("objective", f"what is best, for the answer and for sweepers such as Optuna: {_one_of(OBJECTIVES)}; {GPU}"),
        ("isolation", "which process points run in: worker (one for all), job (one for each), none (this one)"),
        ("measure.NAME", "how points are timed, such as measure.visits=48; --cfg job shows all"),
        ("accuracy.NAME", "what counts as accurate; --cfg job shows all"),
        ("limits.NAME", "how many seconds each step of a point may take; --cfg job shows all"),
        ("--config-dir DIR", "a folder with models and sweeps of your own"),
    ]


def sweeps() -> list[tuple[str, str]]:
    """Return each sweep of conf/sweep with the first line of its comment."""
    found = []
    for path in sorted((CONF / "sweep").glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        said = (line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line)
        found.append((path.stem, next(said, "")))
    return found


def names(group: str) -> list[str]:
    """Return the names that a group of configurations has in conf/."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "torchvision")


def methods() -> list[str]:
    """Return the names of the ways to quantize, each a file, without importing one."""
    folder = Path(models.__file__).parent / "quantization" / "methods"
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def _one_of(values: Iterable[str]) -> str:
    return ", ".join(values)


def _entries(entries: Iterable[tuple[str, str]]) -> str:
    """Return a line for each entry, wrapped beside its name, or below a name that is too long."""
    indent = " " * (FIRST + 2)
    lines = []
    for name, meaning in entries:
        fits = len(name) < FIRST
        lines += [] if fits else [f"  {name}"]
        first = f"  {name:<{FIRST}}" if fits else indent
        wrapped = textwrap.wrap(meaning, WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
        lines += wrapped
    return "\n".join(lines) + "\n"
