"""Read all records below some folders into one DataFrame, and write it as CSV and Parquet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.results import axes, ranking, record, store
from trt_sweep.results.record import BASELINE


def load(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Return every record below these folders, one row each, in order of creation; derived columns come last.

    - `folder`: the folder of the point, relative to the folder given, or to `common_folder` of several
    - `task_id`: that of the record, in older ones `model_id`; `factory` has only what differs
    - `speedup`: the eager baseline's latency over the row's, of the same sweep, model, inputs, batch, device and
      precision (for quantized models in the precision beside their quantized parts)
    - `speedup_fp32`: likewise over eager in FP32. Both are null unless both rows are `ok`
    - `speedup_ci_low` and so on: their 95 % intervals, from visits that were made in turn; else null
    - `latency_rank`, `gpu_rank` and their `_worst`: of `trt_sweep.results.ranking.ranked`

    A record that lies below two of the folders is read once. `DataFrame.attrs["unreadable"]` names files that are no
    records, with the reason. Raises SweepError for a folder that is not there and for a record of a newer schema.
    """
    root = common_folder(folder, *more)
    rows, unreadable = [], {}
    for path in _files(list(map(Path, (folder, *more)))):
        try:
            rows.append(vars(store.read(path)) | {"folder": os.path.relpath(path.parent, root)})
        except (OSError, ValueError, TypeError) as error:
            unreadable[str(path)] = f"{type(error).__name__}: {error}"
    table = pd.DataFrame(rows, columns=[*record.columns(), "folder"])
    table = table.astype(dict.fromkeys(record.integer_columns(), "Int64"))
    table = table.sort_values(["created_utc", "point_id"], kind="stable", ignore_index=True).copy()
    table["task_id"] = table["task_id"].fillna(table["model_id"]).astype(table["model_id"].dtype)
    table["factory"] = axes.telling_factories(table)
    for name, precision in (("speedup", None), ("speedup_fp32", "fp32")):
        found = _speedup(table, precision)
        for end in ("", "_ci_low", "_ci_high"):
            table[f"{name}{end}"] = found[f"ratio{end}"]
    table = ranking.ranked(table)
    table.attrs["unreadable"] = unreadable
    return table


def common_folder(folder: str | Path, *more: str | Path) -> Path:
    """Return what the `folder` column of `load` is relative to: the folder given, or the innermost around several."""
    return Path(os.path.commonpath([Path(one).absolute() for one in (folder, *more)])) if more else Path(folder)


def _files(folders: list[Path]) -> list[Path]:
    """Return the files that may be records below these folders, each once, sorted by their path."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SweepError(
                f"{folder} is not a folder: give the folder of a sweep, for instance outputs/2026-01-31/12-00-00-ab12"
            )
        for path in folder.rglob(f"points/*/{record.RECORD}"):
            found.setdefault(path.resolve() if len(folders) > 1 else path, path)
    return sorted(found.values(), key=str)


def _speedup(table: pd.DataFrame, precision: str | None) -> pd.DataFrame:
    """Return how many times faster each row is than the eager row of its own precision, or of the one named.

    The columns are `ratio` and the ends of its interval.
    """
    keys = ["sweep_id", "model_id", "batch_size", "device", "gpu_uuid"]
    ok = table[table["status"] == "ok"]
    ok = ok.assign(base_precision=ok["base_precision"].fillna(ok["precision"]))  # records from before quantization
    plain = ~ok["cuda_graphs"].fillna(False).astype(bool) & ok["quantization_method"].isna()
    eager = ok[(ok["backend"] == BASELINE) & plain]
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


def write(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `results.csv` and `results.parquet` into the folder and return both; lists stand as JSON in the CSV."""
    csv, parquet = folder / "results.csv", folder / "results.parquet"
    flat = table.map(lambda value: json.dumps(value) if isinstance(value, list | dict) else value)
    flat.to_csv(csv, index=False)
    table.to_parquet(parquet, index=False)
    return [csv, parquet]
