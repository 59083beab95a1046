"""List the axes: every setting that may be swept, the column that holds it, and what code must know of it.

A row of the table is one field of `Axes`. To add an axis, add its field here, its field of the same name in
`trt_sweep.config.point.PointConfig`, and the argument that a backend makes of it. Everything else asks this table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trt_sweep.results.columns import NEVER, metric

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Describe how one axis is treated wherever axes are treated differently.

    - `acts_on`: "engine" where another value makes another engine, "run" where it runs the same engine differently,
      "both" where it does either
    - `task`: it says which work is done, and on what. Other axes say how. Points that differ in it have no common rank
    - `default`: the value that takes effect where nobody sets it; null where the axis is unset then
    - `default_column`: the column that holds the default, where that depends on the library
    - `as_set`: the backends whose records have it as it was set, and so null where the default took effect
    - `unasked`: further values that a point can have though nobody set them
    - `per_item`: it says how many items are worked on at a time. Points that differ in it are compared by throughput
    - `base`: the value that others are compared with, where that is not the default
    - `optional`: whether a backend may leave it out; it then names in its own `AXES` the ones that it uses
    - `config`: the fields of `PointConfig` that decide it, where they are not one field of the same name
    - `goes_with`: the axis without which this one means nothing
    - `moves`: columns that change along with it, by themselves
    - `moves_on`: likewise, but on one backend only: the backend and the column
    - `says`: axes that need not be shown where this one is
    - `shown_where_set`: it is worth a column as soon as one point has it, even where all have the same value
    - `names_point`: its value is a part of every point's name
    - `plain`: its values stand without the axis' name, as in `resnet18 dynamo fp16`
    - `header`: a shorter name for narrow tables
    - `after`: the axis that it is shown behind, where its column stands elsewhere
    """

    acts_on: Literal["engine", "run", "both"]
    task: bool = False
    per_item: bool = False
    default: object = None
    default_column: str | None = None
    as_set: tuple[str, ...] = ()
    unasked: tuple[object, ...] = ()
    base: object = None
    optional: bool = False
    config: tuple[str, ...] = ()
    goes_with: str | None = None
    moves: tuple[str, ...] = ()
    moves_on: tuple[str, str] | None = None
    says: tuple[str, ...] = ()
    shown_where_set: bool = False
    names_point: bool = False
    plain: bool = False
    header: str | None = None
    after: str | None = None


