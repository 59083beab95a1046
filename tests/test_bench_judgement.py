"""Check what a test of one engine under many names claims, against the sweeps that are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trt_sweep.benchmarks import judgement

REFERENCE = Path(__file__).parents[1] / "outputs/reference"


def sweeps(name):
    return json.loads((REFERENCE / name / "sweeps.json").read_text())


@pytest.mark.parametrize("name", ["h200/visits", "h200_rtx1.6/timing", "h200_rtx1.6/timing_slow_host", "cpu/timing"])
def test_what_is_published_is_what_the_sweeps_say(name):
    told = json.loads((REFERENCE / name / "timing.json").read_text())
    assert told["coverage"] == judgement.coverage(sweeps(name))
    assert told["claims"] == judgement.claims(sweeps(name))


def test_a_sweep_that_finds_something_else_is_told():
    alike, changed = sweeps("h200_rtx1.6/timing"), sweeps("h200_rtx1.6/timing")
    changed[1][0]["latency_ms_visits"] = [2 * ms for ms in changed[1][0]["latency_ms_visits"]]
    (before, _), (after, _) = judgement.coverage(alike), judgement.coverage(changed)
    lost = 100 * 27 / 378  # the pairs of the name that was changed
    for share in ("held_percent", "agree_percent"):
        assert after[share] < before[share] - 0.8 * lost
