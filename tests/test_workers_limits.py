"""The limits of a call: which phase counts against which, and what does not count."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.workers import limits


@pytest.mark.parametrize(
    ("phases", "limit"),
    [
        ([("export", 30)], "limits.export_s=20"),
        ([("export", 15), ("partition", 15)], "limits.export_s=20"),
        ([("warmup", 15), ("timing", 1), ("warmup", 15)], None),
        ([("waiting for another sweep", 50)], None),
        ([("model", 60)], "limits.total_s=50"),
    ],
)
def test_limits(phases, limit, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = limits.Limits(LimitsConfig(export_s=20, build_s=None, timing_s=20, total_s=50))
    for phase, seconds in phases:
        clock.enter(phase)
        now[0] += seconds
    left = clock.left()
    assert (left == 0) == (limit is not None)
    if limit is not None:
        assert limit in clock.reason()
