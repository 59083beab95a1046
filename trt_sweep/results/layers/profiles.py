"""Read what `profile=true` left in a point's folder: the layers of its engines, one row each."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.results import files
from trt_sweep.results.layers import evidence
from trt_sweep.results.layers.median import median_interval
from trt_sweep.results.record import RECORD

ENGINES = "engines"  # in the folder of a point
LATENCY = "trt_layer_latency.json"
INFO = "trt_engine_info.json"
ONNX_MODULES = "onnx_modules.json"
PROFILE = "profile.json"
TIME = "time.json"  # where the time of a call goes; beside the folder of the engines
TIMES = ("gpu_ms", "kernels", "enqueue_ms", "gap_before_ms", "idle_ms")  # of each of its parts
WORK = ("model", "batch_size", "input_shapes")  # fields of a record; layers of points that differ in them do other work
LONGEST = 1e12  # ms of a layer
AGAIN = "run the point again with profile=true"
COLUMNS = (
    *("engine", "index", "name", "type", "nodes", "modules", "inputs", "outputs", "input_names", "output_names"),
    *("precision", "tactic", "moves", "samples", "median_ms", "ci_low", "ci_high", "share"),
)


def load(folder: str | Path) -> pd.DataFrame:
    """Return every layer of the engines of the point in `folder`, one row each, in execution order.

    - `engine`, `index`: number of the engine in the call, and of the layer in the engine
    - `name`, `type`, `tactic`: as TensorRT calls them; types `signal` and `wait` hold no work
    - `nodes`: nodes of the graph known to be behind the layer, each with its module or null; `modules`: these PyTorch
      modules (`features.3.squeeze`). It is what `evidence` finds: often nothing, seldom all
    - `inputs`, `outputs`: shape and format of its tensors, `1x64x56x56 Half`; `input_names`, `output_names`
    - `precision`: fp32, fp16, bf16, int8, fp8 and so on (`evidence.precision`)
    - `moves`: whether it only moves or converts data
    - `samples`: ms of each profiled call; `median_ms`, with a 95 % interval from order statistics (`ci_low`, `ci_high`;
      nan for fewer than six), and `share` of the sum of all medians. They are of this one run, and the profiler
      slows what it watches: they weigh layers against each other, the point's `gpu_ms` is what a call takes.

    An engine that was built to tell names only has these and times, one that tells nothing (`attrs["silent"]`)
    likewise; the rest is null. `DataFrame.attrs["profile"]` is what `engines/profile.json` says, `attrs["work"]` what
    the point's record says of its `WORK`. Raises SweepError for a folder without a profile, for files that are damaged
    and for a profile of another engine.
    """
    folder = Path(folder)
    if not folder.is_dir() and not files.exists(folder / RECORD):
        raise SweepError(f"{folder} is not a folder: give that of a point, SWEEP/points/POINT_ID")
    record = read_json(folder / RECORD) if files.exists(folder / RECORD) else {}
    profile = _profile(folder, record)
    engines = [_engine(folder / ENGINES / str(engine), engine) for engine in range(profile["engines"])]
    rows = [row for found, _ in engines for row in found]
    numbers = dict.fromkeys(("engine", "index"), int) | dict.fromkeys(("median_ms", "ci_low", "ci_high"), float)
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object).astype(numbers | {"moves": "boolean"})
    total = table["median_ms"].sum()
    table["share"] = table["median_ms"] / total if total > 0 else math.nan
    table.attrs["profile"] = profile
    table.attrs["work"] = {name: record.get(name) for name in WORK}
    table.attrs["silent"] = [engine for engine, (_, told) in enumerate(engines) if not told]
    return table


def time_of_call(folder: str | Path) -> dict[str, Any] | None:
    """Return what time.json says of where a call's time goes (`trace.where_time_goes`), in ms; None without the file.

    `parts` is empty in files of earlier versions. Raises SweepError for a damaged file.
    """
    path = Path(folder) / TIME
    if not files.exists(path):
        return None
    time: dict[str, Any] = {"parts": []} | read_json(path)
    try:
        rows = [*time["engines"], *time["fallback"]]
        numbers = [time[name] for name in ("span_ms", "busy_ms", "idle_ms")] + [row["gpu_ms"] for row in rows]
        numbers += [part[name] for part in time["parts"] for name in TIMES]
        whole = all(math.isfinite(number) and number >= 0 for number in numbers) and {"calls", "order"} <= time.keys()
        names = {f"engine {row['engine']}" if "engine" in row else row["op"] for row in rows}
        whole = whole and isinstance(time["order"], list) and names.issuperset(part["name"] for part in time["parts"])
    except (KeyError, TypeError, OverflowError):
        whole = False
    if not whole:
        raise SweepError(f"{path} is damaged (times are missing): {AGAIN}")
    return time


def precisions(table: pd.DataFrame) -> dict[str, int]:
    """Return how many layers that do arithmetic ran in each precision, the most frequent first; empty where unknown."""
    working = table[table["moves"].eq(False).fillna(False) & ~table["type"].isin(evidence.SYNC)]
    return dict(Counter(working["precision"].dropna()).most_common())


def read_json(path: Path, kind: type = dict) -> Any:
    """Return what a JSON file of the profile holds.

    Raises SweepError where it cannot be read, is not whole, or is not of this kind.
    """
    try:
        content = files.read_json(path)
    except ValueError as error:
        raise SweepError(f"{path} is damaged ({error}): {AGAIN}") from None
    except OSError as error:
        raise SweepError(f"{path} cannot be read ({error.strerror}): {AGAIN}") from None
    if not isinstance(content, kind):
        raise SweepError(f"{path} is damaged (it holds no {kind.__name__}): {AGAIN}")
    return content


def _profile(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return profile.json of a point; raises SweepError with the reason where there is none, or a wrong one."""
    path = folder / ENGINES / PROFILE
    if not files.exists(path):
        if record.get("profile_from"):
            other = folder.parent / str(record["profile_from"])
            raise SweepError(
                f"{folder} runs the same engine in the same way as {other}, which holds the profile of both"
            )
        if record.get("profile_reason"):
            raise SweepError(f"{folder} holds no profile: {record['profile_reason']}")
        if record.get("engines") == 0:
            raise SweepError(f"{folder} has no engine to look into: all of the point runs in PyTorch, see {TIME}")
        none = f"{folder} holds no profile (engines/{PROFILE}): run the point with profile=true"
        raise SweepError(_elsewhere(folder) or none)
    profile: dict[str, Any] = read_json(path)
    engines = profile.get("engines")
    if type(engines) is not int or engines < 0 or not isinstance(profile.get("engine_id"), str):
        raise SweepError(f"{path} is damaged (engines={engines}, engine_id={profile.get('engine_id')}): {AGAIN}")
    expected = record.get("profile_engine_id")
    if expected not in (None, profile["engine_id"]):
        raise SweepError(f"{path} is of engine {profile['engine_id']}, the point's record of {expected}: {AGAIN}")
    return profile


