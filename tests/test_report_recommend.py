"""The winner with its tie group, constraints, objectives, and the cost of the defaults."""

from __future__ import annotations

import math

import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep import table
from trt_sweep.errors import SweepError
from trt_sweep.report import recommend, words
from trt_sweep.report.recommend import Wanted

DEFAULTS = {"min_block_size": 5, "default_min_block_size": 5}


def advised(folder, **wanted):
    rows, asked = table.load(folder), Wanted(**wanted)
    recommend.check(asked, rows)
    return [recommend.advise(task, asked) for task in recommend.tasks(rows, asked.objective)]


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, "defaults", 2.0, **TIMED, **DEFAULTS, gpu_ms=1.0, rel_l2_error=1e-6, build_s=5.0)
    put(
        tmp_path, "fast", 1.0, **TIMED, **DEFAULTS, precision="fp16", gpu_ms=0.9, rel_l2_error=1e-3, build_s=9.0,
        energy_mj_per_call=3.0,
    )  # fmt: skip
    put(tmp_path, "tie", 1.001, **TIMED, min_block_size=1, precision="fp16", gpu_ms=0.5, build_s=4.0)
    put(tmp_path, "failed", 0.1, **TIMED, status="inaccurate", precision="bf16", rel_l2_error=9.0)
    return tmp_path


def test_the_winner_its_ties_and_the_defaults(folder):
    (advice,) = advised(folder)
    assert advice.winner["point_id"] == "fast" and advice.judged
    assert advice.ties["point_id"].tolist() == ["tie"]
    assert advice.defaults["point_id"] == "defaults"
    assert advice.cost.value == pytest.approx(math.log(2))
    assert words.winner(advice, ["precision", "min_block_size"], "latency") == (
        "m, batch 1 (s): fp16 min_block_size=5 has the least latency, 1 ms (one of 2 that nothing measured "
        "tells apart)."
    )
    assert words.cost(advice, "latency").startswith(
        "Staying with the defaults (dynamo with nothing set, fp32): +100 % ["
    )


@pytest.mark.parametrize(
    ("wanted", "winner", "why"),
    [
        ({"objective": "gpu"}, "tie", None),
        ({"max_build_s": 8}, "tie", "build s above 8 or not known"),
        ({"max_error": 1e-4}, "defaults", "rel_l2_error above 0.0001 or not known"),
        ({"objective": "energy"}, "fast", "no energy_mj_per_call"),
    ],
    ids=str,
)
def test_objectives_and_constraints(folder, wanted, winner, why):
    (advice,) = advised(folder, **wanted)
    assert advice.winner["point_id"] == winner
    assert list(advice.left_out) == ([why] if why else [])


def test_nothing_qualifies(folder):
    (advice,) = advised(folder, max_build_s=1)
    assert advice.winner is None
    assert (
        words.winner(advice, [], "latency")
        == "m, batch 1 (s): no point qualifies (3 with build s above 1 or not known)."
    )


def test_energy_has_no_scatter_and_proves_nothing(folder):
    put(folder, "thrifty", 3.0, **TIMED, min_block_size=2, energy_mj_per_call=1.0)
    (advice,) = advised(folder, objective="energy")
    assert advice.winner["point_id"] == "thrifty" and not advice.judged
    assert advice.ties["point_id"].tolist() == ["fast"]
    assert "not proved" in words.winner(advice, [], "energy")


def test_throughput_compares_batch_sizes(tmp_path):
    for size, latency in ((1, 1.0), (8, 2.0), (32, 16.0)):
        put(tmp_path, f"b{size}", latency, **TIMED, **DEFAULTS, batch_size=size, throughput_per_s=1e3 * size / latency)
    (advice,) = advised(tmp_path, objective="throughput")
    assert advice.winner["point_id"] == "b8" and advice.ties.empty
    assert len(advised(tmp_path)) == 3  # by latency each size is a work of its own


def test_without_defaults_their_cost_is_not_known(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, min_block_size=1)
    (advice,) = advised(tmp_path)
    assert advice.defaults is None and "not known" in words.cost(advice, "latency")


def test_what_cannot_be_asked(folder):
    for wanted, message in (
        ({"max_memory": 1.0}, "--max-memory=1.0 cannot be judged: these records have no peak_gpu_bytes"),
        ({"objective": "throughput"}, "--objective=throughput cannot be judged: no successful record has throughput"),
        ({"max_build_s": -1.0}, "--max-build-s=-1.0 is not allowed: use a number of at least 0"),
        ({"max_error": math.nan}, "--max-error=nan is not allowed"),
    ):
        with pytest.raises(SweepError, match=message.replace("(", r"\(")):
            advised(folder, **wanted)


def test_memory_where_it_was_recorded(folder):
    rows = table.load(folder)
    rows["peak_gpu_bytes"] = [3 * 2**30, 2 * 2**30, 2**30, None]
    (task,) = recommend.tasks(rows, "latency")
    advice = recommend.advise(task, Wanted(max_memory=1.5))
    assert advice.winner["point_id"] == "tie"
    assert advice.left_out == {"memory above 1.5 GiB or not known": 2}
