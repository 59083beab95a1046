"""TODO."""

from __future__ import annotations

MISHAPS = 3  # in a row, after which it is no use to go on
