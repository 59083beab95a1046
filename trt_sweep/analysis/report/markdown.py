"""Write the report as Markdown. Text from records is escaped, so that it is neither markup nor HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from trt_sweep.analysis.report.document import (
    Block,
    Bullets,
    Card,
    Cards,
    Code,
    Folded,
    Grid,
    Heading,
    Link,
    Plot,
    Points,
    Text,
)
from trt_sweep.errors import printable

ROWS = 60  # of the table of points


def render(blocks: Iterable[Block]) -> str:
    """Return the blocks as one text; figures are left to the HTML page."""
    return "\n\n".join(part for block in blocks if (part := _block(block))) + "\n"


def escaped(text: str) -> str:
    """Return the text as it is read, on one line."""
    text = printable(" ".join(text.split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word means nothing.
    return re.sub(r"([\\`*{}\[\]|~#]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def _block(block: Block) -> str:
    match block:
        case Heading():
            shown = f"{'#' * block.level} {escaped(block.text)}"
        case Text():
            shown = escaped(block.text)
        case Bullets():
            shown = "\n".join(f"- {escaped(item)}" for item in block.items)
        case Grid():
            shown = _table(list(block.columns), [list(row) for row in block.rows])
        case Code():
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", block.text)), 3)
            shown = f"{fence}{block.language}\n{block.text.rstrip()}\n{fence}"
        case Points():
            shown = _points(block)
        case Cards():
            shown = "\n\n".join(_card(card) for card in block.items)
        case Folded():
            shown = render([Heading(block.title, block.level), *block.blocks]).rstrip()
        case Plot():
            shown = ""
    return shown


def _card(card: Card) -> str:
    said = f"**{escaped(card.title)}**" + f": set **{escaped(card.strong)}**" * bool(card.strong)
    code = [_block(card.code)] if card.code else []
    return "\n\n".join([said, "\n".join(f"- {escaped(line)}" for line in card.lines), *code])


def _table(columns: list[str], rows: list[list[str | Link]]) -> str:
    lines = [
        [escaped(name) for name in columns],
        ["---"] * len(columns),
        *([_cell(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: str | Link) -> str:
    return escaped(cell) if isinstance(cell, str) else f"[{escaped(cell.text)}]({quote(cell.target)})"


def _points(block: Points) -> str:
    count = len(block.targets)
    rows: list[list[str | Link]] = [
        [*(column.shown[index] for column in block.columns), Link("files", block.targets[index])]
        for index in range(min(count, ROWS))
    ]
    shown = _table([*(column.name for column in block.columns), "artifacts"], rows)
    return shown if count <= ROWS else f"{shown}\n\n{count - ROWS} more points are in the HTML report."
