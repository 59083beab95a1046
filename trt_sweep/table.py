"""All records below a folder as one DataFrame; `trt-sweep table FOLDER` prints it and writes it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from trt_sweep import ranking, records
from trt_sweep.errors import SweepError
from trt_sweep.notes import AXES, notes
from trt_sweep.records import BASELINE

HEADERS = {"dynamic_shapes_kernel_specialization_strategy": "specialization"}


def load(folder: str | Path) -> pd.DataFrame:
    """Every record below `folder`, one row each, in order of creation; derived columns behind the record's own.

    `speedup` is the eager baseline's latency over the row's (same sweep, model, inputs, batch, precision and device;
    for quantized models in the precision beside their quantized parts),
    `speedup_fp32` likewise against eager in FP32; null unless both rows are `ok`. `latency_rank`, `gpu_rank` and their
    `_worst` are of `ranking.ranked`. `DataFrame.attrs["unreadable"]` names files that are no records, with the reason.
    Raises SweepError for a folder that is not there and for a record of a newer schema.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SweepError(
            f"{folder} is not a folder: give the folder of a sweep, for instance outputs/2026-01-31/12-00-00-ab12"
        )
    rows, unreadable = [], {}
    for path in sorted(folder.rglob(f"points/*/{records.RECORD}"), key=str):
        try:
            rows.append(vars(records.read(path)) | {"folder": str(path.parent.relative_to(folder))})
        except (OSError, ValueError, TypeError) as error:
            unreadable[str(path)] = f"{type(error).__name__}: {error}"
    table = pd.DataFrame(rows, columns=[*records.columns(), "folder"])
    table = table.astype(dict.fromkeys(records.integer_columns(), "Int64"))
    table = table.sort_values(["created_utc", "point_id"], kind="stable", ignore_index=True).copy()
    for name, precision in (("speedup", None), ("speedup_fp32", "fp32")):
        table[name] = _speedup(table, precision)
    table = ranking.ranked(ranking.renewed(table))
    table.attrs["unreadable"] = unreadable
    return table


