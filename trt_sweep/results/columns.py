"""Name the columns of a record, with a unit and an explanation each; the axes stand in `trt_sweep.results.axes`.

To add a metric, add its column here and fill it in where it is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 3
STATUSES = (
    *("ok", "dryrun", "unsupported", "build_failed", "run_failed", "out_of_memory"),
    *("timeout", "crashed", "inaccurate", "interrupted"),
)
METHODS = GRAPH, QUEUED = ("graph", "queued")  # of gpu_ms, the preferred one first


def metric(description: str, unit: str = "") -> Any:
    """Return a column that is null until it is measured; `unit` is empty for what has none."""
    return field(default=None, metadata={"unit": unit, "description": description})


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Say which point of which sweep this is, and how it ended."""

    schema_version: int = SCHEMA_VERSION
    point_id: str = metric("hash of the effective configuration")
    sweep_id: str = metric("name of the sweep's folder")
    jobs: list[int] = metric("Hydra job numbers that led to this point; empty for a baseline")
    merged_axes: list[str] = metric("what these jobs differ in, without a difference to this point")
    created_utc: str = metric("when the point was first timed, or failed, ISO 8601")
    status: str = metric(f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}")
    phase: str | None = metric("the phase in which the point ended, where it did not succeed")
    reason: str | None = metric("why the point did not succeed, on one line")
    final: bool = metric("whether nothing more is to be done for the point; false while rounds are to come")
    interleaved: bool | None = metric("whether its rounds stood between those of the sweep's other points")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Say where the point ran, and with which versions."""

    gpu_name: str | None = metric("name of the GPU that ran the point")
    gpu_uuid: str | None = metric("UUID of that GPU")
    compute_capability: str | None = metric("compute capability of that GPU")
    driver: str | None = metric("NVIDIA driver version")
    cuda: str | None = metric("CUDA version that torch was built for")
    torch: str | None = metric("version of torch")
    torch_tensorrt: str | None = metric("version of Torch-TensorRT")
    tensorrt: str | None = metric("version of TensorRT or TensorRT-RTX")
    tensorrt_flavor: str | None = metric("standard or rtx")
    python: str | None = metric("version of Python")
    hostname: str | None = metric("name of the machine")
    trt_sweep: str | None = metric("version of trt_sweep")
    git_sha: str | None = metric("commit of trt_sweep, where it runs from a checkout")
    code_id: str | None = metric("hash of trt_sweep's sources and configuration")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Say how a model was split into TensorRT engines and operators that stay in PyTorch."""

    ops_total: int | None = metric("operators in the lowered graph")
    ops_supported: int | None = metric("operators that have a converter")
    engines: int | None = metric("TensorRT engines in the partition")
    engine_ops: list[int] | None = metric("operators of each engine, in graph order")
    engine_inputs: int | None = metric("tensors that the engines take together; more where weights are passed in too")
    fallback_ops: int | None = metric("operators left in PyTorch, tuple accesses not counted")
    partition_id: str | None = metric("hash of which operator of which shape and type lies in which engine")
    default_min_block_size: int | None = metric("the library's default of min_block_size")
    advised_min_block_size: int | None = metric(
        "the library's advice for the fewest segments, asked at min_block_size=1"
    )
    advised_min_block_size_moderate: int | None = metric("its advice for moderate segmentation, likewise")
    assumed_compute_capability: str | None = metric("compute capability that planning assumed, where there was no GPU")


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Say what quantizing the model did, before any backend saw it; null for other points."""

    quantized_layers: int | None = metric("layers whose weights are quantized")
    quantization_s: float | None = metric("calibration and quantization. Points may share it", "s")
    fake_quant_finite: bool | None = metric("whether the fake-quantized model's outputs in PyTorch are finite")
    fake_quant_rel_l2_error: float | None = metric(
        "their rel_l2_error: of the method alone, whatever the engine does; null where they are not finite"
    )


@dataclass(frozen=True, kw_only=True)
class Build:
    """Say what it took to compile the model, and what came out."""

    export_s: float | None = metric(
        "torch.export, and what follows it before the build; or TorchScript. Points may share it",
        "s",
    )
    build_s: float | None = metric(
        "from the exported program (or the module) to a callable; null where another point's build is used", "s"
    )
    load_s: float | None = metric(
        "from the serialized engine, or package, to what can be called (onnx, aot_inductor)", "s"
    )
    graphs: int | None = metric("graphs that torch.compile made of the model")
    graph_breaks: int | None = metric("lines of the model's code at which a graph ends early, or none begins")
    break_reasons: list[str] | None = metric("these lines, each with the reason in torch's words; null without a break")
    ops_outside: int | None = metric("operators of a call that run in PyTorch beside the graphs; null without a break")
    ops_outside_names: str | None = metric("their names: aten.lstm:1 aten.linear:2")
    engine_bytes: int | None = metric("size of the serialized engines together", "B")
    engine_id: str | None = metric("hash of the serialized engines: equal means byte-identical")
    engine_reused_from: str | None = metric(
        "point whose build this row uses: another size of one range, or one of the same partition and arguments"
    )
    cuda_graphs_method: str | None = metric(
        "who replays: capture (one graph of the call), torch_tensorrt_engine (one per engine), torch_tensorrt_module, "
        "rtx, inductor"
    )
    cache_id: str | None = metric("hash of what the timing cache held when the build began; null where it was empty")
    engines_stored: int | None = metric(
        "engines that came from cache_dir, or from build_workers; build_s counts what building them took back then"
    )
    channels_last: bool | None = metric("whether weights and 4-d inputs were laid out channels-last")
    cudnn_benchmark: bool | None = metric("whether cuDNN chose its convolution algorithms by timing them")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Say how long a call takes, by three clocks, with intervals of 95 %.

    That of `latency_ms` describes this run; that of `gpu_ms` is where another run of the same point is expected.
    """

    clock: str | None = metric("what latency_ms was read from: cuda_events, or wall on a CPU")
    timed_with: str | None = metric("point whose calls were timed for this row too: the same engine, run the same way")
    rounds: int | None = metric("visits of each build that count, in turn with those of the sweep's other points")
    builds: int | None = metric("builds that were timed (measure.rebuilds)")
    distinct_engines: int | None = metric("different engine_id among them")
    warmup_s: float | None = metric("warm-up of the first window, until calls had stopped changing", "s")
    samples: int | None = metric("calls timed for latency_ms")
    visit_group: str | None = metric("names the points that were visited in turn: their visits are compared")
    anchor_id: str | None = metric(
        "point that is visited with each group of its model: points of two groups are compared through it"
    )
    anchor_ms_visits: list[float] | None = metric("its visits in this group", "ms")
    anchor_spread: float | None = metric("how far another build of it may lie, a relative standard deviation", "1")
    latency_ms: float | None = metric(
        "time of a call as its caller sees it: lower quartile of the visits' medians, never below gpu_ms", "ms"
    )
    latency_ms_ci_low: float | None = metric("lower end of its interval", "ms")
    latency_ms_ci_high: float | None = metric("upper end of it", "ms")
    latency_ms_min: float | None = metric("fastest call", "ms")
    latency_ms_mean: float | None = metric("mean time of a call", "ms")
    latency_ms_std: float | None = metric("standard deviation of a call's time", "ms")
    latency_ms_p90: float | None = metric("90th percentile", "ms")
    latency_ms_p99: float | None = metric("99th percentile", "ms")
    latency_ms_visits: list[float] | None = metric(
        "median of each visit; null for one visit, and in older records", "ms"
    )
    host_slow_share: float | None = metric("share of visits that took more than 1.2 times latency_ms", "1")
    host_slow_factor: float | None = metric("how many times latency_ms these took; null where there are none", "1")
    latency_ms_between_rounds: float | None = metric("relative standard deviation between the visits of a build", "1")
    latency_ms_between_builds: float | None = metric("relative standard deviation between builds", "1")
    gpu_ms: float | None = metric("the GPU's own work in a call, without the host's gaps, likewise", "ms")
    gpu_ms_ci_low: float | None = metric("lower end of its interval", "ms")
    gpu_ms_ci_high: float | None = metric("upper end of it", "ms")
    gpu_ms_method: str | None = metric(
        "graph (the call replayed as a CUDA graph) or queued (calls issued behind a blocking kernel); compare like "
        "with like"
    )
    gpu_ms_reason: str | None = metric("what stood in the way of gpu_ms, or of the method graph")
    gpu_ms_between_rounds: float | None = metric("likewise between rounds, in older records", "1")
    gpu_ms_between_builds: float | None = metric("relative standard deviation between builds", "1")
    gpu_ms_between_captures: float | None = metric(
        "relative standard deviation between captures of the call as a graph; by queued, between visits", "1"
    )
    gpu_ms_captures: int | None = metric("captures of each build, or visits by queued")
    gpu_ms_choices: list[float] | None = metric(
        "by eager: gpu_ms with each choice of algorithms that cuDNN made; the least of each build was timed", "ms"
    )
    enqueue_ms: float | None = metric("host time to issue a call while the GPU's queue has room, likewise", "ms")
    launch_bound: bool | None = metric("whether enqueue_ms is above 0.8 of gpu_ms")
    first_call_ms: float | None = metric(
        "first call after the build, with what it compiles on the way; null where another point's build is used", "ms"
    )
    throughput_per_s: float | None = metric("batch_size over latency_ms", "1/s")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Say how much memory of the GPU this point alone would need; the worst of its builds."""

    peak_gpu_bytes: int | None = metric(
        "weights, what TensorRT keeps for its engines, inputs, and the most that a call takes on top, CUDA graphs "
        "included; not CUDA's context, nor what a first call takes to tune. Null where this process's part is not told",
        "B",
    )


@dataclass(frozen=True, kw_only=True)
class Health:
    """Say how the GPU was over all timed windows of the point, by NVML; null where a counter cannot be read."""

    health: str | None = metric("ok, or the worst of unstable, shared and throttled in any window")
    health_reason: str | None = metric("the numbers behind a verdict that is not ok, or why there is none")
    remeasured: int | None = metric("windows that were timed again because of a bad verdict")
    sm_clock_mhz: float | None = metric("median SM clock", "MHz")
    memory_clock_mhz: float | None = metric("median memory clock", "MHz")
    temperature_c: float | None = metric("highest temperature of the GPU", "°C")
    power_w: float | None = metric("median power draw of the board", "W")
    throttle_reasons: list[str] | None = metric("why clocks were lower than they could be")
    energy_mj_per_call: float | None = metric("energy of the board over calls as their caller sees them", "mJ")
    foreign_processes: int | None = metric("compute processes of others on the GPU, the most at any time")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Say how far the output is from the FP32 eager reference's; the worst of the model's outputs."""

    reference_spread: float | None = metric(
        "relative L2 change of the reference when the inputs are drawn anew; errors near it prove little"
    )
    finite: bool | None = metric("whether every output is finite where the reference is")
    rel_l2_error: float | None = metric("||output - reference|| / ||reference||; integers and booleans left out")
    max_abs_error: float | None = metric("largest absolute difference")
    cosine: float | None = metric("cosine similarity with the reference")
    top1_agreement: float | None = metric(
        "share of rows whose largest entry along the last dimension is the reference's"
    )
    agreement: float | None = metric("share of equal entries, of integer and boolean outputs")
    worst_output: str | None = metric("name of the output with the largest error for what is accurate, of several")
    worst_sample: int | None = metric("number of the sample in which the worst output is worst, of several")
    judged_samples: int | None = metric("samples whose outputs were compared, each in its batch")
    eager_rel_l2_error: float | None = metric("rel_l2_error of eager in the same precision")
    accurate: bool | None = metric(
        "finite, and each output's error within the tolerance of the precision, or within 4 times that of eager in it, "
        "that of one sample within 4 times as much; "
        "null where every output is different each time"
    )
    model_notes: list[str] | None = metric(
        "what the model does beside computing outputs from inputs; outputs not judged; weights that its file lacks"
    )
    evaluation: float | None = metric("what the user's accuracy.evaluate says of the compiled model")
    evaluation_name: str | None = metric("name of that function")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Say what a look into the engines found (profile=true), in a pass of its own.

    Its shares hold better than its sums: reporting each layer keeps layers from overlapping, and the
    trace slows the host.
    """

    profile_engine_id: str | None = metric(
        "hash of the engines that were looked into: the timed ones, or others built for it with detailed verbosity"
    )
    profile_from: str | None = metric("point whose profile this is, where both run the same engine")
    profile_reason: str | None = metric("why there is no profile though one was asked for")
    layers: int | None = metric("layers of all engines")
    layers_ms: float | None = metric("sum of the layers' median times", "ms")
    layers_over_gpu: float | None = metric("layers_ms over gpu_ms", "1")
    moves_ms: float | None = metric("of layers_ms, what only moves, converts or lays out data anew", "ms")
    layer_precisions: str | None = metric("layers that compute, by what they read and write: fp16:20 fp16→fp32:1")
    engines_gpu_ms: float | None = metric("work of the GPU for engines in a traced call", "ms")
    fallback_gpu_ms: float | None = metric("likewise for operators that stay in PyTorch", "ms")
    traced_span_ms: float | None = metric("from the first to the last work of the GPU in a traced call", "ms")
    traced_idle_ms: float | None = metric("gaps in it, in which the GPU had nothing to do", "ms")
