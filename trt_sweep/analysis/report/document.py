"""Define the blocks of a report. Each renderer knows these and nothing of sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Heading:
    """Hold a heading; `level` 1 is the report's own title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Link:
    """Hold a cell that leads to a file; `target` is relative to where the report is written."""

    text: str
    target: str


@dataclass(frozen=True)
class Grid:
    """Hold a table that is read as a whole; cells are text, or links."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Link]]


@dataclass(frozen=True)
class Code:
    text: str
    language: str = "python"


@dataclass(frozen=True)
class Column:
    """Hold a column of `Points`: `shown` are the texts of its cells, `keys` what they are sorted by if not by the text.

    `choices` says whether the reader may pick one of its values, `main` whether it stays in view. `title` explains it,
    where its name is no column's.
    """

    name: str
    shown: Sequence[str]
    keys: Sequence[float | None] | None = None
    choices: bool = False
    main: bool = False
    title: str = ""


@dataclass(frozen=True)
class Points:
    """Hold the table of all points, to be sorted and filtered.

    `targets` are the folders of their artifacts. Rows of one measurement have the same number in `measurements`.
    """

    columns: Sequence[Column]
    targets: Sequence[str]
    measurements: Sequence[int]


@dataclass(frozen=True)
class Plot:
    """Hold a figure as plotly.js takes it (`data` and `layout`), and what it shows, in words."""

    caption: str
    data: Sequence[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """Hold what is said of one thing at a glance: `strong` is the answer, `lines` are a sentence each."""

    title: str
    strong: str = ""
    lines: Sequence[str] = ()
    plot: Plot | None = None
    code: Code | None = None


@dataclass(frozen=True)
class Cards:
    """Hold cards that stand side by side where there is room."""

    items: Sequence[Card]


@dataclass(frozen=True)
class Folded:
    """Hold blocks that the page shows once their title is clicked."""

    title: str
    blocks: Sequence[Block]
    level: int = 3


Block = Heading | Text | Bullets | Grid | Code | Points | Plot | Cards | Folded