def _axis(description: str, row: Axis, null: str | None = None) -> Any:
    """Return a column that is a row of the table too; `null` is as in `metric`, and one of all backends never is."""
    null = NEVER if null is None and not row.optional else null
    return field(default=None, metadata={"unit": "", "description": description, "null": null, "axis": row})


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Hold the values that took effect; an axis that the backend does not use is null."""

    NULL: ClassVar[str] = "the backend does not use it"

    model: str = _axis("Name of the model.", Axis(acts_on="engine", task=True, names_point=True, plain=True))
    model_id: str = metric("Hash of the model: its factory, weights, seed and inputs.", null=NEVER)
    task_id: str = metric(
        "Hash of the model without the arguments of its factory. Points that agree in it do the same work, and are "
        "ranked together.",
        null=NEVER,
    )
    weights: str | None = metric(
        "Name or file of the weights.", null="they are what the model's factory makes, as a rule random ones"
    )
    seed: int | None = metric("Seed of random weights and inputs.", null="the record is older")
    backend: str = _axis(
        "How the model is compiled: dynamo, torch_compile, onnx, eager and so on.",
        Axis(acts_on="run", default="dynamo", base="eager", names_point=True, plain=True),
    )
    precision: str = _axis(
        "What the model computes in: fp32 (TF32 off), tf32, fp16, bf16, autocast_fp16 or autocast_bf16 (a model in "
        "FP32, of which the compiler runs operators in the other type), int8, fp8 or int4.",
        Axis(
            acts_on="both",
            default="fp32",
            goes_with="quantization_method",
            moves=("base_precision",),
            names_point=True,
            plain=True,
        ),
    )
    base_precision: str | None = metric(
        "Precision of what is not quantized. Without quantization it is the precision.", null="the record is older"
    )
    keep_fp32: str | None = _axis(
        "Patterns of the modules that compute in FP32 all the same.",
        Axis(acts_on="engine", config=("keep_fp32",), shown_where_set=True),
        "none does, or the precision is fp32 or tf32",
    )
    quantization_method: str | None = _axis(
        "What quantized the model: a library and its recipe, such as modelopt_fp8_default.",
        Axis(acts_on="engine", optional=True, config=("quantization",), moves=("precision",)),
        "the model is not quantized",
    )
    quantization_skip: str | None = _axis(
        "Patterns of the modules that were not quantized.",
        Axis(acts_on="engine", optional=True, config=("quantization",), goes_with="quantization_method"),
        "none was left out, or the model is not quantized",
    )
    calibration: str | None = _axis(
        "What the method looked at to choose its scales: random data, or the name of your data.",
        Axis(
            acts_on="engine",
            optional=True,
            unasked=("random",),
            config=("quantization",),
            goes_with="quantization_method",
        ),
        "the method looks at no data",
    )
    calibration_samples: int | None = metric(
        "Most samples that the method looks at.", null="the method looks at no data"
    )
    mode: str | None = _axis(
        "How the backend compiles: torchscript.mode (trace, script), or inductor.mode.",
        Axis(
            acts_on="both",
            optional=True,
            unasked=("trace", "default"),
            config=("torchscript", "inductor"),
            plain=True,
            after="backend",
        ),
    )
    batch_size: int = _axis(
        "Number of samples in a call.",
        Axis(acts_on="run", task=True, per_item=True, moves=("input_shapes", "time_at"), says=("input_shapes",)),
    )
    input_shapes: str | None = _axis(
        "Shapes of the inputs that were timed, or planned for.",
        Axis(acts_on="run", task=True, config=("model",), moves=("batch_size", "time_at"), after="time_at"),
    )
    dynamic_range: str | None = _axis(
        "Range of sizes that the point was built for, as min:opt:max.",
        Axis(acts_on="engine", config=("batch_size",), moves=("time_at",), shown_where_set=True),
        "it was built for one size",
    )
    time_at: int | None = _axis(
        "Size at which this row was timed, of the range that it was built for.",
        Axis(
            acts_on="run",
            task=True,
            goes_with="dynamic_range",
            moves=("batch_size", "input_shapes"),
            says=("batch_size", "input_shapes"),
        ),
        "it was built for one size",
    )
    device: str | None = _axis(
        "Where the point ran: cpu, cuda:0 and so on.",
        Axis(acts_on="engine", task=True, after="cold_cache"),
        "nothing ran",
    )
    min_block_size: int | None = _axis(
        "Fewest operators that Torch-TensorRT puts into an engine. What is smaller stays in PyTorch.",
        Axis(acts_on="engine", optional=True, default_column="default_min_block_size"),
    )
    optimization_level: int | None = _axis(
        "How long TensorRT searches for fast kernels, from 0 (short) to 5 (long). Null in a record means 3, TensorRT's "
        "default, where the backend uses it; trt_sweep.load fills it in.",
        Axis(acts_on="engine", optional=True, default=3, as_set=("dynamo", "onnx", "torch_compile")),
        "it was not set, or the backend does not use it",
    )
    runtime: str | None = _axis(
        "Which of Torch-TensorRT's runtimes runs the engines: cpp or python.",
        Axis(acts_on="run", optional=True, default="cpp"),
    )
    cuda_graphs: bool | None = _axis(
        "Whether calls are replayed as CUDA graphs, which spares the host most of its work.",
        Axis(acts_on="run", default=False, moves_on=("inductor", "mode"), shown_where_set=True),
    )
    streams: int | None = _axis(
        "Number of threads that call at the same time, each on a CUDA stream and with an execution context of its own.",
        Axis(acts_on="run", task=True, per_item=True, default=1),
    )
    transfers: bool | None = _axis(
        "Whether a call copies its inputs from pinned memory of the host to the GPU, and its outputs back.",
        Axis(acts_on="run", task=True, default=False, shown_where_set=True),
    )
    runtime_cache: str | None = _axis(
        "Whether TensorRT-RTX's cache of compiled kernels is filled at the first call: cold (empty) or warm.",
        Axis(acts_on="run", optional=True, unasked=("cold",)),
        "there is no such cache",
    )
    dynamic_shapes_kernel_specialization_strategy: str | None = _axis(
        "When TensorRT-RTX compiles kernels for a size that it meets: lazy, eager or none.",
        Axis(acts_on="run", optional=True, header="specialization"),
        "it was not set, or the backend does not use it",
    )
    cache: str | None = _axis(
        "What TensorRT's timing cache held when the build began: cold (nothing), warm (what a build of the same point "
        "left) or frozen (the file cache_snapshot).",
        Axis(acts_on="engine", optional=True, config=("cache", "cache_snapshot"), default="cold"),
        "there is no such cache, as with TensorRT-RTX",
    )
    profiling_verbosity: str | None = _axis(
        "How much the timed engine can tell of its layers: none, layer_names_only or detailed.",
        Axis(acts_on="engine", optional=True, unasked=("layer_names_only",)),
    )
    compile: str | None = _axis(
        "Further arguments of the compiler that were set, as NAME=value.",
        Axis(acts_on="both", optional=True),
        "there are none",
    )
    factory: str | None = _axis(
        "Arguments of the model's factory, as NAME=value. A table has those in which points of one model differ.",
        Axis(acts_on="engine", config=("model",)),
        "there are none, or they do not differ",
    )
    cold_cache: bool | None = _axis(
        "Whether the GPU's L2 cache was emptied before each call.",
        Axis(acts_on="run", task=True, default=False, config=("measure",)),
    )
    dryrun: bool = metric("Whether the point was only planned, and nothing was built or timed.", null=NEVER)
    ignored_axes: list[str] = metric(
        "Axes that were set, and that the installed library accepts without effect.", null=NEVER
    )


def _table() -> dict[str, Axis]:
    """Return the axes by name, in the order in which people are shown them."""
    rows: dict[str, Axis] = {item.name: item.metadata["axis"] for item in fields(Axes) if "axis" in item.metadata}
    order = [name for name, row in rows.items() if row.after is None]
    for name, row in rows.items():
        if row.after is not None:
            order.insert(order.index(row.after) + 1, name)
    return {name: rows[name] for name in order}


TABLE = _table()
AXES = tuple(TABLE)

# The fields of PointConfig that not every backend uses.
OPTIONAL_AXES = frozenset(one for name, row in TABLE.items() if row.optional for one in row.config or (name,))

# A point is called by these, whatever else sets it apart.
LABEL_AXES = tuple(name for name, row in TABLE.items() if row.names_point)

# They leave the engine as it is and change how it runs.
RUNTIME_AXES = frozenset(name for name, row in TABLE.items() if row.acts_on == "run")

# One engine can be run with any of their values.
RUN_ONLY = tuple(name for name, row in TABLE.items() if row.acts_on == "run" and not row.task and name != "backend")

# An engine is run in the same way where these agree.
RUNNING = tuple(name for name, row in TABLE.items() if row.acts_on != "engine" and not row.task)

# They say how the work is done, and may be chosen freely.
SETTINGS = tuple(name for name, row in TABLE.items() if not row.task)

# Rows are comparable where these agree: the same work on the same device, timed the same way.
COMPARABLE = (
    *("sweep_id", "task_id", "gpu_uuid"),
    *(name for name, row in TABLE.items() if row.task and row.goes_with is None and name != "model"),
)

# What throughput is compared across.
PER_ITEM = tuple(name for name, row in TABLE.items() if row.per_item)

# The axes that tell a size.
SIZES = tuple(name for name, row in TABLE.items() if row.says or any(name in other.says for other in TABLE.values()))


def going_with(name: str) -> tuple[str, ...]:
    """Return the axes that mean nothing without this one. Without a backend no axis means anything."""
    return AXES if name == "backend" else tuple(other for other, row in TABLE.items() if row.goes_with == name)


def moving_with(name: str) -> tuple[str, ...]:
    """Return the columns that change along with an axis by themselves, on any backend."""
    row = TABLE[name]
    return (*row.moves, *([row.moves_on[1]] if row.moves_on else []))


def null_is_false(name: str) -> bool:
    """Tell whether an unset axis means the same as false."""
    return TABLE[name].default is False


def varied(table: pd.DataFrame) -> list[str]:
    """Return the axes that differ between rows of one model and backend; backend and precision always.

    Baselines do not count: they are in the table for what others are compared with. A size is said once: by `time_at`
    where every row has it, else by the batch size, else by the shapes.
    """
    swept = table[table["jobs"].map(bool).astype(bool)]
    most = swept.groupby(["model", "backend"])[list(AXES)].nunique(dropna=False).max()
    if table["model"].nunique() > 1:
        most["model"] = 2
    for name, row in TABLE.items():
        # The baselines are without, so that these differ between rows even where all others have one value.
        if row.shown_where_set and (table[name].notna() & table[name].ne(False)).any():
            most[[name, *(column for column in row.moves if table[column].notna().any())]] = 2
    found = [name for name in AXES if (name in LABEL_AXES and name != "model") or most[name] > 1]
    return unsaid_twice(found, {name for name in found if table[name].notna().all() and _tells(swept, name)})


def _tells(table: pd.DataFrame, name: str) -> bool:
    """Return whether an axis tells what it says: of several dynamic dimensions the batch does not tell the others."""
    says = list(TABLE[name].says)
    return not says or bool((table.groupby(["model", name])[says].nunique() <= 1).all(axis=None))


def unsaid_twice(names: list[str], everywhere: set[str] | None = None) -> list[str]:
    """Return the axes without those that others among them say; `everywhere` has the ones that no row lacks."""
    said = {other for name in names if everywhere is None or name in everywhere for other in TABLE[name].says}
    return [name for name in names if name not in said]
