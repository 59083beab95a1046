"""Ranks and the notes on clocks, from records."""

from __future__ import annotations

import pytest
from test_table import load, put

from trt_sweep.results import ranking, table
from trt_sweep.results.notes import notes as notes_of

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


def test_arguments_of_a_factory_are_ranked_together(tmp_path):
    for name, latency_ms in (("sdpa", 1.0), ("eager", 2.0)):
        own = {"model_id": name, "task_id": "task", "factory": f"attn={name} width=8"}
        put(tmp_path, name, latency_ms, **TIMED, **own)
        put(tmp_path, f"{name} in PyTorch", 3 * latency_ms, **TIMED, **own, backend="eager", jobs=[])
    found = load(tmp_path)
    assert ranks(tmp_path) == {
        **{"sdpa": (1, 1), "eager": (2, 2)},
        **{"sdpa in PyTorch": (3, 3), "eager in PyTorch": (4, 4)},
    }
    assert found["speedup"][["sdpa", "eager"]].tolist() == pytest.approx([3.0, 3.0])  # each against its own


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


def test_captures_that_differ_need_a_larger_difference(tmp_path):
    for name, gpu_ms, between in (("a", 1.0, 0.02), ("b", 1.03, 0.02), ("c", 1.06, 0.0001), ("d", 1.1, 0.0001)):
        put(tmp_path, name, 5.0, **TIMED, gpu_ms=gpu_ms, gpu_ms_between_captures=between, gpu_ms_captures=8)
    found = ranks(tmp_path, "gpu")
    assert found["a"][0] == found["b"][0] == 1 and found["d"][0] > found["c"][0]


def test_one_capture_claims_no_more_than_eight(tmp_path):
    put(tmp_path, "a", 5.0, **TIMED, gpu_ms=1.0, gpu_ms_captures=1)
    put(tmp_path, "b", 5.0, **TIMED, gpu_ms=1.03, gpu_ms_captures=1)
    assert ranks(tmp_path, "gpu") == {"a": (1, 2), "b": (1, 2)}


def test_times_of_older_records_are_shown_and_not_compared(tmp_path):
    """Schema 1 and 2 have no visits, the oldest no captures either."""
    old = {"rounds": 3, "builds": 1, "gpu_ms_method": "graph"}
    for name, time_ms in (("a", 1.0), ("b", 2.0)):
        put(tmp_path, name, time_ms, **old, gpu_ms=time_ms)
    assert ranks(tmp_path) == ranks(tmp_path, "gpu") == {"a": None, "b": None}
    assert load(tmp_path)["latency_ms"].tolist() == [1.0, 2.0]
    for name, time_ms in (("c", 1.0), ("d", 2.0)):
        put(tmp_path, name, time_ms, **old, gpu_ms=time_ms, gpu_ms_captures=4, gpu_ms_between_captures=0.001)
    assert ranks(tmp_path, "gpu") == {"a": None, "b": None, "c": (1, 1), "d": (2, 2)}


def test_how_rtx_specializes_is_a_way_to_run_an_engine(tmp_path):
    axis = "dynamic_shapes_kernel_specialization_strategy"
    for name, latency, engine, how in (("a", 1.0, "x", "eager"), ("b", 2.0, "x", "none"), ("c", 1.3, "y", None)):
        put(tmp_path, name, latency, **TIMED, engine_id=engine, **{axis: how})
    assert ranks(tmp_path) == {"a": (1, 1), "b": (3, 3), "c": (2, 2)}


def test_builds_count_instead_of_captures(tmp_path):
    scatter = {"builds": 5, "gpu_ms_between_builds": 0.02}
    put(tmp_path, "a", 5.0, gpu_ms=1.0, **TIMED | scatter)
    put(tmp_path, "b", 5.0, gpu_ms=1.03, **TIMED | scatter)
    assert ranks(tmp_path, "gpu") == {"a": (1, 2), "b": (1, 2)}


def test_a_ratio_of_too_few_visits_has_no_interval(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, latency_ms_visits=[1.0, 1.01, 1.02], visit_group="0")
    put(tmp_path, "b", 2.0, **TIMED, latency_ms_visits=[2.0, 2.01, 2.02], visit_group="0")
    rows = load(tmp_path).to_dict("index")
    assert ranking.ratio(rows["b"], rows["a"]) == (pytest.approx(2, rel=0.02), None, None)