def _elsewhere(folder: Path) -> str | None:
    """Return which folder to give instead, where this one is around profiled points or inside one; else None."""
    for parent in folder.resolve().parents:
        if (parent / ENGINES / PROFILE).exists():
            return f"{folder} is inside of a point's folder: give {parent}"
    found = sorted(path.parents[1] for path in folder.glob(f"**/{ENGINES}/{PROFILE}"))
    packed = [path.parent for path in files.records_below([folder])[0]]  # those of an archive
    found = found or [path for path in packed if files.exists(path / ENGINES / PROFILE)]
    points = [str(path.relative_to(folder)) for path in found]
    if not points:
        return None
    more = f" ({len(points) - 3} more)" if len(points) > 3 else ""
    return f"{folder} is not the folder of one point: give one of those below it: {', '.join(points[:3])}{more}"


def _engine(folder: Path, engine: int) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of one engine, without their share, and whether its inspector tells of any layer."""
    latencies = read_json(folder / LATENCY)
    for name, samples in latencies.items():
        if not isinstance(samples, list) or not samples or not all(map(_is_time, samples)):
            raise SweepError(f"{folder / LATENCY} is damaged (no times of layer {evidence.shown(name, 80)}): {AGAIN}")
    layers = _layers(folder / INFO, list(latencies))
    known = isinstance(layers[0], dict) if layers else False
    onnx_modules = read_json(folder / ONNX_MODULES) if files.exists(folder / ONNX_MODULES) else {}
    if not all(isinstance(path, str) for path in onnx_modules.values()):
        raise SweepError(f"{folder / ONNX_MODULES} is damaged (its modules are no paths): {AGAIN}")
    nodes = evidence.nodes(layers, onnx_modules) if known else [None] * len(latencies)
    rows = []
    for index, (name, samples) in enumerate(latencies.items()):
        low, high = median_interval(np.array(samples, dtype=float))
        row = dict.fromkeys(COLUMNS) | {"engine": engine, "index": index, "name": name, "samples": samples}
        row |= {"median_ms": float(np.median(samples)), "ci_low": low, "ci_high": high}
        if known:
            row |= _told(layers[index], nodes[index] or {})
        rows.append(row)
    return rows, bool(layers)


def _is_time(sample: object) -> bool:
    return isinstance(sample, int | float) and not isinstance(sample, bool) and 0 <= sample <= LONGEST


def _layers(path: Path, names: list[str]) -> list[Any]:
    """Return the inspector's layers in execution order: dicts, or texts where it tells names only, or none."""
    layers = read_json(path).get("Layers", []) if files.exists(path) else []
    if not isinstance(layers, list) or not all(map(_is_layer, layers)) or len(set(map(type, layers))) > 1:
        raise SweepError(f"{path} is damaged (its Layers are none): {AGAIN}")
    if not layers:
        return []
    timed = set(names)
    by_name = {layer["Name"] if isinstance(layer, dict) else layer: layer for layer in layers}
    strangers = [name for name in dict.fromkeys([*names, *by_name]) if (name in by_name) != (name in timed)]
    if strangers:
        raise SweepError(
            f"{path} and {LATENCY} are of different engines ({len(strangers)} layers are in one of them only, such as "
            f"{evidence.shown(strangers[0], 80)}): {AGAIN}"
        )
    return [by_name[name] for name in names]


