"""Write a record to its file and read it back, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trt_sweep.errors import SweepError
from trt_sweep.results.columns import SCHEMA_VERSION
from trt_sweep.results.record import RECORD, Record, columns, columns_of

_NAMES = tuple(columns())
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float)}


def now() -> str:
    """Return the time as `created_utc` has it: UTC, ISO 8601, in milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def write_json(path: Path, content: Any) -> None:
    """Write JSON through a temporary file and a rename, so that a reader sees all of it or nothing.

    Raises ValueError for numbers that are not finite and TypeError for what JSON cannot hold; the old file then stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which numbers that are not finite are null."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def write(folder: Path, record: Record) -> Path:
    """Write the record of a point into its folder and return the file; numbers that are not finite become null."""
    path = folder / RECORD
    write_json(path, finite(vars(record)))
    return path


def read(path: Path) -> Record:
    """Read one record; columns that this version does not know are left out.

    Raises SweepError for a record of a newer schema, ValueError for a file that is not a record at all.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "schema_version" not in content or "point_id" not in content:
        raise ValueError("not a record")
    version = content["schema_version"]
    if not isinstance(version, int):
        raise ValueError(f"schema_version is {version!r}")
    if version > SCHEMA_VERSION:
        raise SweepError(
            f"{path}: schema_version={version} is newer than the {SCHEMA_VERSION} that this trt_sweep reads: "
            "update trt_sweep, or point it at another folder"
        )
    row = {name: content[name] for name in _NAMES if name in content}
    for kind, allowed in _TYPES.items():
        for name in columns_of(kind):
            if row.get(name) is not None and not isinstance(row[name], allowed):
                raise ValueError(f"{name} is {row[name]!r}")
    return Record(**row)
