"""Read all records below some folders into one DataFrame, and write it as CSV and Parquet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.results import factories, files, ranking, record, schema, store
from trt_sweep.results.archive import POINTS
from trt_sweep.results.record import BASELINE

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a cell begins that a spreadsheet runs


def load(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Return every record below these folders, one row each, in order of creation; derived columns come last.

    Those are `trt_sweep.results.columns.Derived`. `task_id` of older records is their `model_id`, and they have one
    stream without transfers. `factory` has only what differs, and `sweep_id` is a path where two folders share a name.
    Axes are as the records have them; `trt_sweep.load` fills in what took effect.

    A record that lies below two of the folders, or that links lead to, is read once. So is one that has been copied or
    packed; `DataFrame.attrs["copies"]` names the folders of copies. `attrs["unreadable"]` names the files that are no
    records, and the folders that cannot be read, with the reason; `attrs["folder"]` is what `folder` is relative to.
    Raises SweepError for a folder that is not there, or is inside a sweep, and for a record of a newer schema.
    """
    root = common_folder(folder, *more)
    paths, unreadable = _files(list(map(Path, (folder, *more))))
    found, copies = dict[tuple[str, ...], dict[str, Any]](), list[str]()
    for path in sorted(paths, key=lambda path: not os.path.lexists(path)):  # packed ones last
        try:
            one = store.read(path)
            schema.require_row(one)
            row = vars(one) | {"folder": os.path.relpath(path.parent, root)}
            if found.setdefault((one.sweep_id, one.point_id, one.created_utc), row) is not row:
                copies.append(row["folder"])
        except (OSError, ValueError) as error:
            unreadable[str(path)] = files.why(error)
    rows = sorted(found.values(), key=lambda row: str(row["folder"]))
    table = pd.DataFrame(rows, columns=[*record.columns(), "folder"])
    # Not by way of the float that pandas makes of integers beside nulls.
    whole = {name: pd.array([row[name] for row in rows], dtype="Int64") for name in record.integer_columns()}
    table = table.assign(**whole)
    table = table.sort_values(["created_utc", "point_id"], kind="stable", ignore_index=True).copy()
    names = sweeps(table, root)
    several = names.groupby(table["sweep_id"]).transform("nunique") > 1
    table["sweep_id"] = table["sweep_id"].where(~several, names)
    table["task_id"] = table["task_id"].fillna(table["model_id"]).astype(table["model_id"].dtype)
    table["streams"] = table["streams"].fillna(1)
    table["transfers"] = table["transfers"].eq(True)
    table["factory"] = factories.telling_factories(table)
    for name, precision in (("speedup", None), ("speedup_fp32", "fp32")):
        ratios = _speedup(table, precision)
        for end in ("", "_ci_low", "_ci_high"):
            table[f"{name}{end}"] = ratios[f"ratio{end}"]
    table = ranking.ranked(table)
    table.attrs |= {"unreadable": unreadable, "copies": copies, "folder": str(root)}
    return table


def sweeps(rows: pd.DataFrame, root: str | Path) -> pd.Series:
    """Return the folder of each row's sweep, relative to `root`, which the table was loaded from; its name for that."""
    folders = rows["folder"].map(lambda folder: str(Path(folder).parent.parent))
    return folders.where(folders != ".", Path(root).absolute().name).astype(object)


def common_folder(folder: str | Path, *more: str | Path) -> Path:
    """Return what the `folder` column of `load` is relative to: the folder given, or the innermost around several."""
    return Path(os.path.commonpath([Path(one).absolute() for one in (folder, *more)])) if more else Path(folder)


def _files(folders: list[Path]) -> tuple[list[Path], dict[str, str]]:
    """Return what `files.records_below` does; raise SweepError for a folder that is not there, or is inside a sweep."""
    for folder in folders:
        if not folder.is_dir():
            raise SweepError(
                f"{folder} is not a folder: give the folder of a sweep, for instance outputs/2026-01-31/12-00-00-ab12"
            )
        real = folder.resolve()
        for points, records in ((real, f"*/{record.RECORD}"), (real.parent, record.RECORD)):
            if points.name == POINTS and any(real.glob(records)):
                raise SweepError(f"{folder} is a part of a sweep: give the folder of the sweep, {points.parent}")
    return files.records_below(folders)


def _speedup(table: pd.DataFrame, precision: str | None) -> pd.DataFrame:
    """Return how many times faster each row is than the eager row of its own precision, or of the one named.

    The columns are `ratio` and the ends of its interval.
    """
    keys = ["sweep_id", "model_id", "batch_size", "streams", "transfers", "device", "gpu_uuid"]
    ok = table[table["status"] == "ok"]
    ok = ok.assign(base_precision=ok["base_precision"].fillna(ok["precision"]))  # records from before quantization
    eager = ok[(ok["backend"] == BASELINE) & plain(ok)]
    if precision is None:
        keys = [*keys, "base_precision"]
    else:
        eager = eager[eager["precision"] == precision]
    eager = eager.drop_duplicates(keys)[keys].reset_index(names="eager")
    both = ok[keys].reset_index().merge(eager, on=keys)
    columns = ["ratio", "ratio_ci_low", "ratio_ci_high"]
    rows = table[["latency_ms", *ranking.VISITED]].to_dict("records")
    ratios = [
        (1.0, None, None) if base == index else ranking.ratio(rows[base], rows[index])
        for base, index in zip(both["eager"], both["index"], strict=True)
    ]
    return pd.DataFrame(ratios, index=both["index"], columns=columns).reindex(table.index).astype(float)


def plain(rows: pd.DataFrame) -> pd.Series:
    """Return which rows have neither CUDA graphs nor quantized parts, as baselines have none."""
    return ~rows["cuda_graphs"].fillna(False).astype(bool) & rows["quantization_method"].isna()


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `results.csv` and `results.parquet` into the folder and return both.

    In the CSV lists stand as JSON, and a text that a spreadsheet would run has an apostrophe before it.
    """
    csv, parquet = folder / "results.csv", folder / "results.parquet"
    table.map(_cell).to_csv(csv, index=False)
    table.to_parquet(parquet, index=False)
    return [csv, parquet]


def _cell(value: object) -> object:
    if isinstance(value, str):
        text = f"'{value}" if value.startswith(FORMULA) else value
        return text.replace("\r", "\n")  # a lone CR is not quoted, and would end the row
    return json.dumps(value) if isinstance(value, list | dict) else value
