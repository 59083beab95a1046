"""Choose what of a table fits a width: first what answers, then axes, then columns from the left."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from trt_sweep.results.axes import LABEL_AXES

GAP = 2  # blanks between two columns
MODEL, RATIO = "model", "vs eager"  # headers
LONG = 12  # characters of a value from which on it is broken at blanks, where the width is short

Cells = list[str]  # of one column, the header first
Shape = Callable[[Sequence[Cells]], list[Cells]]


@dataclass(frozen=True)
class Fitted:
    """Hold the cells of what is shown by column, the header first, and the names of what is hidden.

    `intervals` says whether some column has them. Where `stacked`, models may stand in lines of their own, which are
    the upper ones of cells.
    """

    axes: list[Cells]
    columns: dict[str, Cells]
    status: Cells
    intervals: bool
    hidden: list[str]
    stacked: bool = False


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
    needed ones would not fit, headers and long values of axes are broken into lines, then the status, then models stand
    in lines of their own. Axes are left out where what answers would not fit: the first needed column, the ratio to
    eager and the status.
    """
    if width is None:
        every = {name: full or cells for name, (cells, full) in columns.items()}
        return Fitted(list(axes), every, status, any(full for _, full in columns.values()), [])
    essential = [name for name in columns if name in needed]
    answers = [name for name in essential if name in (needed[0], RATIO)]
    kept, ending, short = list(axes), status, list(map(_broken_name, status))

    def room(names: list[str]) -> int:
        return width - width_of(ending) - sum(width_of(columns[name][0]) + GAP for name in names)

    for shape, ending in ((_whole, status), (_broken, status), (_broken, short), (_stacked, short)):  # noqa: B007
        if _total(shape(axes)) <= room(essential):
            break
    else:
        kept = _telling(axes, shape, room(answers))
    shown = shape(kept)
    left = room([]) - _total(shown)
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
    with_intervals = [cells is columns[name][1] for name, cells in taken.items() if columns[name][1]]
    hidden = [f"{cells[0]} (axis)" for cells in axes if not any(cells is one for one in kept)]
    hidden += ["intervals"] * (not all(with_intervals)) + [name for name in columns if name not in taken]
    in_order = {name: taken[name] for name in columns if name in taken}
    return Fitted(shown, in_order, ending, any(with_intervals), hidden, shape is _stacked)


def _total(axes: Sequence[Cells]) -> int:
    return sum(width_of(cells) + GAP for cells in axes)


def _telling(axes: Sequence[Cells], shape: Shape, room: int) -> list[Cells]:
    """Return the axes that fit: those that name a point first, then by how many rows each tells apart; one at least."""
    kept: list[int] = []

    def cells(more: int) -> list[Cells]:
        return [axes[place] for place in sorted([*kept, more])]

    while fitting := [place for place in range(len(axes)) if place not in kept and _total(shape(cells(place))) <= room]:
        kept.append(max(fitting, key=lambda place: (axes[place][0] in LABEL_AXES, _apart(cells(place)))))
    return [axes[place] for place in sorted(kept)] or [axes[0]]


def _apart(axes: Sequence[Cells]) -> int:
    """Return how many rows these axes tell apart."""
    return len(set(zip(*(cells[1:] for cells in axes), strict=True)))


def _whole(axes: Sequence[Cells]) -> list[Cells]:
    return list(axes)


def _broken(axes: Sequence[Cells]) -> list[Cells]:
    return [[_broken_name(cells[0]), *map(_broken_value, cells[1:])] for cells in axes]


def _stacked(axes: Sequence[Cells]) -> list[Cells]:
    """Return broken axes, models in lines above the next axis; its value stands below where another model begins."""
    if axes[0][0] != MODEL or len(axes) == 1:
        return _broken(axes)
    (head, *names), (header, *values), *others = _broken(axes)
    begins = [place == 0 or names[place - 1] != name for place, name in enumerate(names)]
    both = [f"{name}\n{value}" if new else value for name, value, new in zip(names, values, begins, strict=True)]
    return [[f"{head}\n{header}", *both], *others]


def _broken_name(name: str) -> str:
    """Return a name broken behind its underscores."""
    return "\n".join(re.findall(r"[^_]*_|[^_]+", name))


def _broken_value(value: str) -> str:
    """Return a long value broken at its blanks."""
    return "\n".join(textwrap.wrap(value, LONG, break_long_words=False, break_on_hyphens=False)) or value
