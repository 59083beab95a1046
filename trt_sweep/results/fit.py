"""Choose what of a table fits a width: first what answers, then axes, then columns from the left."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from trt_sweep.results.axes import LABEL_AXES

GAP = 2  # blanks between two columns
MODEL, RATIO = "model", "vs eager"  # headers
LONG = 16  # characters of a value; longer ones are broken where the width is short
AT_BLANKS, AT_UNDERSCORES = r"[^ ]+ *| +", r"[^ _]+[ _]*|[ _]+"  # what stays together of a value that is broken

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
    needed ones would not fit, headers and long values of axes are broken into lines. If that is not enough, one column
    names the points, then lines may end at underscores too. In the end axes are left out: those that tell no rows
    apart, and those beside which the first needed column, the ratio to eager and the status would not fit.
    """
    if width is None:
        every = {name: full or cells for name, (cells, full) in columns.items()}
        return Fitted(list(axes), every, status, any(full for _, full in columns.values()), [])
    essential = [name for name in columns if name in needed]
    answers = [name for name in essential if name in (needed[0], RATIO)]
    kept, ending, short = list(axes), status, list(map(_broken_name, status))

    def room(names: list[str]) -> int:
        return width - width_of(ending) - sum(width_of(both[name][0]) + GAP for name in names)

    low = {name: (_low(cells), full and _low(full)) for name, (cells, full) in columns.items()}
    attempts = ((_whole, status, columns), (_broken, status, low), (_named, status, low), (_narrow, short, low))
    for shape, ending, both in attempts:  # noqa: B007
        if _total(shape(axes)) <= room(essential):
            break
    else:
        kept = _telling(axes, shape, room(answers), room(essential))
    shown = shape(kept)
    left = room([]) - _total(shown)
    taken: dict[str, Cells] = {}
    steps = [(name, False) for name in essential] + [(name, True) for name in essential]
    steps += [(name, full) for name in columns if name not in essential for full in (False, True)]
    for name, full in steps:
        cells = both[name][full]
        if cells is None:
            continue
        more = width_of(cells) - (width_of(taken[name]) if full else -GAP)
        if more <= left:
            taken[name], left = cells, left - more
        elif not full:
            break
    with_intervals = [cells is both[name][1] for name, cells in taken.items() if both[name][1]]
    hidden = [f"{cells[0]} (axis)" for cells in axes if not any(cells is one for one in kept)]
    hidden += ["intervals"] * (not all(with_intervals)) + [name for name in columns if name not in taken]
    in_order = {name: taken[name] for name in columns if name in taken}
    return Fitted(shown, in_order, ending, any(with_intervals), hidden, shape in (_named, _narrow))


def _total(axes: Sequence[Cells]) -> int:
    return sum(width_of(cells) + GAP for cells in axes)


def _telling(axes: Sequence[Cells], shape: Shape, room: int, spare: int) -> list[Cells]:
    """Return the axes that fit: those that name a point first, then those that tell most rows apart.

    One that tells no more rows apart takes a place only within the smaller room `spare`.
    """
    kept: list[int] = []

    def cells(more: int) -> list[Cells]:
        return [axes[place] for place in sorted([*kept, more])]

    def worth(place: int) -> tuple[bool, int]:
        return axes[place][0] in LABEL_AXES, _apart(cells(place)) - _apart([axes[one] for one in kept])

    def fits(place: int) -> bool:
        return _total(shape(cells(place))) <= (room if any(worth(place)) else spare)

    while fitting := [place for place in range(len(axes)) if place not in kept and fits(place)]:
        kept.append(max(fitting, key=worth))
    return [axes[place] for place in sorted(kept)] or [axes[0]]


def _apart(axes: Sequence[Cells]) -> int:
    """Return how many rows these axes tell apart."""
    return len(set(zip(*(cells[1:] for cells in axes), strict=True))) or 1


def _low(cells: Cells) -> Cells:
    """Return a column whose header is broken at blanks."""
    head, *values = cells
    return [head.replace(" ", "\n"), *values]


def _whole(axes: Sequence[Cells]) -> list[Cells]:
    return list(axes)


def _broken(axes: Sequence[Cells], pattern: str = AT_BLANKS) -> list[Cells]:
    """Return axes whose names are broken behind underscores, and long values where the pattern says."""
    return [[_broken_name(name), *(_broken_value(value, pattern) for value in values)] for name, *values in axes]


def _named(axes: Sequence[Cells], pattern: str = AT_BLANKS) -> list[Cells]:
    """Return broken axes, one column for those that name a point: `dynamo fp16`, below the model where it begins."""
    names = [cells for cells in axes if cells[0] in LABEL_AXES]
    others = [cells for cells in axes if cells[0] not in LABEL_AXES]
    return _broken([*_point_names(names), *others], pattern)


def _narrow(axes: Sequence[Cells]) -> list[Cells]:
    """Return axes as `_named` does, long values broken behind underscores too."""
    return _named(axes, AT_UNDERSCORES)


def _point_names(axes: Sequence[Cells]) -> list[Cells]:
    """Return these axes as one column; a model stands above the first of its points."""
    if len(axes) < 2:
        return list(axes)
    heads, *rows = zip(*axes, strict=True)
    of_models = heads[0] == MODEL
    names = [" ".join(row[of_models:]) for row in rows]
    for place, (model, *_) in enumerate(rows):
        if of_models and (place == 0 or rows[place - 1][0] != model):
            names[place] = f"{model}\n{names[place]}"
    return [["\n".join(heads), *names]]


def _broken_name(name: str) -> str:
    """Return a name broken behind its underscores."""
    return "\n".join(re.findall(r"[^_]*_|[^_]+", name))


def _broken_value(value: str, pattern: str) -> str:
    """Return a value with its long lines broken where the pattern says."""
    lines: list[str] = []
    for line in value.split("\n"):
        lines.append("")
        for piece in re.findall(pattern, line):
            if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > LONG:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
