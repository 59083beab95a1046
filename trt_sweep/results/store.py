"""Write a record to its file and read it back, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from trt_sweep.errors import SweepError
from trt_sweep.results import files, schema
from trt_sweep.results.columns import SCHEMA_VERSION
from trt_sweep.results.record import RECORD, Record


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
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names none
        raise
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

    Raises SweepError for a record of a newer schema, ValueError for what is no record, or has a value that cannot be.
    """
    content = files.read_bytes(path)
    try:
        record = schema.validated(content)
    except ValueError:
        row = from_json(content)  # once more, lest a newer record is taken for a wrong one
        if not isinstance(row, dict) or not {"schema_version", "point_id"} <= row.keys():
            raise ValueError("not a record") from None
        _refuse_newer(path, row["schema_version"])
        raise
    _refuse_newer(path, record.schema_version)
    return record


def _refuse_newer(path: Path, version: object) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SweepError(
            f"{path}: schema_version={version} is newer than the {SCHEMA_VERSION} that this trt_sweep reads: "
            "update trt_sweep, or point it at another folder"
        )
