"""Judge two nights by what earlier ones tell, and by what all points have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from test_compare import put, verdicts

from trt_sweep.analysis.compare import output, times
from trt_sweep.analysis.compare.compare import compare, steady
from trt_sweep.analysis.compare.nights import load
from trt_sweep.analysis.compare.times import between_nights
from trt_sweep.results.stats.differences import Difference


@pytest.fixture
def nights(tmp_path):
    return tmp_path / "old", tmp_path / "new"


def earlier(folder: Path, name: str, times: Sequence[float], **values) -> list[Path]:
    """Nights before, in which the latency of a point was this."""
    for number, latency_ms in enumerate(times):
        put(folder / f"{number:02}", name, latency_ms=latency_ms, created_utc=f"2025-12-{number + 1:02}", **values)
    return sorted(folder.iterdir())


def test_latency_is_judged_by_earlier_nights_and_not_without(nights, tmp_path):
    """The GPU's work decides; a latency moves with the host from night to night."""
    for night, latency_ms in zip(nights, (1.0, 1.2), strict=True):
        put(night, "a", latency_ms=latency_ms, launch_bound=True)
    (point,) = compare(*nights).points
    gpu, latency = point.times
    assert (point.verdict, gpu.clock, latency.by_history, latency.side) == ("unchanged", "gpu_ms", True, 0)
    assert latency.low == 0 and latency.high == np.inf
    calm = earlier(tmp_path / "calm", "a", (1.0, 1.01, 0.99, 1.0, 1.01, 1.0))
    assert compare(*nights, history=calm).points[0].verdict == "regressed"
    restless = earlier(tmp_path / "restless", "a", (1.0, 1.3, 0.9, 1.2, 1.0, 1.3))
    (point,) = compare(*nights, history=restless).points
    assert point.verdict == "unchanged" and 0.5 < point.times[1].low < 1 < point.times[1].high < 3


def test_a_point_without_gpu_ms_is_judged_by_earlier_nights_or_not_at_all(nights, tmp_path):
    cpu = {"clock": "wall", "gpu_uuid": None, "gpu_name": None, "gpu_ms_method": None, "gpu_ms": None}
    for night, latency_ms in zip(nights, (1.0, 2.0), strict=True):
        put(night, "a", latency_ms=latency_ms, **cpu)
    found = compare(*nights)
    assert found.exit_code == 2 and found.points[0].verdict == "not told apart"
    assert "latency_ms, which the host moves, is judged by earlier nights" in found.problems[0]
    before = earlier(tmp_path / "before", "a", (1.0, 1.1, 0.9, 1.0, 1.1), **cpu)
    assert compare(*nights, history=before).points[0].verdict == "regressed"
    assert compare(*nights, history=before[:2]).exit_code == 2  # one step tells no scatter
    assert (
        compare(*nights, history=[*before, nights[1]]).points[0].verdict == "regressed"
    )  # NEW is no history of its own


def test_what_nights_tell_is_counted_once():
    """A false alarm in at most one of twenty pairs, however few the nights: both times have one and the same spread."""
    rng, row = np.random.default_rng(0), dict.fromkeys(["latency_ms_ci_low", "latency_ms_ci_high"])
    for count in (3, 6):
        claimed = 0
        for _ in range(1500):
            told = times.spread_between(np.exp(rng.normal(0, 0.1, count)).tolist())
            pair = [
                times.by_nights(row | {"latency_ms": ms}, "latency_ms", told) for ms in np.exp(rng.normal(0, 0.1, 2))
            ]
            claimed += times.Pair("latency_ms", None, *pair, by_history=True).difference.side() != 0
        assert claimed / 1500 < 0.065, (count, claimed)


def test_only_earlier_nights_count_and_each_once(nights, tmp_path):
    for night, latency_ms in zip(nights, (1.0, 1.2), strict=True):
        put(night, "a", latency_ms=latency_ms)
    later = [tmp_path / "later" / str(number) for number in range(4)]
    for number, folder in enumerate(later):
        put(folder, "a", latency_ms=1.0 + number / 100, created_utc=f"2030-01-{number + 1:02}")
    assert compare(*nights, history=later).points[0].times[1].low == 0
    one = earlier(tmp_path / "one", "a", (1.0,))
    assert compare(*nights, history=one * 4).points[0].times[1].low == 0


