"""Split records by where they were made: those of several GPUs, flavours or devices are never compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from trt_sweep.analysis.report import effects, text
from trt_sweep.analysis.report import verdicts as report_verdicts
from trt_sweep.analysis.report.pairs import TIMES, Scatter, follows
from trt_sweep.analysis.report.verdicts import Verdict
from trt_sweep.results.axes import COMPARABLE, moving_with, varied
from trt_sweep.results.notes import FLAVORS
from trt_sweep.results.table import sweeps

NOWHERE = "no device (planned, or failed before it was known)"


@dataclass(frozen=True)
class Section:
    """Hold the rows of one GPU (or CPU) and flavour of TensorRT, and what is known of their axes."""

    title: str
    rows: pd.DataFrame
    axes: list[str]
    scatters: dict[str, Scatter]
    effects: list[effects.Axis]
    verdicts: list[Verdict]


def split(rows: pd.DataFrame, delta: float) -> Iterator[Section]:
    """Yield one section for each place, with effects and verdicts; less than the share `delta` counts as no effect."""
    rows = prepared(rows)
    places = _places(rows)
    for place, index in rows.groupby(places, sort=False).indices.items():
        these = rows.iloc[index].reset_index(drop=True)
        these.attrs = {}
        axes = _axes(these)
        scatters = {clock: Scatter(these, clock) for clock in TIMES}
        several = [axis for axis in axes if these[axis].nunique(dropna=False) > 1 and not follows(these, axis)]
        found = effects.effects(these, several, scatters, delta)
        verdicts = report_verdicts.audit(these, found, scatters, delta)
        yield Section(str(place), these, axes, scatters, found, verdicts)


def prepared(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with what their sweep is called (`sweep`), and text as Python's own.

    Text is taken one value at a time from here on, for which pandas' strings are several times slower.
    """
    strings = [name for name in rows if isinstance(rows[name].dtype, pd.StringDtype)]
    return rows.astype(dict.fromkeys(strings, object)).copy().assign(sweep=sweeps(rows, rows.attrs.get("folder", "")))


def works(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Split rows by what may be compared, in the order of the models and their sizes."""
    return ordered(rows, [group for _, group in rows.groupby(list(COMPARABLE), dropna=False, sort=False)])


def ordered(rows: pd.DataFrame, groups: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return groups of these rows in the order of the models and their sizes."""
    models = list(rows["model"].unique())
    return sorted(groups, key=lambda group: (models.index(group["model"].iloc[0]), group["batch_size"].iloc[0]))


def _axes(rows: pd.DataFrame) -> list[str]:
    """Return the axes that vary, but for what only repeats another."""
    found = varied(rows)
    return [axis for axis in found if not ("batch_size" in found and axis in moving_with("batch_size"))]


def _places(rows: pd.DataFrame) -> pd.Series:
    """Return the name of each row's place.

    A row that failed before it had a device belongs to its sweep's only place, if there is only one.
    """
    uuids = rows.groupby("gpu_name")["gpu_uuid"].nunique()
    several = set(uuids[uuids > 1].index)

    def hardware(row: dict[object, object]) -> str | None:
        if str(row["device"] or "").startswith("cpu"):
            return "CPU"
        name = row["gpu_name"]
        if text.missing(name):
            return None
        return f"{name} ({str(row['gpu_uuid'])[:12]})" if name in several else str(name)

    columns = ["device", "gpu_name", "gpu_uuid"]
    where = pd.Series([hardware(row) for row in rows[columns].to_dict("records")], index=rows.index, dtype=object)
    only = where.groupby(rows["sweep_id"]).transform(
        lambda names: names.dropna().iloc[0] if names.nunique() == 1 else None
    )
    where = where.fillna(only).fillna(NOWHERE)
    flavors = rows["tensorrt_flavor"].map(FLAVORS).fillna("no TensorRT")
    return where.where(where == "CPU", where + ", " + flavors)
