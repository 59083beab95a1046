"""The limits of a call: which phase counts against which, and what does not count."""

from __future__ import annotations

import time

import pytest

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.workers import limits


@pytest.mark.parametrize(
    ("phases", "limit"),
    [
        ([("export", 0.3)], "limits.export_s=0.2"),
        ([("export", 0.15), ("partition", 0.15)], "limits.export_s=0.2"),
        ([("warmup", 0.15), ("timing", 0.01), ("warmup", 0.15)], None),
        ([("waiting for another sweep", 0.5)], None),
        ([("model", 0.6)], "limits.total_s=0.5"),
    ],
)
def test_limits(phases, limit):
    clock = limits.Limits(LimitsConfig(export_s=0.2, build_s=None, timing_s=0.2, total_s=0.5))
    for phase, seconds in phases:
        clock.enter(phase)
        time.sleep(seconds)
    left = clock.left()
    assert (left == 0) == (limit is not None)
    if limit is not None:
        assert limit in clock.reason()
