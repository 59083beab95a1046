"""Name the columns of a record, each with its unit, its meaning and when it is null.

The axes stand in `trt_sweep.results.axes`, what is measured in `trt_sweep.results.measured`. To add a metric, add its
column there or here and fill it in where it is measured. `trt-sweep table --explain` prints what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

SCHEMA_VERSION = 3
STATUSES = (
    *("ok", "dryrun", "unsupported", "build_failed", "run_failed", "out_of_memory"),
    *("timeout", "crashed", "inaccurate", "interrupted"),
)
METHODS = GRAPH, QUEUED = ("graph", "queued")  # of gpu_ms, the preferred one first
NEVER = ""  # when a column is null that always has a value


def metric(description: str, unit: str = "", null: str | None = None) -> Any:
    """Return a column that is null until it is measured.

    `unit` is empty for what has none. `null` says when the column stays null, as a clause that follows "null where";
    left out, the `NULL` of its class holds.
    """
    return field(default=None, metadata={"unit": unit, "description": description, "null": null})


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Say which point of which sweep this is, and how it ended."""

    NULL: ClassVar[str] = NEVER

    schema_version: int = field(
        default=SCHEMA_VERSION,
        metadata={"description": "Version of the record's form. Records of a newer version are refused."},
    )
    point_id: str = metric("Name of the point: a hash of all settings that took effect.")
    sweep_id: str = metric("Name of the sweep's folder; in a table where two share it, the folder's path.")
    jobs: list[int] = metric("Numbers of the Hydra jobs that led to this point. Empty for a baseline.")
    merged_axes: list[str] = metric(
        "Settings in which these jobs differ, though they make no difference to this point: its backend does not use "
        "them."
    )
    created_utc: str = metric("When the point was first timed, or when it failed. UTC, ISO 8601.")
    status: str = metric(f"How the point ended: {', '.join(STATUSES[:-1])} or {STATUSES[-1]}. Only ok rows are ranked.")
    phase: str | None = metric("What the point was doing when it ended.", null="the status is ok or dryrun")
    reason: str | None = metric("Why the point did not succeed, in one line.", null="nothing went wrong")
    final: bool = metric("Whether the point is done. False while some of its visits are still to come.")
    interleaved: bool | None = metric(
        "Whether the point was timed in turn with other points of its sweep.", null="the point was not timed"
    )


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Say where the point ran, and with which versions."""

    NULL: ClassVar[str] = NEVER

    gpu_name: str | None = metric("Name of the GPU that the point ran on.", null="it ran on no GPU")
    gpu_uuid: str | None = metric("UUID of that GPU.", null="it ran on no GPU")
    compute_capability: str | None = metric("CUDA compute capability of that GPU.", null="it ran on no GPU")
    driver: str | None = metric("Version of the NVIDIA driver.", null="there is no driver")
    cuda: str | None = metric("CUDA version that PyTorch was built for.", null="PyTorch was built without CUDA")
    torch: str | None = metric("Version of PyTorch.")
    torch_tensorrt: str | None = metric("Version of Torch-TensorRT.", null="it is not installed")
    tensorrt: str | None = metric("Version of TensorRT, or of TensorRT-RTX.", null="it is not installed")
    tensorrt_flavor: str | None = metric(
        "Which Torch-TensorRT is installed: standard, or rtx.", null="none is installed"
    )
    python: str | None = metric("Version of Python.")
    hostname: str | None = metric("Name of the machine.")
    trt_sweep: str | None = metric("Version of trt_sweep.", null="it is not installed as a package")
    git_sha: str | None = metric("Commit of trt_sweep.", null="it does not run from a Git checkout")
    code_id: str | None = metric("Hash of trt_sweep's sources and configuration files.")


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Say how a model was split into TensorRT engines and operators that stay in PyTorch."""

    NULL: ClassVar[str] = "the backend makes no TensorRT partition, or the point ended before it"

    ops_total: int | None = metric("Operators of the model's graph, after Torch-TensorRT lowered it.")
    ops_supported: int | None = metric("How many of these operators TensorRT can take.")
    engines: int | None = metric("Number of TensorRT engines.")
    engine_ops: list[int] | None = metric("Number of operators in each engine, in the order of the graph.")
    engine_inputs: int | None = metric(
        "Number of tensors that all engines take. It grows where weights are passed in as inputs."
    )
    fallback_ops: int | None = metric(
        "Operators that stay in PyTorch. Those that only take an item out of a tuple do not count."
    )
    partition_id: str | None = metric(
        "Hash of the partition: which operator, of which shape and type, lies in which engine."
    )
    default_min_block_size: int | None = metric("The min_block_size that Torch-TensorRT uses where none is set.")
    advised_min_block_size: int | None = metric(
        "The min_block_size that Torch-TensorRT advises for the fewest engines: the operators of the largest engine "
        "at min_block_size=1."
    )
    advised_min_block_size_moderate: int | None = metric(
        "The min_block_size that Torch-TensorRT advises for a moderate number of engines: the mean number of operators "
        "of an engine at min_block_size=1."
    )
    assumed_compute_capability: str | None = metric(
        "Compute capability that the plan assumes.", null="there was a GPU, or nothing was planned"
    )


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Say what quantizing the model did, before any backend saw it."""

    NULL: ClassVar[str] = "the point is not quantized"

    quantized_layers: int | None = metric("Number of layers whose weights are quantized.")
    quantization_s: float | None = metric(
        "Time to calibrate and quantize. Points that share one quantized model have the same number.", "s"
    )
    fake_quant_finite: bool | None = metric(
        "Whether PyTorch computes finite outputs with the quantized model. It rounds numbers as the engine would, but "
        "computes in floating point."
    )
    fake_quant_rel_l2_error: float | None = metric(
        "rel_l2_error of the quantized model in PyTorch: what the method costs, whatever the engine adds to it.",
        null="the point is not quantized, or those outputs are not finite",
    )


@dataclass(frozen=True, kw_only=True)
class Build:
    """Say what it took to compile the model, and what came out."""

    NULL: ClassVar[str] = "the backend has no such thing, or the point ended before it"

    export_s: float | None = metric(
        "Time of torch.export, or of TorchScript, and of all else before the build. Points that share one export have "
        "the same number.",
        "s",
        null="the backend exports nothing, or the point ended before",
    )
    build_s: float | None = metric(
        "Time from the exported program, or from the module, to something that can be called.",
        "s",
        null="nothing is built (eager), the row uses another point's build, or the point ended before",
    )
    load_s: float | None = metric(
        "Time from a stored engine or package to something that can be called.",
        "s",
        null="the backend is neither onnx nor aot_inductor, or the point ended before",
    )
    graphs: int | None = metric(
        "Number of graphs that torch.compile made of the model.", null="the backend does not use torch.compile"
    )
    graph_breaks: int | None = metric(
        "Lines of the model's code at which torch.compile ends a graph early, or begins none.",
        null="the backend does not use torch.compile",
    )
    break_reasons: list[str] | None = metric(
        "These lines, each with the reason that PyTorch gives.", null="there is no such line"
    )
    ops_outside: int | None = metric(
        "Operators of a call that run in PyTorch, outside of these graphs.", null="there is no graph break"
    )
    ops_outside_names: str | None = metric(
        "Names of these operators and how often each runs: aten.lstm:1 aten.linear:2.", null="there is no graph break"
    )
    engine_bytes: int | None = metric(
        "Size of all engines of the point, as stored in a file.", "B", null="there is no engine"
    )
    engine_id: str | None = metric(
        "Hash of the stored engines. Two points with the same one run the same engines, byte for byte.",
        null="there is no engine",
    )
    engine_reused_from: str | None = metric(
        "point_id of the point whose build this row uses: it has the same partition and arguments, or is another size "
        "of the same range.",
        null="the row uses a build of its own",
    )
    cuda_graphs_method: str | None = metric(
        "Who replays calls as CUDA graphs: capture (one graph of the call), torch_tensorrt_engine (one graph an "
        "engine), torch_tensorrt_module, rtx or inductor.",
        null="calls are not replayed",
    )
    cache_id: str | None = metric(
        "Hash of what TensorRT's timing cache held when the build began.", null="it was empty, or there is none"
    )
    engines_stored: int | None = metric(
        "Number of engines that were not built for the point: another one has built them, or they came from cache_dir "
        "or build_workers. build_s then counts what they took when they were built.",
        null="no engines are kept for other points, or the point ended before",
    )
    channels_last: bool | None = metric(
        "Whether weights and 4-d inputs are laid out channels-last.", null="the backend leaves them as they are"
    )
    cudnn_benchmark: bool | None = metric(
        "Whether cuDNN chose its convolution algorithms by timing them.", null="the backend leaves that as it is"
    )


@dataclass(frozen=True, kw_only=True)
class Derived:
    """Say what a table adds to the records: `trt_sweep.results.table.load` derives it from all rows together."""

    NULL: ClassVar[str] = "the row or its eager baseline is not ok, or the sweep has no such baseline"

    folder: str = metric(
        "Folder of the point's files, relative to the folder that was read; of several, to the one around them all.",
        null=NEVER,
    )
    speedup: float | None = metric(
        "How many times faster than eager PyTorch: latency_ms of the baseline over that of the row. The baseline has "
        "the same model, inputs, device, streams and precision; for a quantized model it has base_precision.",
        "1",
    )
    speedup_ci_low: float | None = metric(
        "Lower end of the 95 % interval of speedup.", "1", null="the two were not timed in turn"
    )
    speedup_ci_high: float | None = metric(
        "Upper end of the 95 % interval of speedup.", "1", null="the two were not timed in turn"
    )
    speedup_fp32: float | None = metric("How many times faster than eager PyTorch in fp32.", "1")
    speedup_fp32_ci_low: float | None = metric(
        "Lower end of the 95 % interval of speedup_fp32.", "1", null="the two were not timed in turn"
    )
    speedup_fp32_ci_high: float | None = metric(
        "Upper end of the 95 % interval of speedup_fp32.", "1", null="the two were not timed in turn"
    )
    latency_rank: int | None = metric(
        "Best place that the row can have by latency_ms among rows that do the same work. 1 with latency_rank_worst 1 "
        "is a proved winner.",
        null="the row is not ok, was visited once only, or has no other to be compared with",
    )
    latency_rank_worst: int | None = metric(
        "Worst place that the row can have. 1 to 3 means: one of three rows that the data do not tell apart.",
        null="latency_rank is null",
    )
    gpu_rank: int | None = metric(
        "Best place that the row can have by gpu_ms, among rows with the same gpu_ms_method.",
        null="the row is not ok, has no scatter of gpu_ms, or has no other to be compared with",
    )
    gpu_rank_worst: int | None = metric("Worst place that the row can have by gpu_ms.", null="gpu_rank is null")
