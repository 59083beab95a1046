"""Say in sentences which builds a table's points run, and what torch.compile left out of them."""

from __future__ import annotations

import pandas as pd

NAMES = 6  # of operators that a note has


def notes(table: pd.DataFrame) -> list[str]:
    """Return the notes on the builds of a table: those that points share, jobs that led to one point, graph breaks."""
    return [*_not_built(table), *_merged(table), *_graph_breaks(table)]


def _not_built(table: pd.DataFrame) -> list[str]:
    """Tell how many points run an engine that was built for another, or in another process."""
    found = []
    reused = int((table["engine_reused_from"].notna() & table["dynamic_range"].isna()).sum())
    if reused:
        found.append(
            f"{reused} of {len(table)} points were not built: they run the engines of another point with the same "
            "partition and arguments (engine_reused_from); reuse=false builds and times each"
        )
    stored = int(table["engines_stored"].fillna(0).sum())
    if stored:
        found.append(
            f"{stored} engine{'s' * (stored > 1)} built elsewhere than timed: ahead, before or for another point "
            "(engines_stored); build_s counts what building took"
        )
    return found


def _merged(table: pd.DataFrame) -> list[str]:
    """Tell which jobs led to one point, since its backend does not use what they differ in."""
    found = []
    shared = table[table["jobs"].map(len) > 1]
    for backend, rows in shared.groupby("backend", sort=False):
        jobs = "; ".join(f"{', '.join(map(str, others))} and {last}" for *others, last in rows["jobs"])
        axes = dict.fromkeys(axis for merged in rows["merged_axes"] for axis in merged or [])
        names = [f"{axis} (no input has one)" if axis == "batch_size" else axis for axis in axes]
        why = f": {', '.join(names)} made no difference to it" if axes else ", as they ask for the same"
        found.append(f"{backend}: jobs {jobs} are merged{', each' * (len(rows) > 1)} into one point{why}")
    return found


def _graph_breaks(table: pd.DataFrame) -> list[str]:
    """Tell where torch.compile ends its graphs early, which operators run outside of them, and where it makes none."""
    found = []
    compiled = table[table["graphs"].notna() & (table["graphs"].eq(0) | table["graph_breaks"].gt(0))]
    for row in compiled.to_dict("records"):
        said, reasons = f"{row['model']} {row['backend']}", "; ".join(_list(row["break_reasons"]))
        names = row["ops_outside_names"].split() if isinstance(row["ops_outside_names"], str) else []
        shown = ", ".join(names[:NAMES]) + f" and {len(names) - NAMES} more" * (len(names) > NAMES)
        if row["graphs"] == 0:
            ran = f" ({shown})" if names else ""
            why = reasons or "the model has no operator"
            found.append(f"{said}: nothing was compiled, and all of it ran in eager PyTorch{ran}: {why}")
        elif names:
            outside = f"{row['ops_outside']:.0f} operators of a call run beside its {row['graphs']:.0f} graphs"
            found.append(f"{said}: {outside} ({shown}): {reasons}")
        else:
            found.append(f"{said}: a call runs {row['graphs']:.0f} graphs, and no operator between them: {reasons}")
    return found


def _list(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
