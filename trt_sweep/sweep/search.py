"""Choose what a race tries: the most promising settings, what is one step from them, and so on from the best so far."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from trt_sweep.config.point import SPECIALIZATION
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.points.point import Preview

Settings = dict[str, str]  # the value of each axis, as an override has it; "" leaves the axis alone
WAVE_VISITS = 48
FRONTENDS = ("dynamo", "fx", "torch_compile", "torchscript")  # of Torch-TensorRT
BUILDERS = ("dynamo", "onnx", "torch_compile")  # whose engines are set up as we say
OF_BACKENDS = {  # who uses an axis that not every backend does: as their `AXES` say, which import torch
    **dict.fromkeys(("min_block_size", "compile"), FRONTENDS),
    **dict.fromkeys(("optimization_level", "runtime_cache", SPECIALIZATION), BUILDERS),
    **dict.fromkeys(("cache", "cache_snapshot", "profiling_verbosity"), BUILDERS),
    "runtime": ("dynamo", "torch_compile"),
    "torchscript": ("jit", "torchscript"),
    "inductor": ("aot_inductor", "inductor"),
    "quantization": ("dynamo", "eager"),
}
MOST_PARTITIONS = 3  # beside the library's default


def axes(*, gpu: bool, flavor: str | None, quantize: bool = True) -> dict[str, list[str]]:
    """Return what can matter on this machine: for each axis its values, the most promising first.

    A value may bring another setting along, as a quantization method goes with its precision.
    """
    if not gpu:
        return {
            "backend": ["inductor", "jit", "eager"],
            "precision": ["fp32", "bf16"],
            "inductor.mode": ["", "max-autotune-no-cudagraphs"],
        }
    if flavor is None:
        graphs = {"backend": ["inductor", "jit", "eager"], "precision": ["fp16", "bf16", "tf32", "fp32"]}
        return graphs | {"cuda_graphs": ["true", "false"], "inductor.mode": ["", "max-autotune-no-cudagraphs"]}
    standard = flavor == "standard"
    methods = [f"modelopt_{kind}_default" for kind in ("fp8", "int8") if importlib.util.find_spec("modelopt")]
    methods += ["tensorrt_int8_calibrator"] * standard
    quantized = [f"auto quantization.method={name}" for name in methods if quantize]
    found = {
        "backend": ["dynamo", "torch_compile", "inductor"],
        "precision": ["fp16", "bf16", *quantized, "tf32", "fp32"],
        "cuda_graphs": ["true", "false"],
        "min_block_size": [""],
    }
    if standard:  # TensorRT-RTX has no use for either
        found |= {"optimization_level": ["", "5"], "+compile.tiling_optimization_level": ["", "moderate"]}
    return found


def applies(axis: str, backend: str) -> bool:
    """Return whether a backend uses an axis, which may be given with a plus."""
    return backend in OF_BACKENDS.get(axis.lstrip("+").partition(".")[0], (backend,))


def partitions(engine_ops: Collection[int]) -> list[str]:
    """Return values of min_block_size that lead to partitions of their own.

    `engine_ops` are the operators of each engine at min_block_size=1. The first value keeps all engines, the last one
    the largest alone.
    """
    sizes = sorted(set(engine_ops))
    steps = [1, *(size + 1 for size in sizes[:-1])]
    few = min(len(steps), MOST_PARTITIONS)
    places = {round(place * (len(steps) - 1) / max(few - 1, 1)) for place in range(few)}
    return [str(steps[place]) for place in sorted(places)]


@dataclass
class Search:
    """Propose settings wave by wave.

    The first wave is the first value of each axis together, and each other value with the first ones of all other
    axes. Each later wave is what is one step from the best so far, its center. A value that was no help when it was a
    single step from the center is not tried again with others. `configure` makes a configuration of settings. `backend`
    is the one of all settings, where that is no axis.
    """

    axes: dict[str, list[str]]
    configure: Callable[[Settings], SweepConfig]
    backend: str = ""
    tried: dict[int, Settings] = field(default_factory=dict)  # by the number of the job
    useless: set[tuple[str, str]] = field(default_factory=set)
    _center: Settings = field(default_factory=dict)

    @property
    def enough_visits(self) -> float:
        """Return how often, on average, the points of the last wave are visited before the search goes on."""
        return WAVE_VISITS

    @property
    def combinations(self) -> int:
        """Return how many settings there are in all; values of an axis that the backend does not use are one."""
        sizes = {axis: len({*values}) for axis, values in self.axes.items() if axis != "backend"}
        backends = {*self.axes.get("backend", [self.backend])}
        return sum(math.prod(size for axis, size in sizes.items() if applies(axis, one)) for one in backends)

    def first(self) -> dict[int, SweepConfig]:
        """Return the first wave, by the number of the job."""
        return self._around({axis: values[0] for axis, values in self.axes.items()})

    def ask(self, preview: Callable[[SweepConfig], Preview]) -> None:
        """Ask how the most promising settings are partitioned, where that is an axis, and add values for it."""
        values = self.axes.get("min_block_size")
        if values != [""]:
            return
        center = {axis: each[0] for axis, each in self.axes.items()} | {"min_block_size": "1"}
        for backend in self.axes.get("backend", [""]):  # not every one has a partition
            sizes = preview(self.configure(center | {"backend": backend} if backend else center)).partition.engine_ops
            if sizes:
                self.axes["min_block_size"] = ["", *partitions(sizes)]
                return

    def is_center(self, jobs: Collection[int]) -> bool:
        """Return whether these jobs have the settings that the last wave was around."""
        return any(self.tried[job] == self._center for job in jobs)

    def next(self, best: int | None, out: Collection[int]) -> dict[int, SweepConfig]:
        """Return what is one step from the job that is best so far; nothing where all of that was tried.

        `out` are the jobs that were no help.
        """
        for job in out:
            steps = [item for item in self.tried[job].items() if item[1] != self._center.get(item[0])]
            if len(steps) == 1:
                self.useless.add(steps[0])
        return {} if best is None else self._around(self.tried[best])

    def _around(self, center: Settings) -> dict[int, SweepConfig]:
        self._center = center
        steps = [(axis, value) for axis, values in self.axes.items() for value in values]
        return self._new(
            [center, *(center | {axis: value} for axis, value in steps if (axis, value) not in self.useless)]
        )

    def _new(self, wave: list[Settings]) -> dict[int, SweepConfig]:
        """Return configurations of the settings that were not tried yet, by the number of the job."""
        found = {}
        for settings in wave:
            if settings not in self.tried.values():
                number = len(self.tried)
                self.tried[number] = settings
                found[number] = self.configure(settings)
        return found


def overrides(settings: Mapping[str, str]) -> list[str]:
    """Return settings as overrides of the command line."""
    return [part for axis, value in settings.items() if value for part in f"{axis}={value}".split(" ")]
