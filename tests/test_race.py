"""Check what a race drops, when it ends, and how its looks and limits are judged."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from trt_sweep.analysis import race as analysis
from trt_sweep.results import limits, race, ranking
from trt_sweep.results.limits import BROKEN, KEPT, UNKNOWN, Limit
from trt_sweep.results.race import Goal, Race
from trt_sweep.results.stats import racing
from trt_sweep.sweep import tuning


def row(ms: float, visits: int = 24, seed: int = 0, noise: float = 0.01, **more) -> dict:
    """Return a row as a record has it, visited so often."""
    medians = ms * np.exp(noise * np.random.default_rng([seed, visits]).standard_normal(visits))
    known = dict.fromkeys((*ranking.VISITED, "rel_l2_error", "peak_gpu_bytes", "build_s", "energy_mj_per_call"))
    timed = {"latency_ms": float(np.quantile(medians, 0.25)), "latency_ms_min": float(medians.min()) * 0.99}
    timed |= {"latency_ms_visits": medians.tolist(), "sweep_id": "s", "visit_group": "g", "batch_size": 1}
    return known | timed | more


def look(state: Race, rows: dict[str, dict]) -> race.Look:
    level = state.next_level()
    points = {key: race.contestant(each, None, state.goal, level) for key, each in rows.items()}
    return state.look(points, {key: key.upper() for key in rows})


def begun(goal: Goal | None = None, points: int = 3) -> Race:
    state = Race(goal or Goal())
    state.begin(points)
    return state


def test_looks_come_ever_later():
    assert [number for number in range(130) if racing.is_look(number)] == [8, 12, 16, 24, 32, 48, 64, 96, 128]


def test_all_looks_together_err_no_more_than_one():
    spent = sum(1 - racing.level(look) for look in range(1, 5000))
    assert 0.0499 < spent < 0.05
    assert 1 - racing.level(3, 10) == pytest.approx(0.05 / 12 / 10)


def test_a_slower_point_is_dropped_and_the_rest_goes_on():
    rows = {"a": row(1.0, seed=1, noise=0.05), "b": row(1.0, seed=2, noise=0.05), "c": row(1.5, seed=3, noise=0.05)}
    found = look(begun(), rows)
    assert list(found.out) == ["c"] and found.out["c"].startswith("proved worse than ") and found.ended is None
    assert set(found.left) == {"a", "b"} and found.best in found.left


def test_the_last_one_ends_the_race():
    found = look(begun(points=2), {"a": row(1.0, seed=1), "b": row(1.3, seed=2)})
    assert found.left == ("a",) and found.ended == race.ONE_LEFT and found.best == "a"


def test_equal_points_end_the_race_when_they_are_proved_alike():
    state = begun(Goal(delta=0.05), points=2)
    assert look(state, {key: row(1.0, 8, seed=seed, noise=0.05) for seed, key in enumerate("ab")}).ended is None
    found = look(state, {key: row(1.0, 96, seed=seed, noise=0.05) for seed, key in enumerate("ab")})
    assert found.ended == race.ALIKE and not found.out


def test_what_is_broken_is_out_and_does_not_beat_others():
    goal = Goal(limits=(Limit("--max-error", "rel_l2_error", 0.01),))
    rows = {"wrong": row(0.5, seed=1, rel_l2_error=0.2), "right": row(1.0, seed=2, rel_l2_error=0.001)}
    found = look(begun(goal, 2), rows)
    assert found.best == "right" and found.ended == race.ONE_LEFT
    assert found.out == {"wrong": "--max-error 0.01 broken: 0.2"}


def test_a_point_that_may_break_a_limit_drops_nobody():
    goal = Goal(limits=(Limit("--max-error", "rel_l2_error", 0.01),))
    found = look(begun(goal, 2), {"fast": row(0.5, seed=1), "slow": row(1.0, seed=2)})  # whose error nobody knows
    assert not found.out and found.best is None and found.ended is None


def test_nothing_is_left_where_nothing_keeps_a_limit():
    goal = Goal(limits=(Limit("--max-latency", "latency_ms", 0.5, "ms"),))
    found = look(begun(goal, 2), {"a": row(1.0, seed=1), "b": row(0.8, seed=2)})
    assert found.ended == race.NONE_LEFT and set(found.out) == {"a", "b"}
    told = {
        "a": [limits.judge(goal.limits[0], row(1.0), None, 0.95)],
        "b": [limits.judge(goal.limits[0], row(0.8), None, 0.95)],
    }
    assert race.nearest(told)[0] == "b"


def test_memory_is_compared_as_it_is():
    found = look(begun(Goal("memory"), 2), {"a": row(1.0, peak_gpu_bytes=10), "b": row(0.1, peak_gpu_bytes=11)})
    assert list(found.out) == ["b"] and found.ended == race.ONE_LEFT


def test_energy_has_no_known_scatter_and_proves_nothing():
    rows = {"a": row(1.0, energy_mj_per_call=1.0), "b": row(1.0, energy_mj_per_call=9.0), "c": row(1.0)}
    found = look(begun(Goal("energy")), rows)
    assert found.out == {"c": "has no energy_mj_per_call"} and found.best == "a" and found.ended is None


def test_throughput_is_compared_per_item():
    found = look(begun(Goal("throughput"), 2), {"a": row(1.0, seed=1), "b": row(1.8, seed=2, batch_size=8)})
    assert list(found.out) == ["a"] and found.best == "b"


LATENCY = Limit("--max-latency", "latency_ms", 1.0, "ms")


def test_few_visits_of_a_slow_host_break_no_limit():
    """All eight visits are slow with a chance of 6 %, where the host is slow in 70 % of them."""
    slow = row(1.3, 8) | {"gpu_ms": 0.5}
    assert limits.judge(LATENCY, slow, None, 0.999).verdict == UNKNOWN
    assert limits.judge(LATENCY, slow | {"gpu_ms": 1.2}, None, 0.999).verdict == BROKEN  # which no host makes slower
    assert limits.judge(LATENCY, row(1.5, 8), None, 0.999).verdict == BROKEN
    assert limits.judge(LATENCY, row(1.3, 32), None, 0.999).verdict == BROKEN


@pytest.mark.parametrize(("ms", "verdict"), [(0.9, KEPT), (1.1, BROKEN), (1.006, UNKNOWN)])
def test_a_limit_is_judged_by_the_interval(ms, verdict):
    assert limits.judge(LATENCY, row(ms, 48), None, 0.999).verdict == verdict


def test_too_few_visits_keep_no_limit():
    """All eight may lie below the level that they are to tell, with a chance of 1 in 65,536."""
    assert limits.judge(LATENCY, row(0.5, 8), None, 0.999).verdict == KEPT
    assert limits.judge(LATENCY, row(0.5, 8), None, 1 - 1e-5).verdict == UNKNOWN
    assert limits.judge(LATENCY, row(0.5, 4), None, 0.95).verdict == UNKNOWN


def test_the_share_of_calls_needs_many_visits():
    limit = Limit("--max-latency", "latency_ms", 1.0, "ms", 99.0)
    assert limits.judge(limit, {}, [0.0] * 48, 0.95).verdict == UNKNOWN
    assert limits.judge(limit, {}, [0.0] * 480, 0.95).verdict == KEPT
    assert limits.judge(limit, {}, [0.5] * 48, 0.95).verdict == BROKEN
    assert limits.judge(limit, {}, None, 0.95).verdict == UNKNOWN


def test_the_interval_of_a_share_holds_it():
    """Draw numbers between 0 and 1 that scatter as much as such numbers can."""
    draw, missed = np.random.default_rng(0), 0
    for _ in range(400):
        low, high = racing.share_interval(list(map(float, draw.random(60) < 0.1)), 0.95)
        missed += not low <= 0.1 <= high
    assert missed <= 20
    assert racing.share_interval([0.0] * 60, 0.95)[1] == pytest.approx(1 - (0.05 / 2) ** (1 / 60), rel=1e-6)


def test_equal_points_are_seldom_told_apart():
    """Run 100 races between six equal points: at most one in twenty may drop one."""
    wrong = 0
    for seed in range(100):
        state = begun(points=6)
        visits = {key: row(1.0, 48, seed=100 * seed + key)["latency_ms_visits"] for key in range(6)}
        for number in (8, 12, 16, 24, 32, 48):
            rows = {str(key): row(1.0) | {"latency_ms_visits": each[:number]} for key, each in visits.items()}
            for each in rows.values():
                each["latency_ms"] = float(np.quantile(each["latency_ms_visits"], 0.25))
            if look(state, rows).out:
                wrong += 1
                break
    assert wrong <= 5


def test_a_verdict_is_said_in_words():
    assert str(
        limits.judge(Limit("--max-memory", "peak_gpu_bytes", 2.0**30, "B"), {"peak_gpu_bytes": 2**31}, None, 0.95)
    ) == ("--max-memory 1 GiB broken: 2 GiB")
    assert "there is no build_s" in str(limits.judge(Limit("--max-build", "build_s", 5.0, "s"), {}, None, 0.95))
    assert math.isinf(limits.judge(Limit("--max-build", "build_s", 5.0, "s"), {}, None, 0.95).over)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"road": [{}]}', '{"road": 1}'])
def test_a_file_that_is_no_race_is_none(tmp_path, text):
    (tmp_path / "race.json").write_text(text)
    assert analysis.read(tmp_path) is None and analysis.read(tmp_path / "nowhere") is None


def test_all_claims_of_a_look_together_err_no_more_than_one():
    """A limit of one of ten points, one of their pairs, and that all are alike: a third of a look's share each."""
    state = begun(Goal(limits=(Limit("--max-error", "rel_l2_error", 0.01),)), 10)
    share = 1 - racing.level(1)
    assert 10 * (1 - state.next_level()) == pytest.approx(share / 3)
    assert race.KINDS * (1 - racing.level(1, race.KINDS)) == pytest.approx(share)


