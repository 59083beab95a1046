"""The groups of settings beside the axes: measure, accuracy, limits, and so on. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from trt_sweep.config.checks import flat, later, require_choice, require_target
from trt_sweep.errors import require

QUANTIZED = ("int8", "fp8", "int4")  # by quantization.method
AUTOCAST = {"autocast_fp16": "fp16", "autocast_bf16": "bf16"}  # a model in FP32, and what autocast computes in
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", *AUTOCAST, *QUANTIZED)
TORCHSCRIPT_MODES = ("trace", "script")
ISOLATIONS = ("worker", "job", "none")
FEWEST_VISITS = 6  # an interval of 95 % needs as many
AUTOCAST_REL_L2 = {"autocast_fp16": 2e-2, "autocast_bf16": 1e-1}
INDUCTOR_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass
class MeasureConfig:
    """Say how a point is timed.

    Each point is visited `visits` times, in turn with the others. Calls that count take `max_s` seconds over all of its
    visits; those of the first `settle_s` seconds of a visit do not count. A point is warmed up once, after its build:
    for at least `warmup_s` seconds, and until calls have stopped changing or `warmup_max_s` is over. `rebuilds` builds
    are made and timed. `cudnn_choices` is how often cuDNN chooses its algorithms for eager, of which the fastest choice
    is timed. `cold_cache` flushes the GPU's L2 cache before each call.
    """

    visits: int = 48
    max_s: float = 1.2
    settle_s: float = 0.015
    warmup_s: float = 0.25
    warmup_max_s: float = 5.0
    rebuilds: int = 1
    cudnn_choices: int = 3
    cold_cache: bool = False

    def __post_init__(self) -> None:
        fewest = f"an integer of at least {FEWEST_VISITS}, the fewest that give an interval"
        require(self.visits >= FEWEST_VISITS, "measure.visits", self.visits, fewest)
        require(0 < self.max_s < math.inf, "measure.max_s", self.max_s, "seconds above 0")
        for name in ("settle_s", "warmup_s", "warmup_max_s"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"measure.{name}", value, "seconds of at least 0")
        most = f"at most measure.warmup_max_s={self.warmup_max_s:g}"
        require(self.warmup_s <= self.warmup_max_s, "measure.warmup_s", self.warmup_s, most)
        for name in ("rebuilds", "cudnn_choices"):
            value = getattr(self, name)
            require(value >= 1, f"measure.{name}", value, "an integer of at least 1")

    def visits_of(self, call_s: float) -> int:
        """Return how often a point is visited whose call takes so many seconds: 0 where one call is over `max_s`.

        A visit of a slow call takes longer than its share, so that there are fewer.
        """
        if call_s > self.max_s:
            return 0
        return min(self.visits, max(FEWEST_VISITS, int(self.max_s / call_s)))


@dataclass
class AccuracyConfig:
    """Say what counts as accurate, and what else is asked of the outputs.

    `rel_l2` is the largest relative L2 error against the FP32 eager reference, by precision. `outputs` are the outputs
    that are judged, all where it is empty; `output_rel_l2` gives some a tolerance of their own, in every precision.
    Both name an output as outputs.json does, by the start of its name (`hidden` for hidden.0 and hidden.1), or by a
    pattern. `evaluate` names a function of one's own (`_target_` and its arguments) that is called with the compiled
    model and the device and gives a number, see `evaluation`. `probe` holds patterns of inner modules whose outputs are
    compared as well, in eager.
    """

    rel_l2: dict[str, float] = field(
        default_factory=lambda: {
            **{"fp32": 1e-3, "tf32": 1e-2, "fp16": 2e-2, "bf16": 1e-1},
            **{"int8": 1e-1, "fp8": 2e-1, "int4": 3e-1},
            **AUTOCAST_REL_L2,
        },
        metadata={"later_keys": AUTOCAST_REL_L2},
    )
    evaluate: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = later([])
    output_rel_l2: dict[Any, Any] = later({})
    probe: list[str] = later([])

    def __post_init__(self) -> None:
        self.output_rel_l2 = dict(flat(self.output_rel_l2))  # +accuracy.output_rel_l2.hidden.0=… nests two
        for name, value in self.output_rel_l2.items():
            ok = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            require(ok, f"accuracy.output_rel_l2.{name}", value, "a number above 0")
        require(
            set(self.rel_l2) >= set(PRECISIONS) - set(AUTOCAST),
            "accuracy.rel_l2",
            self.rel_l2,
            "a tolerance for each of " + ", ".join(PRECISIONS),
        )
        self.rel_l2 = AUTOCAST_REL_L2 | self.rel_l2  # older configurations have none
        for precision, value in self.rel_l2.items():
            require(value > 0, f"accuracy.rel_l2.{precision}", value, "a number above 0")
        require_target("accuracy.evaluate", self.evaluate)


@dataclass
class QuantizationConfig:
    """Say how a model comes to precision int8, fp8 or int4; not used in the others.

    `method` is a file of `trt_sweep.models.quantization`. Methods that look at data are given `samples` of them: from
    `calibration`, which names (`_target_` and its arguments) an iterable of batches for the model (tensors, tuples or
    dicts of them), or else random ones like the model's inputs. `skip` holds patterns of modules that are left as they
    are, with all that is in them: `fc`, `layer4.*`.
    """

    method: str | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    samples: int = 64
    skip: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_target("quantization.calibration", self.calibration)
        require(self.samples >= 1, "quantization.samples", self.samples, "an integer of at least 1")


@dataclass
class TorchScriptConfig:
    """Say how backend=torchscript and backend=jit come to a TorchScript module."""

    mode: str = "trace"

    def __post_init__(self) -> None:
        require_choice("torchscript.mode", self.mode, TORCHSCRIPT_MODES)


@dataclass
class InductorConfig:
    """Name torch.compile's mode, for backend=inductor and backend=aot_inductor."""

    mode: str = "default"

    def __post_init__(self) -> None:
        require_choice("inductor.mode", self.mode, INDUCTOR_MODES)


@dataclass
class LimitsConfig:
    """Limit the seconds that a point may take, null for any time; they count once its process is ready.

    `export_s` is for torch.export, tracing and the partition, `build_s` for the build, `timing_s` for each visit
    with its warm-up, `total_s` for all of the point. Waiting for the GPU's lock does not count.
    """

    export_s: float | None = 600
    build_s: float | None = 3600
    timing_s: float | None = 300
    total_s: float | None = 7200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value is None or 0 < value < math.inf, f"limits.{name}", value, "seconds above 0, or null for none")


@dataclass
class IsolationConfig:
    """Say where points run: `mode` worker (a child process for many), job (one for each build) or none (this process).

    A worker is replaced after `max_jobs` builds, and earlier where it crashed, hung or kept memory.
    """

    mode: str = "worker"
    max_jobs: int = 50

    def __post_init__(self) -> None:
        require_choice("isolation.mode", self.mode, ISOLATIONS)
        require(self.max_jobs >= 1, "isolation.max_jobs", self.max_jobs, "an integer of at least 1")
