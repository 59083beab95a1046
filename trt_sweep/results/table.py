"""All records below folders as one DataFrame; `trt-sweep table FOLDER` prints it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.results import ranking, record, store
from trt_sweep.results.record import BASELINE


def load(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Return every record below these folders, one row each, in order of creation; derived columns behind its own.

    `folder` is a point's place below the folder given, or below what several have in common.
    `speedup` is the eager baseline's latency over the row's (same sweep, model, inputs, batch, precision and device;
    for quantized models in the precision beside their quantized parts),
    `speedup_fp32` likewise against eager in FP32; null unless both rows are `ok`. `latency_rank`, `gpu_rank` and their
    `_worst` are of `ranking.ranked`. `DataFrame.attrs["unreadable"]` names files that are no records, with the reason.
    Raises SweepError for a folder that is not there and for a record of a newer schema.
    """
    folders = (folder, *more)
    root = common(folders)
    rows, unreadable = [], {}
    for path in _records(folders):
        try:
            rows.append(vars(store.read(path)) | {"folder": os.path.relpath(path.parent, root)})
        except (OSError, ValueError, TypeError) as error:
            unreadable[str(path)] = f"{type(error).__name__}: {error}"
    table = pd.DataFrame(rows, columns=[*record.columns(), "folder"])
    table = table.astype(dict.fromkeys(record.integer_columns(), "Int64"))
    table = table.sort_values(["created_utc", "point_id"], kind="stable", ignore_index=True).copy()
    for name, precision in (("speedup", None), ("speedup_fp32", "fp32")):
        table[name] = _speedup(table, precision)
    table = ranking.ranked(ranking.renewed(table))
    table.attrs["unreadable"] = unreadable
    return table


def common(folders: Sequence[str | Path]) -> Path:
    """Return the folder that the column `folder` starts from: the one that is given, or the one above several."""
    if len(folders) == 1:
        return Path(folders[0])
    return Path(os.path.commonpath([Path(folder).absolute() for folder in folders]))


def _records(folders: Sequence[str | Path]) -> list[Path]:
    """Return the files of records below the folders, each once, though one folder may lie in another."""
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise SweepError(
                f"{folder} is not a folder: give the folder of a sweep, for instance outputs/2026-01-31/12-00-00-ab12"
            )
        for path in sorted(folder.rglob(f"points/*/{record.RECORD}"), key=str):
            found.setdefault(path.absolute(), path)
    return list(found.values())


def _speedup(table: pd.DataFrame, precision: str | None) -> pd.Series:
    """Return the speedup against the eager row of the same precision, or of the one named."""
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
