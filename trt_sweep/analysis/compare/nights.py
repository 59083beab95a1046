"""Read the nights of one sweep, the oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.compare import matching
from trt_sweep.results import record


@dataclass(frozen=True)
class Night:
    """Hold a sweep's folder and its rows."""

    folder: Path
    rows: pd.DataFrame

    @property
    def created(self) -> str:
        """Return when its first point was timed, ISO 8601."""
        return str(self.rows["created_utc"].min())


def load(folders: Sequence[Path]) -> list[Night]:
    """Return the nights, the oldest first: each folder is one; where one is given, each sweep below it.

    Raise SweepError for a folder that cannot be read.
    """
    if len(folders) == 1 and folders[0].is_dir():
        found = sorted({path.parents[2] for path in folders[0].rglob(f"points/*/{record.RECORD}")}) or folders
    else:
        found = list({folder.resolve(): folder for folder in folders}.values())
    return sorted((Night(folder, matching.read(folder)) for folder in found), key=lambda night: night.created)
