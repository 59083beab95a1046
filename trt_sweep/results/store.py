"""TODO."""

from __future__ import annotations

import json
import math
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trt_sweep.errors import SweepError
from trt_sweep.results.columns import SCHEMA_VERSION
from trt_sweep.results.record import RECORD, Record, _columns_of, _names


def now() -> str:
    """The time, as `created_utc` has it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def write_json(path: Path, content: Any) -> None:
    """Write through a temporary file and a rename, so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write(folder: Path, record: Record) -> Path:
    """Write the record of a point into its folder; numbers that are not finite become null."""
    row = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in vars(record).items()
    }
    path = folder / RECORD
    write_json(path, row)
    return path


def read(path: Path) -> Record:
    """Read one record.

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
    row = {name: content[name] for name in _names() if name in content}
    for kind, allowed in (("int", int), ("float", (int, float))):
        for name in _columns_of(kind):
            if row.get(name) is not None and not isinstance(row[name], allowed):
                raise ValueError(f"{name} is {row[name]!r}")
    return Record(**row)