def test_what_is_there_to_compare_with_neither_wins_nor_drops_others():
    level = (state := begun(points=2)).next_level()
    points = {key: race.contestant(row(ms), None, state.goal, level) for key, ms in {"base": 0.5, "own": 1.0}.items()}
    points["base"] = dataclasses.replace(points["base"], wins=False)
    found = state.look(points, {"base": "BASE", "own": "OWN"})
    assert found.best == "own" and not found.out and found.ended == race.ONE_LEFT


def test_what_may_break_a_limit_is_not_called_alike():
    fate = {"what": tuning.IN, "same": None, "wins": True}
    content = {"limits": [1], "ended": tuning.VISITS, "road": [fate | {"keeps": True}, fate | {"keeps": False}]}
    said = "the best that surely keeps the limits; of 1 other that cannot be told"
    assert analysis._proof(content, content["road"][0]) == said


def test_what_is_there_to_compare_with_was_timed_too():
    alone, eager = ({"what": tuning.IN, "same": None, "wins": wins, "keeps": True} for wins in (True, False))
    content = {"limits": [], "ended": race.ONE_LEFT, "road": [alone, eager]}
    assert analysis._proof(content, alone) == "the only one to choose from"


def test_where_nothing_keeps_the_limits_it_is_said_what_there_was_no_time_for():
    content = {
        "nearest": "a: --max-latency 1 ms broken: 2 ms",
        "ended": race.ONE_LEFT,
        "road": [{"what": tuning.UNTRIED}],
    }
    assert analysis.none(content).endswith("broken: 2 ms; there was no time for 1 more point")
    assert analysis.none(content | {"road": []}).endswith("broken: 2 ms")
