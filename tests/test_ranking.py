"""Ranks and the notes on clocks, from records."""

from __future__ import annotations

import math

import pytest
from test_table import load, put

from trt_sweep.results import ranking, table
from trt_sweep.results.notes import notes as notes_of
from trt_sweep.results.stats import unseen

TIMED = {"rounds": 3, "builds": 1, "latency_ms_between_rounds": 0.001, "gpu_ms_between_rounds": 0.0005}
TIMED |= {"gpu_ms_method": "graph", "launch_bound": False}


def ranks(folder, clock="latency"):
    rows = load(folder)
    columns = rows[[f"{clock}_rank", f"{clock}_rank_worst"]]
    return {name: None if row.isna().any() else tuple(row) for name, row in columns.iterrows()}


def test_ranks(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, gpu_ms=0.9)
    put(tmp_path, "b", 1.001, **TIMED, gpu_ms=0.8)
    put(tmp_path, "c", 2.0, **TIMED, gpu_ms=0.1, precision="fp16")
    put(tmp_path, "wrong", 0.1, **TIMED, status="inaccurate")
    put(tmp_path, "other", 0.1, **TIMED, model_id="else")
    put(tmp_path, "once", 0.1, **TIMED | {"rounds": 1, "latency_ms_between_rounds": None})
    nothing = {"wrong": None, "other": None, "once": None}
    assert ranks(tmp_path) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)} | nothing
    assert ranks(tmp_path, "gpu") == {"a": (3, 3), "b": (2, 2), "c": (1, 1)} | nothing


def test_one_engine_run_in_one_way_is_never_ranked_apart(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, engine_id="x", optimization_level=0)
    put(tmp_path, "b", 1.5, **TIMED, engine_id="x", optimization_level=3)
    put(tmp_path, "c", 1.2, **TIMED, engine_id="x", cuda_graphs=True)
    put(tmp_path, "d", 3.0, **TIMED, engine_id="y")
    found = ranks(tmp_path)
    assert found["a"] == found["b"] and found["d"] == (4, 4) and found["c"] != found["a"]


def test_methods_are_ranked_within_themselves(tmp_path):
    for name, gpu_ms, method in (("a", 1.0, "graph"), ("b", 2.0, "graph"), ("c", 0.5, "queued")):
        put(tmp_path, name, 5.0, **TIMED | {"gpu_ms_method": method}, gpu_ms=gpu_ms)
    assert ranks(tmp_path, "gpu") == {"a": (1, 1), "b": (2, 2), "c": None}
    assert any("graph and queued" in note for note in notes_of(table.load(tmp_path)))


def test_a_latency_that_the_host_bounds_needs_a_larger_difference(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED | {"launch_bound": True})
    put(tmp_path, "b", 1.1, **TIMED | {"launch_bound": True})
    put(tmp_path, "c", 3.0, **TIMED | {"launch_bound": True})
    assert ranks(tmp_path) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}


def test_so_does_one_of_which_it_is_not_known(tmp_path):
    unknown = TIMED | {"launch_bound": None, "clock": "cuda_events"}
    put(tmp_path, "a", 1.0, **unknown)
    put(tmp_path, "b", 1.1, **unknown)
    assert ranks(tmp_path) == {"a": (1, 2), "b": (1, 2)}


def test_builds_do_not_hide_the_drift_of_the_host(tmp_path):
    scatter = {"builds": 5, "latency_ms_between_builds": 0.002, "launch_bound": True}
    put(tmp_path, "a", 1.0, **TIMED | scatter)
    put(tmp_path, "b", 1.1, **TIMED | scatter)
    assert ranks(tmp_path) == {"a": (1, 2), "b": (1, 2)}


def test_captures_that_differ_need_a_larger_difference(tmp_path):
    for name, gpu_ms, between in (("a", 1.0, 0.02), ("b", 1.03, 0.02), ("c", 1.06, 0.0001), ("d", 1.1, 0.0001)):
        put(tmp_path, name, 5.0, **TIMED, gpu_ms=gpu_ms, gpu_ms_between_captures=between, gpu_ms_captures=8)
    found = ranks(tmp_path, "gpu")
    assert found["a"][0] == found["b"][0] == 1 and found["d"][0] > found["c"][0]


def test_one_capture_claims_no_more_than_eight(tmp_path):
    put(tmp_path, "a", 5.0, **TIMED, gpu_ms=1.0, gpu_ms_captures=1)
    put(tmp_path, "b", 5.0, **TIMED, gpu_ms=1.03, gpu_ms_captures=1)
    assert ranks(tmp_path, "gpu") == {"a": (1, 2), "b": (1, 2)}


def test_what_cudnn_chose_in_one_process_needs_a_larger_difference(tmp_path):
    for name, gpu_ms in {"a": 1.0, "b": 1.1, "c": 1.12, "d": 2.0, "e": 2.5}.items():
        put(tmp_path, name, 5.0, **TIMED, gpu_ms=gpu_ms, cudnn_benchmark=name not in "ac")
    assert ranks(tmp_path, "gpu") == {"a": (1, 2), "b": (1, 3), "c": (2, 3), "d": (4, 5), "e": (4, 5)}


def test_the_interval_of_a_single_round_holds_the_allowances_once(tmp_path):
    single = TIMED | {"rounds": 1, "latency_ms_between_rounds": None, "gpu_ms_between_rounds": None}
    reach = math.exp(1.96 * math.sqrt(2) * math.hypot(0.01, unseen.PLACEMENT))
    ends = {"latency_ms_ci_low": 1 / reach, "latency_ms_ci_high": reach}
    put(tmp_path, "a", 1.0, **single | ends)
    (found,), _ = ranking.measured(load(tmp_path), "latency_ms")
    assert found.spread == pytest.approx(0.01, rel=1e-3)
    assert found.interval() == pytest.approx((1 / reach, reach), rel=1e-3)


def test_intervals_of_what_cudnn_chose_for_are_as_they_are_judged(tmp_path):
    ends = {"gpu_ms_ci_low": 0.99, "gpu_ms_ci_high": 1.01}
    for name, chosen in (("eager", True), ("engine", False)):
        put(tmp_path, name, 5.0, **TIMED, gpu_ms=1.0, cudnn_benchmark=chosen, **ends)
    rows = load(tmp_path)
    assert rows.loc["engine", "gpu_ms_ci_high"] == 1.01
    assert rows.loc["eager", "gpu_ms_ci_high"] == pytest.approx(1.28, abs=0.01)
    assert unseen.CUDNN_CHOICE < unseen.HOST_DRIFT  # by which `moderated` tells what the host bounds


def test_how_rtx_specializes_is_a_way_to_run_an_engine(tmp_path):
    axis = "dynamic_shapes_kernel_specialization_strategy"
    for name, latency, engine, how in (("a", 1.0, "x", "eager"), ("b", 2.0, "x", "none"), ("c", 1.3, "y", None)):
        put(tmp_path, name, latency, **TIMED, engine_id=engine, **{axis: how})
    assert ranks(tmp_path) == {"a": (1, 1), "b": (3, 3), "c": (2, 2)}


def test_builds_count_instead_of_rounds(tmp_path):
    scatter = {"builds": 5, "latency_ms_between_builds": 0.02}
    put(tmp_path, "a", 1.0, **TIMED | scatter)
    put(tmp_path, "b", 1.03, **TIMED | scatter)
    assert ranks(tmp_path) == {"a": (1, 2), "b": (1, 2)}
