"""All records below a folder as one DataFrame; `python -m trt_sweep.table FOLDER` prints it and writes it."""

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
from trt_sweep.records import BASELINE

AXES = (
    "model",
    "backend",
    "mode",
    "precision",
    "batch_size",
    "dynamic_range",
    "time_at",
    "input_shapes",
    "min_block_size",
    "optimization_level",
    "runtime",
    "cuda_graphs",
    "runtime_cache",
    "dynamic_shapes_kernel_specialization_strategy",
    "cache",
    "compile",
    "cold_cache",
    "device",
)
# They leave the engine as it is and change how it runs.
RUNTIME_AXES = {
    "backend",
    "batch_size",
    "time_at",
    "input_shapes",
    "runtime",
    "cuda_graphs",
    "runtime_cache",
    "dynamic_shapes_kernel_specialization_strategy",
    "cold_cache",
}
HEADERS = {"dynamic_shapes_kernel_specialization_strategy": "specialization"}


def load(folder: str | Path) -> pd.DataFrame:
    """Every record below `folder`, one row each, in order of creation; derived columns behind the record's own.

    `speedup` is the eager baseline's latency over the row's (same sweep, model, inputs, batch, precision and device),
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
    for path in sorted(folder.rglob(f"points/*/{records.RECORD}")):
        try:
            rows.append(vars(records.read(path)) | {"folder": str(path.parent.relative_to(folder))})
        except (OSError, ValueError, TypeError) as error:
            unreadable[str(path)] = f"{type(error).__name__}: {error}"
    table = pd.DataFrame(rows, columns=[*records.columns(), "folder"])
    table = table.astype(dict.fromkeys(records.integer_columns(), "Int64"))
    table = table.sort_values(["created_utc", "point_id"], kind="stable", ignore_index=True)
    for name, precision in (("speedup", None), ("speedup_fp32", "fp32")):
        table[name] = _speedup(table, precision)
    table = ranking.ranked(table)
    table.attrs["unreadable"] = unreadable
    return table


def _speedup(table: pd.DataFrame, precision: str | None) -> pd.Series:
    """Against the eager row of the same precision, or of the one named."""
    keys = ["sweep_id", "model_id", "batch_size", "device", "gpu_uuid"]
    ok = table[table["status"] == "ok"]
    eager = ok[(ok["backend"] == BASELINE) & ~ok["cuda_graphs"].fillna(False).astype(bool)]
    if precision is None:
        keys = [*keys, "precision"]
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
        "rel. error": lambda row: _number(row["rel_l2_error"], ".1e"),
        "health": lambda row: _number(row["health"], ""),
    }
    if not table["load_s"].notna().any():
        del columns["load s"]
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


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know: shared engines, ignored axes, plans, failures with their reasons."""
    found = []
    engines = table[table["engine_id"].notna()].groupby("engine_id", sort=False)
    for engine, group in engines:
        differ = [axis for axis in AXES if group[axis].nunique(dropna=False) > 1]
        if "time_at" in differ:
            differ = [axis for axis in differ if axis not in ("batch_size", "input_shapes")]
        if differ:
            runtime = [axis for axis in differ if axis in RUNTIME_AXES]
            found.append(
                f"{len(group)} points share one engine ({str(engine)[:6]}): {', '.join(differ)} did not change it"
                + (
                    "; it was timed once for all of them"
                    if int(group["timed_with"].notna().sum()) == len(group) - 1
                    else "; differences between their times are noise"
                    if not runtime
                    else ", but may run it differently"
                    if runtime == differ
                    else f"; {', '.join(runtime)} may run it differently"
                )
            )
    reused = int((table["engine_reused_from"].notna() & table["dynamic_range"].isna()).sum())
    if reused:
        found.append(
            f"{reused} of {len(table)} points were not built: they run what another of the same partition and "
            "arguments was built for (engine_reused_from); reuse=false builds and times each"
        )
    stored = int(table["engines_stored"].fillna(0).sum())
    if stored:
        found.append(
            f"{stored} engines were not built by the process that timed them, but ahead or before (engines_stored); "
            "build_s counts what building them took"
        )
    found += _merged(table)
    found += ranking.notes(table)
    ignored = sorted({axis for axes in table["ignored_axes"] for axis in axes or []})
    if ignored:
        names = {"rtx": "TensorRT-RTX", "standard": "TensorRT"}
        which = " and ".join(sorted({names.get(str(name), str(name)) for name in table["tensorrt_flavor"].dropna()}))
        found.append(f"{which} accepts {', '.join(ignored)} without effect")
    if "disable_tf32" in ignored:
        found.append("so precision=fp32 was computed in TF32 there; eager in fp32 was not")
    planned = table[table["status"] == "dryrun"]
    if len(planned):
        assumed = planned["assumed_compute_capability"].dropna().unique()
        note = f"planned, not built or timed: {len(planned)} of {len(table)} points"
        found.append(
            note + (f" (no GPU here; compute capability {', '.join(assumed)} assumed)" if len(assumed) else "")
        )
    for row in planned.drop_duplicates(["model", "batch_size", "precision"]).to_dict("records"):
        if not pd.isna(row["advised_min_block_size"]) and row["engines"] is not None:
            advice = dict.fromkeys([row["advised_min_block_size"], row["advised_min_block_size_moderate"]])
            found.append(
                f"{row['model']}: the library advises min_block_size={' or '.join(map(str, advice))} "
                f"(fewest segments, moderate); its default is {row['default_min_block_size']}"
            )
    errors, spreads = table["rel_l2_error"].astype(float), table["reference_spread"].astype(float)
    for row in table[errors * 3 > spreads].drop_duplicates(["model", "precision"]).to_dict("records"):
        found.append(
            f"{row['model']} {row['precision']}: other inputs move the reference by {row['reference_spread']:.1e} "
            "only, so errors of that size prove little; trained weights would say more"
        )
    failed = table[~table["status"].isin(("ok", "dryrun"))]
    for (status, phase, reason), rows in failed.groupby(["status", "phase", "reason"], sort=False):
        where = ", ".join(rows["folder"][:2]) + (f" and {len(rows) - 2} more" if len(rows) > 2 else "")
        found.append(f"{status} in {phase} ({where}): {reason}")
    found += [f"unreadable: {path} ({reason})" for path, reason in table.attrs.get("unreadable", {}).items()]
    return list(dict.fromkeys(found))


def _merged(table: pd.DataFrame) -> list[str]:
    """Which jobs led to one point, since its backend does not use what they differ in."""
    found = []
    shared = table[table["jobs"].map(len) > 1]
    for backend, rows in shared.groupby("backend", sort=False):
        jobs = ", ".join("=".join(map(str, numbers)) for numbers in rows["jobs"])
        axes = dict.fromkeys(axis for merged in rows["merged_axes"] for axis in merged or [])
        found.append(f"{backend} ran once for jobs {jobs}: {', '.join(axes)} made no difference to it")
    return found


def show(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print the table and its notes; wider than the terminal rather than cut where there is none."""
    console = console or Console()
    if not console.is_terminal:
        console.width = 500
    console.print(render(table))
    for note in notes(table):
        console.print(f"· {note}", highlight=False, markup=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """`python -m trt_sweep.table FOLDER`"""
    parser = argparse.ArgumentParser(
        prog="python -m trt_sweep.table", description="Print and write the table of a sweep."
    )
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


if __name__ == "__main__":
    sys.exit(main())
