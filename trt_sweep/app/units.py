"""Read durations and sizes, which have units."""

from __future__ import annotations

import math
import re
from typing import Any

from trt_sweep.app.arguments import UsageError
from trt_sweep.errors import not_allowed

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "KB": 1e3, "MB": 1e6, "GB": 1e9}


def seconds(name: str, given: Any) -> float:
    """Return a duration in seconds, given as 5ms, 60s or 10m; raise UsageError for what is none."""
    return _with_unit(name, given, SECONDS, "a duration above 0 with a unit, such as 5ms, 60s or 10m")


def size(name: str, given: Any) -> float:
    """Return a size in bytes, given as 4GiB or 500MB; raise UsageError for what is none."""
    return _with_unit(name, given, BYTES, "a size above 0 with a unit, such as 4GiB or 500MB")


def _with_unit(name: str, given: Any, units: dict[str, float], allowed: str) -> float:
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-zµ]*)\s*", str(given))
    value = float(found[1]) * units.get(found[2].replace("µ", "u"), math.nan) if found else math.nan
    if not 0 < value < math.inf:
        raise UsageError(not_allowed(name, given, f"{allowed} ({', '.join(units)})"))
    return value