def _is_layer(layer: object) -> bool:
    """Tell whether this is a layer: a name, or a dict with a name and with tensors that have names."""
    if not isinstance(layer, dict):
        return isinstance(layer, str)
    tensors = [layer.get("Inputs", []), layer.get("Outputs", [])]
    return isinstance(layer.get("Name"), str) and all(
        isinstance(side, list) and all(isinstance(item, dict) and _is_tensor(item) for item in side) for side in tensors
    )


def _is_tensor(tensor: dict[str, Any]) -> bool:
    return isinstance(tensor.get("Name"), str) and isinstance(tensor.get("Dimensions") or [], list)


def _told(layer: dict[str, Any], nodes: dict[str, str | None]) -> dict[str, Any]:
    """Return the columns of a layer that the inspector tells."""
    inputs, outputs = layer.get("Inputs", []), layer.get("Outputs", [])
    layer_type = str(layer.get("LayerType", ""))
    return {
        "type": layer_type,
        "nodes": nodes,
        "modules": list(dict.fromkeys(path for path in nodes.values() if path)),
        "inputs": [_tensor(tensor) for tensor in inputs],
        "outputs": [_tensor(tensor) for tensor in outputs],
        "input_names": [tensor["Name"] for tensor in inputs],
        "output_names": [tensor["Name"] for tensor in outputs],
        "precision": evidence.precision(
            [_format(tensor) for tensor in inputs], [_format(tensor) for tensor in outputs]
        ),
        "tactic": layer.get("TacticName") or layer.get("TacticValue") or None,
        "moves": evidence.moves(layer["Name"], layer_type),
    }


def _format(tensor: dict[str, Any]) -> str:
    return str(tensor.get("Format/Datatype", tensor.get("Format", ""))).rstrip(".")


def _tensor(tensor: dict[str, Any]) -> str:
    dimensions = tensor.get("Dimensions") or []
    return f"{'x'.join(map(str, dimensions)) or 'scalar'} {_format(tensor)}".strip()
