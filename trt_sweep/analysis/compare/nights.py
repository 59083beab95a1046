"""Read the nights of one sweep, the oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trt_sweep.analysis.compare import matching
from trt_sweep.results import files, table


@dataclass(frozen=True)
class Night:
    """Hold a sweep's folder and its rows."""

    folder: Path
    rows: pd.DataFrame

    @property
    def created(self) -> str:
        """Return when its first point was timed, ISO 8601."""
        return str(self.rows["created_utc"].min())


def load(folders: Sequence[Path], unreadable: dict[str, str] | None = None) -> list[Night]:
    """Return the nights, the oldest first: each folder is one; where one is given, each sweep below it.

    What cannot be read is left out, a night of nothing else too, and named in `unreadable` with the reason. Raise
    SweepError for a folder without any record.
    """
    unreadable = {} if unreadable is None else unreadable
    if len(folders) == 1 and folders[0].is_dir():
        paths, bad = files.records_below(folders)
        unreadable |= bad
        found = sorted({path.parents[2] for path in paths}) or list(folders)
    else:
        found = list({folder.resolve(): folder for folder in folders}.values())
    nights = []
    for folder in found:
        rows = table.load(folder)
        unreadable |= rows.attrs["unreadable"]
        if len(rows) or not rows.attrs["unreadable"]:
            nights.append(Night(folder, matching.newest(folder, rows)))
    return sorted(nights, key=lambda night: night.created)