def _speedup(table: pd.DataFrame, precision: str | None) -> pd.Series:
    """Against the eager row of the same precision, or of the one named."""
    keys = ["sweep_id", "model_id", "batch_size", "device", "gpu_uuid"]
    ok = table[table["status"] == "ok"]
    ok = ok.assign(base_precision=ok["base_precision"].fillna(ok["precision"]))  # records from before quantization
    plain = ~ok["cuda_graphs"].fillna(False).astype(bool) & ok["quantization_method"].isna()
    eager = ok[(ok["backend"] == BASELINE) & plain]
    if precision is None:
        keys = [*keys, "base_precision"]
    else:
        eager = eager[eager["precision"] == precision]
    eager = eager.drop_duplicates(keys)[[*keys, "latency_ms"]]
    left = ok[[*keys, "latency_ms"]].reset_index()
    both = left.merge(eager, on=keys, how="left", suffixes=("", "_eager")).set_index("index")
    return (both["latency_ms_eager"].astype(float) / both["latency_ms"].astype(float)).reindex(table.index)


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `results.csv` and `results.parquet` into the folder; lists stand as JSON in the CSV."""
    csv, parquet = folder / "results.csv", folder / "results.parquet"
    flat = table.map(lambda value: json.dumps(value) if isinstance(value, list | dict) else value)
    flat.to_csv(csv, index=False)
    table.to_parquet(parquet, index=False)
    return [csv, parquet]


def varied(table: pd.DataFrame) -> list[str]:
    """The axes that differ between rows of one model and backend, baselines apart; backend and precision at least."""
    swept = table[table["jobs"].map(bool).astype(bool)]
    most = swept.groupby(["model", "backend"])[list(AXES)].nunique(dropna=False).max()
    if table["model"].nunique() > 1:
        most["model"] = 2
    if table["dynamic_range"].notna().any():
        most["dynamic_range"] = most["time_at"] = 2
    if table["cuda_graphs"].fillna(False).astype(bool).any():
        most["cuda_graphs"] = 2  # baselines are without
    found = [axis for axis in AXES if axis in ("backend", "precision") or most[axis] > 1]
    # A size is said once: by time_at where every row has it, by batch_size, or by the shapes.
    if "time_at" in found and bool(table["time_at"].notna().all()):
        return [axis for axis in found if axis not in ("batch_size", "input_shapes")]
    return [axis for axis in found if axis != "input_shapes" or "batch_size" not in found]


def _number(value: object, spec: str, unit: str = "") -> str:
    return "–" if value is None or pd.isna(value) else f"{value:{spec}}{unit}"  # type: ignore[call-overload]


def _axis(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _number(value, "")


def _time(row: pd.Series, clock: str) -> str:
    if pd.isna(row[clock]):
        return "–"
    low, high = row[f"{clock}_ci_low"], row[f"{clock}_ci_high"]
    interval = "" if pd.isna(low) else f" [{low:.4g}, {high:.4g}]"
    return f"{row[clock]:.4g}{interval}"


def _rank(row: pd.Series, clock: str) -> str:
    best, worst = row[f"{clock}_rank"], row[f"{clock}_rank_worst"]
    return "–" if pd.isna(best) else f"{best}" if best == worst else f"{best}–{worst}"


def render(table: pd.DataFrame) -> Table:
    """The compact table that a sweep ends with: one line a point, baselines first."""
    axes = varied(table)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for axis in axes:
        shown.add_column(HEADERS.get(axis, axis), overflow="fold")
    columns: dict[str, Callable[[pd.Series], str]] = {
        "engines": lambda row: _number(row["engines"], "d"),
        "engine": lambda row: _number(row["engine_id"], ".6"),
        "build s": lambda row: _number(row["build_s"], ".1f"),
        "load s": lambda row: _number(row["load_s"], ".2f"),
        "first call ms": lambda row: _number(row["first_call_ms"], ".4g"),
        "latency ms [95 %]": lambda row: _time(row, "latency_ms"),
        "rank": lambda row: _rank(row, "latency"),
        "gpu ms [95 %]": lambda row: _time(row, "gpu_ms"),
        "gpu rank": lambda row: _rank(row, "gpu"),
        "enqueue ms": lambda row: _number(row["enqueue_ms"], ".3g"),
        "vs eager": lambda row: _number(row["speedup"], ".2f", "×"),
        "vs fp32": lambda row: _number(row["speedup_fp32"], ".2f", "×"),
        "memory MiB": lambda row: _number(row["peak_gpu_bytes"] / 2**20, ".4g"),
        "fake-quant error": lambda row: _number(row["fake_quant_rel_l2_error"], ".1e"),
        "rel. error": lambda row: _number(row["rel_l2_error"], ".1e"),
        "evaluation": lambda row: _number(row["evaluation"], ".4g"),
        "health": lambda row: _number(row["health"], ""),
    }
    optional = {
        "load s": "load_s",
        "memory MiB": "peak_gpu_bytes",
        "fake-quant error": "fake_quant_rel_l2_error",
        "evaluation": "evaluation",
    }
    for name, column in optional.items():
        if not table[column].notna().any():
            del columns[name]
    if not table["gpu_ms"].notna().any():
        for name in ("gpu ms [95 %]", "gpu rank", "enqueue ms"):
            del columns[name]
    if table["health"].fillna("ok").eq("ok").all():
        del columns["health"]
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("status", no_wrap=True)
    for _, row in table.iterrows():
        values = [_axis(row[axis]) for axis in axes] + [show(row) for show in columns.values()]
        shown.add_row(*values, str(row["status"]))
    return shown


def show(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print the table and its notes; wider than the terminal rather than cut where there is none."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 500
    console.print(render(table))
    for note in notes(table):
        console.print(f"· {note}", highlight=False, markup=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """`trt-sweep table FOLDER`"""
    parser = argparse.ArgumentParser(prog="trt-sweep table", description="Print and write the table of a sweep.")
    parser.add_argument("folder", type=Path, help="a sweep's folder, or any folder above several")
    options = parser.parse_args(arguments)
    try:
        table = load(options.folder)
        if table.empty and not table.attrs["unreadable"]:
            raise SweepError(f"{options.folder} holds no record: give the folder of a sweep, which has points/ in it")
        show(table)
        written = write(table, options.folder)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {options.folder} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print("written:", ", ".join(map(str, written)))
    return 0
