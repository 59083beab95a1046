"""Give the samples of timed windows by clock, and their medians as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trt_sweep.measure.measurement import Window

Table = list[dict[str, Any]]
Windows = dict[str, list[Window]]  # by subject


def series(window: Window) -> dict[str, np.ndarray]:
    """Return the samples of a window in ms, by clock."""
    found = {"latency_ms": window.latency_ms} | {f"gpu_ms {name}": each for name, each in window.gpu_ms.items()}
    return found if window.enqueue_ms is None else found | {"enqueue_ms": window.enqueue_ms}


def medians(windows: Windows) -> pd.DataFrame:
    """Return the median of each window by subject and clock, in ms."""
    rows = [
        {"subject": subject, "window": index, "clock": clock, "median_ms": float(np.median(values))}
        for subject, listed in windows.items()
        for index, window in enumerate(listed)
        for clock, values in series(window).items()
    ]
    return pd.DataFrame(rows)
