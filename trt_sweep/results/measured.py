"""Name the columns of a record that hold what was measured: times, memory, health, accuracy, and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trt_sweep.results.columns import metric

UNTIMED = "the point was not timed"
ALONE = "each build was visited once only, or the point was not timed"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Say how long a call takes, by three clocks, with intervals of 95 %.

    That of `latency_ms` describes this run; that of `gpu_ms` is where another run of the same point is expected.
    """

    NULL: ClassVar[str] = UNTIMED

    clock: str | None = metric("What latency_ms was read from: cuda_events on a GPU, wall on a CPU.")
    timed_with: str | None = metric(
        "point_id of the point whose times these are. It runs the same engine in the same way, so one of the two was "
        "timed.",
        null="the times are the row's own",
    )
    rounds: int | None = metric("Number of visits of each build that count. A visit is a short time of calls.")
    builds: int | None = metric("Number of builds that were timed (measure.rebuilds).")
    distinct_engines: int | None = metric("How many different engine_id these builds have.", null="there is no engine")
    warmup_s: float | None = metric(
        "How long the point was called before its first visit, until calls took as long as before.", "s"
    )
    samples: int | None = metric("Number of calls that count for latency_ms.")
    visit_group: str | None = metric(
        "Name of the group of points that were visited in turn: their visits can be compared with each other."
    )
    anchor_id: str | None = metric(
        "point_id of the anchor: the point that each group of visits has in common. Points of two groups are compared "
        "through it.",
        null="the point was visited alone, or once only",
    )
    anchor_ms_visits: list[float] | None = metric(
        "Median time of the anchor's calls in each of its visits, in this group.", "ms", null="there is no anchor"
    )
    anchor_spread: float | None = metric(
        "How far another build of the anchor may lie from this one: a relative standard deviation.",
        "1",
        null="there is no anchor",
    )
    latency_ms: float | None = metric(
        "How long a call takes, as its caller sees it, while the host is fast: the lower quartile of the visits' "
        "medians. It is never below gpu_ms. With several streams it is that of a single call while all threads call.",
        "ms",
    )
    latency_ms_ci_low: float | None = metric("Lower end of the 95 % interval of latency_ms.", "ms", null=ALONE)
    latency_ms_ci_high: float | None = metric("Upper end of the 95 % interval of latency_ms.", "ms", null=ALONE)
    latency_ms_min: float | None = metric("Time of the fastest call.", "ms")
    latency_ms_mean: float | None = metric("Mean time of a call. Each visit counts the same.", "ms")
    latency_ms_std: float | None = metric("Standard deviation of a call's time.", "ms")
    latency_ms_p90: float | None = metric("90 of 100 calls take at most this long.", "ms")
    latency_ms_p99: float | None = metric("99 of 100 calls take at most this long.", "ms")
    latency_ms_visits: list[float] | None = metric("Median time of a call in each visit.", "ms", null=ALONE)
    host_slow_share: float | None = metric(
        "Share of visits in which the host was slow: a call took more than 1.2 times latency_ms.", "1"
    )
    host_slow_factor: float | None = metric(
        "How many times latency_ms a call took in these slow visits.", "1", null="there are none"
    )
    latency_ms_between_rounds: float | None = metric(
        "How much latency differs from visit to visit of one build: a relative standard deviation.", "1", null=ALONE
    )
    latency_ms_between_builds: float | None = metric(
        "How much latency differs from build to build: a relative standard deviation.",
        "1",
        null="one build was timed, or none",
    )
    gpu_ms: float | None = metric(
        "The GPU's own work in a call, without the gaps in which it waits for the host. With several streams it is "
        "that of one call alone. With transfers it includes the copies.",
        "ms",
        null="gpu_ms_reason says why, or the point was not timed on a GPU",
    )
    gpu_ms_ci_low: float | None = metric(
        "Lower end of the 95 % interval of gpu_ms.", "ms", null="nothing tells how gpu_ms scatters, or it is null"
    )
    gpu_ms_ci_high: float | None = metric(
        "Upper end of the 95 % interval of gpu_ms.", "ms", null="nothing tells how gpu_ms scatters, or it is null"
    )
    gpu_ms_method: str | None = metric(
        "How gpu_ms was timed: graph (the call replayed as one CUDA graph), or queued (calls issued while a kernel "
        "blocks the GPU). Compare rows of one method.",
        null="gpu_ms is null",
    )
    gpu_ms_reason: str | None = metric(
        "Why there is no gpu_ms, or why it was not timed by the method graph.", null="nothing stood in the way"
    )
    gpu_ms_between_rounds: float | None = metric(
        "How much gpu_ms differs from visit to visit. Only older records have it.", "1", null="the record is newer"
    )
    gpu_ms_between_builds: float | None = metric(
        "How much gpu_ms differs from build to build: a relative standard deviation.",
        "1",
        null="one build was timed, or none",
    )
    gpu_ms_between_captures: float | None = metric(
        "How much gpu_ms differs from one capture of the call as a CUDA graph to the next: a relative standard "
        "deviation. By the method queued, from visit to visit.",
        "1",
        null="there is one capture or none",
    )
    gpu_ms_captures: int | None = metric(
        "How often the call of each build was captured as a graph for gpu_ms. By the method queued, the number of "
        "visits.",
        null="gpu_ms is null",
    )
    gpu_ms_choices: list[float] | None = metric(
        "gpu_ms of each set of algorithms that cuDNN chose for eager. The fastest one was timed.",
        "ms",
        null="cuDNN had no choice",
    )
    enqueue_ms: float | None = metric("How long the host takes to issue a call, while the GPU's queue has room.", "ms")
    launch_bound: bool | None = metric(
        "Whether the host holds the GPU up: enqueue_ms is above 0.8 of gpu_ms.", null="either is null"
    )
    first_call_ms: float | None = metric(
        "Time of the first call after the build, with all that it compiles. What an earlier point of the process has "
        "compiled may not be compiled again: isolation=job gives each build a process of its own.",
        "ms",
        null="the row uses another point's build, or nothing was called",
    )
    throughput_per_s: float | None = metric(
        "Samples per second, while the host is fast: those of a visit's calls, by all threads, over its wall time.",
        "1/s",
    )
    throughput_per_s_ci_low: float | None = metric(
        "Lower end of the 95 % interval of throughput_per_s.", "1/s", null=f"{ALONE}, or the record is older"
    )
    throughput_per_s_ci_high: float | None = metric(
        "Upper end of the 95 % interval of throughput_per_s.", "1/s", null=f"{ALONE}, or the record is older"
    )
    item_ms_visits: list[float] | None = metric(
        "Wall time of each visit over the samples of all its calls.", "ms", null=f"{ALONE}, or the record is older"
    )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Say how much memory of the GPU this point alone would need; the worst of its builds."""

    NULL: ClassVar[str] = "the point did not run on a GPU, or the driver does not tell what this process takes"

    peak_gpu_bytes: int | None = metric(
        "Memory of the GPU that the point needs: weights, what TensorRT keeps for its engines, inputs, and the most "
        "that a call takes on top, CUDA graphs included. CUDA's own context, and what the first call takes to tune, do "
        "not count.",
        "B",
    )


@dataclass(frozen=True, kw_only=True)
class Health:
    """Say how the GPU was over all timed windows of the point, by NVML; null where a counter cannot be read."""

    NULL: ClassVar[str] = "the point was not timed on a GPU, or NVML does not tell"

    health: str | None = metric(
        "Whether the GPU was undisturbed in all visits: ok, or the worst of unstable (the clock moved, or calls still "
        "changed), shared (others computed on it) and throttled (clocks were held down)."
    )
    health_reason: str | None = metric(
        "The numbers behind a health that is not ok, or why there is none.", null="health is ok and nothing was missing"
    )
    remeasured: int | None = metric(
        "Number of visits that were timed again because the GPU was disturbed.", null=UNTIMED
    )
    sm_clock_mhz: float | None = metric("Median clock of the GPU's processors.", "MHz")
    memory_clock_mhz: float | None = metric("Median clock of the GPU's memory.", "MHz")
    temperature_c: float | None = metric("Highest temperature of the GPU.", "°C")
    power_w: float | None = metric("Median power draw of the board.", "W")
    throttle_reasons: list[str] | None = metric("Why the clocks were held down. Empty where they were not.")
    energy_mj_per_call: float | None = metric(
        "Energy that the board takes for a call.",
        "mJ",
        null="calls took less than a second in all, or the GPU has no such counter",
    )
    foreign_processes: int | None = metric("Most processes of others that computed on the GPU at a time.")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Say how far the output is from the FP32 eager reference's; the worst of the model's outputs."""

    NULL: ClassVar[str] = "no output was compared"

    reference_spread: float | None = metric(
        "How far other random inputs move the reference's output, relative. An error of this size proves little.",
        null="other inputs move no output, or none was compared",
    )
    finite: bool | None = metric("Whether every output is finite where the reference's is.")
    rel_l2_error: float | None = metric(
        "Relative error of the output: ‖output − reference‖ / ‖reference‖, of the worst output. The reference is eager "
        "PyTorch in fp32.",
        null="no output of numbers was compared",
    )
    max_abs_error: float | None = metric("Largest absolute difference of an entry from the reference's.")
    cosine: float | None = metric(
        "Cosine similarity with the reference, of the worst output.", null="no output of numbers was compared"
    )
    top1_agreement: float | None = metric(
        "Share of samples whose largest entry, along the last dimension, is where the reference's is.",
        null="no output has two dimensions or more",
    )
    agreement: float | None = metric(
        "Share of entries that are equal, of outputs of integers or booleans.", null="there is no such output"
    )
    worst_output: str | None = metric(
        "Name of the output that is furthest from what is accurate.", null="the model has one output"
    )
    worst_sample: int | None = metric(
        "Number of the sample in which that output is furthest from the reference.", null="there is one sample"
    )
    judged_samples: int | None = metric("Number of samples whose outputs were compared.")
    eager_rel_l2_error: float | None = metric(
        "rel_l2_error of eager PyTorch in the same precision: what the precision costs without an engine.",
        null="the precision is fp32, the point is quantized, or no output was compared",
    )
    accurate: bool | None = metric(
        "Whether the output is right: each output is finite, and its error is within the precision's tolerance, or "
        "within 4 times eager's in that precision and below a quarter of the output. A single sample may have 4 times "
        "as much.",
        null="the outputs are different each time, or none was compared",
    )
    first_wrong: str | None = metric(
        "First of the modules that accuracy.probe names whose output goes wrong, and how. It is eager in the same "
        "precision that is looked at, since an engine has no modules.",
        null="none goes wrong, or nobody asked",
    )
    model_notes: list[str] | None = metric(
        "What is unusual about the model or its outputs: a random output, one that is not judged, weights that its "
        "file lacks.",
        null="there is nothing to say",
    )
    evaluation: float | None = metric(
        "What your function (accuracy.evaluate) says of the compiled model.", null="there is no such function"
    )
    evaluation_name: str | None = metric("Name of that function.", null="there is no such function")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Say what a look into the engines found (profile=true), in a pass of its own.

    Its shares hold better than its sums: reporting each layer keeps layers from overlapping, and the
    trace slows the host.
    """

    NULL: ClassVar[str] = "nobody asked for a profile (profile=true), or profile_reason says why there is none"

    profile_engine_id: str | None = metric(
        "engine_id of the engines that were looked into: the timed ones, or others that were built for it with "
        "profiling_verbosity=detailed."
    )
    profile_from: str | None = metric(
        "point_id of the point whose profile this is: both run the same engine.", null="the profile is the row's own"
    )
    profile_reason: str | None = metric(
        "Why there is no profile though one was asked for.", null="there is one, or nobody asked"
    )
    layers: int | None = metric("Number of layers in all engines.")
    layers_ms: float | None = metric(
        "Sum of the median times of all layers. Layers that report their time do not overlap, so it may exceed gpu_ms.",
        "ms",
    )
    layers_over_gpu: float | None = metric("layers_ms over gpu_ms.", "1")
    moves_ms: float | None = metric("Part of layers_ms that only moves, converts or lays out data.", "ms")
    layer_precisions: str | None = metric(
        "Types that the layers read and write, with their number: fp16:20 fp16→fp32:1. Layers that only move data are "
        "left out."
    )
    engines_gpu_ms: float | None = metric("How long the GPU works for engines, in a traced call.", "ms")
    fallback_gpu_ms: float | None = metric(
        "How long the GPU works for operators that stay in PyTorch, in a traced call.", "ms"
    )
    traced_span_ms: float | None = metric("Time from the GPU's first work to its last, in a traced call.", "ms")
    traced_idle_ms: float | None = metric("Part of traced_span_ms in which the GPU had nothing to do.", "ms")
