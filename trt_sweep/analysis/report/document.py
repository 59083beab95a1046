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

    `choices` says whether the reader may pick one of its values. `title` explains it, where its name is no column's.
    """

    name: str
    shown: Sequence[str]
    keys: Sequence[float | None] | None = None
    choices: bool = False
    title: str = ""


@dataclass(frozen=True)
class Points:
    """Hold the table of all points, to be sorted and filtered; `targets` are the folders of their artifacts."""

    columns: Sequence[Column]
    targets: Sequence[str]


@dataclass(frozen=True)
class Plot:
    """Hold a figure as plotly.js takes it (`data` and `layout`), and what it shows, in words."""

    caption: str
    data: Sequence[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)


Block = Heading | Text | Bullets | Grid | Code | Points | Plot