def test_a_level_that_changed_long_ago_hardly_widens_what_nights_tell(tmp_path):
    rng = np.random.default_rng(0)
    steady = np.exp(rng.normal(0, 0.02, 20))
    spreads = []
    for name, level in (("same", 1.0), ("changed", 1.5)):
        folders = earlier(tmp_path / name, "a", [*steady[:10], *(level * steady[10:])])
        (found,) = [value for (_, clock), value in between_nights(load(folders)).items() if clock == "latency_ms"]
        spreads.append(found.spread)
    assert spreads[0] == pytest.approx(0.02, rel=0.3) and spreads[1] < 5 * spreads[0]


def test_what_all_points_share_is_taken_for_the_machine(nights):
    for number in range(8):
        for night, factor in zip(nights, (1.0, 1.011), strict=True):
            put(night, str(number), factor * (1 + number) * (1.05 if number == 3 and factor > 1 else 1))
    found = compare(*nights)
    assert found.machine.value == pytest.approx(math.log(1.011), abs=1e-4)
    slower = [point for point in found.points if point.verdict != "unchanged"]
    assert [point.row["point_id"] for point in slower] == ["3"]
    assert slower[0].times[0].ratio == pytest.approx(1.05, abs=1e-3)
    assert any(
        line.startswith("the points are 1.1% slower alike") and "machine" in line for line in output.words(found)
    )


def test_all_points_slower_by_more_than_matters_are_an_alarm_each(nights):
    """It may be what somebody looks for: a new version, say."""
    for number in range(8):
        for night, factor in zip(nights, (1.0, 1.05), strict=True):
            put(night, str(number), factor * (1 + number))
    found = compare(*nights)
    assert found.exit_code == 1 and set(verdicts(nights).values()) == {"regressed"}
    said = output.words(found)
    assert "the points are 5.0% slower alike" in said[1] and "more than --min-effect" in said[1]
    assert ET.fromstring(output.junit(found)).get("failures") == "8"


def test_points_that_did_not_change_alike_have_no_machine(nights):
    """A new version makes eight of twelve faster by 10 %: the other four have not regressed."""
    for number in range(12):
        put(nights[0], str(number), 1.0 + number)
        put(nights[1], str(number), (0.9 if number < 8 else 1.0) * (1 + number))
    found = compare(*nights)
    assert found.machine is None and found.exit_code == 0
    assert sorted(verdicts(nights).values()) == ["improved"] * 8 + ["unchanged"] * 4


def test_how_far_the_points_lie_apart_counts_in_what_they_share():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(500):
        changes = rng.normal(0.004, 0.003, 12)
        found = times.machine_change([Difference(value, 0.0015**2) for value in changes])
        if found is not None:
            low, high = found.interval()
            held.append(low <= 0.004 <= high)
    assert np.mean(held) > 0.85 and len(held) > 50  # with what the captures tell alone it would be 0.7


def test_a_few_points_are_never_taken_for_the_machine(nights):
    for number in range(times.FEWEST - 1):
        for night, factor in zip(nights, (1.0, 1.05), strict=True):
            put(night, str(number), factor * (1 + number))
    assert compare(*nights).machine is None and set(verdicts(nights).values()) == {"regressed"}


def test_regressed_means_by_more_than_the_share_that_was_given(nights):
    """The interval is tested, not the estimate: 2.2 % is proved to be a change, but not to be more than 2 %."""
    for night, gpu_ms in zip(nights, (1.0, 1.022), strict=True):
        put(night, "a", gpu_ms)
    assert verdicts(nights) == {"a": "not told apart"} and verdicts(nights, 0.01) == {"a": "regressed"}


@pytest.mark.parametrize("chosen", [(True, True), (True, False), (False, True)])
def test_what_cudnn_chose_anew_is_judged_by_earlier_nights(nights, chosen, tmp_path):
    for night, flag, gpu_ms in zip(nights, chosen, (1.0, 1.28), strict=True):
        put(night, "a", gpu_ms, cudnn_benchmark=flag)
        put(night, "engine")
    found = compare(*nights)
    assert verdicts(nights) == {"a": "not told apart", "engine": "unchanged"} and found.exit_code == 0
    (blind,) = [point.blind for point in found.points if point.blind]
    assert "gpu_ms, which cuDNN chose anew" in blind and "--history" in blind
    assert any(f" moved most (1.280 times as long): {blind}" in line for line in output.words(found))
    assert [point.row["point_id"] for point in steady(found.points)] == ["engine"]
    for number in range(6):
        at = f"2025-12-{number + 1:02}"
        put(tmp_path / "before" / str(number), "a", 1.0 + number / 1000, cudnn_benchmark=True, created_utc=at)
    again = compare(*nights, history=[tmp_path / "before"])
    assert [point.verdict for point in again.points] == ["regressed", "unchanged"]
