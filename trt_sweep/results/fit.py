"""Choose what of a table fits a width: axes and status always, then columns from the left for as long as they fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

GAP = 2  # blanks between two columns
LONG = 12  # characters of a value from which on it is broken at blanks, where the width is short

Cells = list[str]  # of one column, the header first


@dataclass(frozen=True)
class Fitted:
    """Hold the cells of what is shown by column, the header first, and the names of columns that are not.

    `intervals` says whether some column has them, `narrowed` whether one goes without though it could have them.
    """

    axes: list[Cells]
    columns: dict[str, Cells]
    status: Cells
    intervals: bool
    narrowed: bool
    hidden: list[str]


def width_of(cells: Cells) -> int:
    """Return how many characters wide a column is."""
    return max(cell_len(line) for cell in cells for line in cell.split("\n"))


def fit(
    axes: Sequence[Cells],
    columns: Mapping[str, tuple[Cells, Cells | None]],
    status: Cells,
    width: int | None,
    needed: Sequence[str],
) -> Fitted:
    """Return what fits `width`; everything where that is None.

    `columns` are in the order in which they are shown. Each has its cells without intervals, and those with them where
    it has any. Columns are left out from the right, the `needed` ones and their intervals after the others. Where the
    needed ones would not fit, headers and long values of axes are broken into lines, then the status. Axes and `status`
    are always there.
    """
    if width is None:
        every = {name: full or cells for name, (cells, full) in columns.items()}
        return Fitted(list(axes), every, status, any(full for _, full in columns.values()), False, [])
    essential = [name for name in columns if name in needed]
    least = sum(width_of(columns[name][0]) + GAP for name in essential)
    shown = list(axes)
    if _total(shown, status) + least > width:
        shown = [[_broken_name(header), *map(_broken, values)] for header, *values in shown]
    if _total(shown, status) + least > width:
        status = list(map(_broken_name, status))
    left = width - _total(shown, status)
    taken: dict[str, Cells] = {}
    steps = [(name, False) for name in essential] + [(name, True) for name in essential]
    steps += [(name, full) for name in columns if name not in essential for full in (False, True)]
    for name, full in steps:
        cells = columns[name][full]
        if cells is None:
            continue
        more = width_of(cells) - (width_of(taken[name]) if full else -GAP)
        if more <= left:
            taken[name], left = cells, left - more
        elif not full:
            break
    hidden = [name for name in columns if name not in taken]
    with_intervals = [cells is columns[name][1] for name, cells in taken.items() if columns[name][1]]
    in_order = {name: taken[name] for name in columns if name in taken}
    return Fitted(shown, in_order, status, any(with_intervals), not all(with_intervals), hidden)


def _total(axes: Sequence[Cells], status: Cells) -> int:
    return sum(width_of(cells) + GAP for cells in axes) + width_of(status)


def _broken_name(name: str) -> str:
    """Return a name broken behind its underscores."""
    return "\n".join(re.findall(r"[^_]*_|[^_]+", name))


def _broken(value: str) -> str:
    """Return a long value broken at its blanks."""
    return "\n".join(textwrap.wrap(value, LONG, break_long_words=False, break_on_hyphens=False)) or value
