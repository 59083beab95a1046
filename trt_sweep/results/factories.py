"""Tell by which arguments of their factories the points of one model differ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ARGUMENT = re.compile(r" (?=[\w.]+=)")  # where one argument of a factory ends and the next begins


def telling_factories(table: pd.DataFrame) -> list[str | None]:
    """Return `factory` of each row without the arguments that all rows of its model have; None where nothing is left.

    Older records have none, and say nothing of what differs.
    """
    parts = [ARGUMENT.split(text) if isinstance(text, str) else None for text in table["factory"]]
    common: dict[str, set[str]] = {}
    for model, own in zip(table["model"], parts, strict=True):
        if own is not None:
            common[model] = common.get(model, set(own)) & set(own)
    return [
        " ".join(part for part in own or [] if part not in common[model]) or None
        for model, own in zip(table["model"], parts, strict=True)
    ]
