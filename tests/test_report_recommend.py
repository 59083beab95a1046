"""The winner with its tie group, constraints, objectives, and the cost of the defaults."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.analysis.report import recommend, remeasure, sentences
from trt_sweep.analysis.report.recommend import Wanted
from trt_sweep.errors import SweepError
from trt_sweep.results import table

DEFAULTS = {"min_block_size": 5, "default_min_block_size": 5}

PARTITIONS = Path(__file__).parents[1] / "outputs/reference/h200/min_block_size"


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
    assert advice.winner["point_id"] == "tie" and advice.judged and advice.decided == "gpu"
    assert advice.ties["point_id"].tolist() == ["fast"] and advice.runner_up["point_id"] == "fast"
    assert advice.defaults["point_id"] == "defaults"
    assert advice.cost.value == pytest.approx(math.log(2 / 1.001))
    axes = ["precision", "min_block_size"]
    assert sentences.winner(advice, axes, "latency") == (
        "m, batch 1 (s): fp16 min_block_size=1 is as good as any by latency, 1.001 ms (latency does not tell it from "
        "1 more; by the GPU's work, 0.5 ms, it is proved better)."
    )
    assert sentences.ties(advice, axes, "latency") == (
        "As good by latency as far as is known: fp16 min_block_size=5 (1 ms; the GPU's work 0.9 ms)."
    )
    assert sentences.cost(advice, "latency").startswith(
        "Staying with the defaults (dynamo with nothing set, fp32): +99.8 % ["
    )


def test_what_the_gpu_tells_of_some_ties_only_is_not_sure(tmp_path):
    for name, gpu_ms in (("a", 0.5), ("b", 0.5005), ("c", 0.9)):
        put(tmp_path, name, 1.0, **TIMED, gpu_ms=gpu_ms, precision="fp16", min_block_size=ord(name))
    (advice,) = advised(tmp_path)
    assert (advice.decided, advice.sure, len(advice.ties)) == ("gpu", False, 2)
    assert "none of them is proved better" in sentences.winner(advice, ["min_block_size"], "latency")


def test_of_what_nothing_tells_apart_the_least_is_named_then_what_departs_least(tmp_path):
    engine = {"engine_id": "x", "default_min_block_size": 5, "gpu_ms": 0.9}
    for name, latency, least, runtime in (("a", 1.0, 1, "cpp"), ("b", 1.0, 5, "cpp"), ("c", 1.001, 5, "python")):
        put(tmp_path, name, latency, **TIMED, **engine, min_block_size=least, runtime=runtime)
    put(tmp_path, "d", 2.0, **TIMED, precision="fp16")
    (advice,) = advised(tmp_path)
    assert advice.winner["point_id"] == "b" and advice.decided == "defaults"
    assert advice.ties["point_id"].tolist() == ["a", "c"]
    said = sentences.winner(advice, ["min_block_size", "runtime"], "latency")
    assert "min_block_size=5 runtime=cpp" in said and "one of 3 that nothing measured tells apart" in said
    put(tmp_path, "e", 0.999, **TIMED, **engine, min_block_size=5, runtime="python", cuda_graphs=True)
    (advice,) = advised(tmp_path)
    assert advice.winner["point_id"] == "e" and advice.decided is None


def test_a_larger_median_is_never_taken_where_nothing_is_proved(tmp_path):
    for name, latency, gpu_ms, graphs in (("a", 0.2, 0.19, True), ("b", 3.0, 0.18, False), ("c", 0.21, 0.19, None)):
        axes = DEFAULTS | {"precision": "fp16", "gpu_ms_method": "graph", "cuda_graphs": graphs}
        put(tmp_path, name, latency, **axes, gpu_ms=gpu_ms, gpu_ms_between_rounds=0.0001)  # nothing known of latency
    (advice,) = advised(tmp_path)
    assert not advice.judged and advice.winner["point_id"] == "a"


def test_a_cold_runtime_cache_is_never_advised(tmp_path):
    put(tmp_path, "cold", 1.0, **TIMED, **DEFAULTS, runtime_cache="cold", precision="fp16")
    put(tmp_path, "warm", 1.5, **TIMED, **DEFAULTS, runtime_cache="warm", precision="fp16")
    (advice,) = advised(tmp_path)
    assert advice.winner["point_id"] == "warm" and advice.left_out == {"runtime_cache=cold": 1}


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_no_call_takes_less_than_its_gpu_work(tmp_path, objective):
    loose = TIMED | {"latency_ms_between_rounds": 0.5, "launch_bound": True}
    for name, latency, gpu_ms, axes in (
        ("fast", 1.0, 0.9, {"cuda_graphs": True}),
        ("slow", 1.5, 1.4, {}),
        ("maybe", 1.5, 0.9, {"min_block_size": 1}),
    ):
        scatter = TIMED if name == "fast" else loose
        figures = {"throughput_per_s": 1e3 / latency, "gpu_ms_ci_low": gpu_ms, "gpu_ms_ci_high": gpu_ms}
        put(tmp_path, name, latency, **scatter, **DEFAULTS | axes, **figures, gpu_ms=gpu_ms)
    (advice,) = advised(tmp_path, objective=objective)
    assert advice.winner["point_id"] == "fast" and advice.ties["point_id"].tolist() == ["maybe"]
    assert advice.defaults["point_id"] == "slow"
    assert "; their GPU work alone, 1.4 ms, takes longer" in sentences.cost(advice, objective)


def test_defaults_that_nothing_tells_from_the_winner(tmp_path):
    put(tmp_path / "t", "defaults", 1.001, **TIMED, **DEFAULTS, gpu_ms=0.9)
    put(tmp_path / "t", "other", 1.0, **TIMED, precision="fp16", gpu_ms=0.5)
    (advice,) = advised(tmp_path / "t")
    said = sentences.cost(advice, "latency")
    assert said.endswith(": latency does not tell them from it; the GPU's work is 0.9 ms against 0.5 ms.")
    put(tmp_path / "u", "defaults", 1.001, **TIMED, **DEFAULTS, cache="warm")
    put(tmp_path / "u", "other", 1.0, **TIMED, min_block_size=1)
    (advice,) = advised(tmp_path / "u")
    assert advice.winner["point_id"] == "other" and advice.defaults["point_id"] == "defaults"
    assert sentences.cost(advice, "latency").endswith(": nothing measured tells them from it.")


@pytest.mark.parametrize(
    ("wanted", "winner", "why"),
    [
        ({"objective": "gpu"}, "tie", None),
        ({"max_build": 8}, "tie", "build above 8 s or not known"),
        ({"max_error": 1e-4}, "defaults", "rel. error above 0.0001 or not known"),
        ({"objective": "energy"}, "fast", "no energy_mj_per_call"),
    ],
    ids=str,
)
def test_objectives_and_constraints(folder, wanted, winner, why):
    (advice,) = advised(folder, **wanted)
    assert advice.winner["point_id"] == winner
    assert list(advice.left_out) == ([why] if why else [])


def test_nothing_qualifies(folder):
    (advice,) = advised(folder, max_build=1)
    assert advice.winner is None
    assert (
        sentences.winner(advice, [], "latency")
        == "m, batch 1 (s), with build ≤ 1 s: no point qualifies (3 with build above 1 s or not known)."
    )


def test_energy_has_no_scatter_and_proves_nothing(folder):
    put(folder, "thrifty", 3.0, **TIMED, min_block_size=2, energy_mj_per_call=1.0)
    (advice,) = advised(folder, objective="energy")
    assert advice.winner["point_id"] == "thrifty" and not advice.judged
    assert advice.ties["point_id"].tolist() == ["fast"]
    assert "not proved" in sentences.winner(advice, [], "energy")
    assert sentences.ties(advice, ["precision"], "energy") == (
        "Next, in order; what separates them is not known: fp16 (3 mJ)."
    )
    for number in range(4):
        put(folder, f"more{number}", 3.0, **TIMED, min_block_size=3, energy_mj_per_call=5.0 + number)
    (advice,) = advised(folder, objective="energy")
    assert sentences.ties(advice, ["precision"], "energy").endswith("fp32 (6 mJ) and 2 more.")


def test_one_energy_of_several_settings_is_that_of_the_defaults(tmp_path):
    for name, least, energy in (("a", 1, 1.0), ("b", 5, 1.0), ("c", 5, 2.0)):
        put(tmp_path, name, 1.0, **TIMED, **DEFAULTS | {"min_block_size": least}, energy_mj_per_call=energy)
    (advice,) = advised(tmp_path, objective="energy")
    assert advice.winner["point_id"] == "b" and advice.ties["point_id"].tolist() == ["a", "c"]
    assert "min_block_size=5 has the least energy, 1 mJ (not" in sentences.winner(advice, ["min_block_size"], "energy")


def test_limits_are_said_with_what_they_leave_out(folder):
    (advice,) = advised(folder, max_error=1e-4, max_build=100)
    headline = sentences.winner(advice, ["precision"], "latency")
    assert headline.startswith("m, batch 1 (s), with build ≤ 100 s and rel. error ≤ 0.0001: fp32 has")
    assert headline.endswith("(the only one that qualifies).")
    assert sentences.left_out(advice) == (
        "Left out: 2 with rel. error above 0.0001 or not known; --max-build 100s leaves nothing out."
    )


def test_defaults_that_do_not_qualify(folder):
    put(folder, "exact", 3.0, **TIMED, backend="eager", rel_l2_error=1e-9)
    (advice,) = advised(folder, max_error=1e-8)
    assert advice.winner["point_id"] == "exact"
    assert sentences.cost(advice, "latency") == (
        "The defaults (dynamo with nothing set, fp32) do not qualify (rel. error 1e-06)."
    )


def test_throughput_compares_batch_sizes(tmp_path):
    for size, latency in ((1, 1.0), (8, 2.0), (32, 16.0)):
        put(tmp_path, f"b{size}", latency, **TIMED, **DEFAULTS, batch_size=size, throughput_per_s=1e3 * size / latency)
    (advice,) = advised(tmp_path, objective="throughput")
    assert advice.winner["point_id"] == "b8" and advice.ties.empty
    (same,) = advised(tmp_path)  # by latency there is nothing to compare
    assert same.objective == "throughput" and same.winner["point_id"] == "b8"
    put(tmp_path, "other", 1.0, **TIMED, precision="fp16", throughput_per_s=1e3)
    assert len(advised(tmp_path)) == 3  # by latency each size is a work of its own


def test_without_defaults_their_cost_is_not_known(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, min_block_size=1)
    (advice,) = advised(tmp_path)
    assert advice.defaults is None and "not known" in sentences.cost(advice, "latency")


def test_what_cannot_be_asked(folder):
    for wanted, message in (
        ({"max_memory": 1.0}, "--max-memory cannot be judged: these records have no peak_gpu_bytes"),
        ({"objective": "throughput"}, "--objective=throughput cannot be judged: no successful record has throughput"),
    ):
        with pytest.raises(SweepError, match=message.replace("(", r"\(")):
            advised(folder, **wanted)


def test_memory_where_it_was_recorded(folder):
    rows = table.load(folder)
    rows["peak_gpu_bytes"] = [3 * 2**30, 2 * 2**30, 2**30, None]
    (task,) = recommend.tasks(rows, "latency")
    advice = recommend.advise(task, Wanted(max_memory=1.5 * 2**30))
    assert advice.winner["point_id"] == "tie"
    assert advice.left_out == {"memory above 1.5 GiB or not known": 2}
    assert recommend.advise(task, Wanted(max_memory=100 * 2**30)).idle == ["--max-memory 100GiB"]
    assert recommend.advise(task, Wanted(max_memory=10 * 2**20)).left_out == {"memory above 10 MiB or not known": 3}


def twins(folder, name, latency, sizes=(1, 5, 22), **values):
    """Points of one engine, timed once for all of them."""
    for size in sizes:
        where = {"min_block_size": size, "default_min_block_size": 5, "engine_id": name}
        source = f"{name}{sizes[0]}" if size != sizes[0] else None
        put(folder, f"{name}{size}", latency, **TIMED, **where, timed_with=source, **values)


def test_points_that_were_timed_once_are_named_as_one(tmp_path):
    axes = ["min_block_size", "runtime"]
    twins(tmp_path, "a", 1.0, runtime="cpp")
    (advice,) = advised(tmp_path)
    assert sentences.winner(advice, axes, "latency").endswith(
        ": min_block_size=1, 5, 22 runtime=cpp has the least latency, 1 ms (the only measurement; min_block_size=5 "
        "departs least from the defaults)."
    )
    assert sentences.ties(advice, axes, "latency") is None and advice.runner_up is None
    twins(tmp_path, "b", 1.001, sizes=(1, 5), runtime="python")
    (advice,) = advised(tmp_path)
    assert advice.winner["point_id"] == "a5"  # whose code is shown
    assert "1 ms (one of 2 that nothing measured tells apart; min_block" in sentences.winner(advice, axes, "latency")
    assert sentences.ties(advice, axes, "latency") == (
        "As good as far as is known: min_block_size=1, 5 runtime=python (1.001 ms)."
    )
    assert [row["point_id"] for row in remeasure._candidates(advice)] == ["a5", "b1"]
    second = recommend.judged(advice.rows, "latency")
    again = sentences.second(dataclasses.replace(advice, second=second), "latency")
    assert again.startswith("Measured again, interleaved with 1 other: ")
    assert again.endswith(": confirmed as one of 2 that nothing measured tells apart.")


def test_a_winner_is_proved_against_other_measurements(tmp_path):
    twins(tmp_path, "a", 1.0)
    twins(tmp_path, "b", 2.0)
    (advice,) = advised(tmp_path)
    assert "(proved; min_block_size=5 departs" in sentences.winner(advice, ["min_block_size"], "latency")
    assert advice.runner_up["point_id"] == "b1"


def test_partitions_of_one_engine_are_one(tmp_path):
    said = [sentences.winner(advice, ["min_block_size"], "latency") for advice in advised(PARTITIONS)]
    (squeezed,) = [sentence for sentence in said if sentence.startswith("squeezenet1_1")]
    assert ": min_block_size=3, 5, 6, 9 has the least latency, 0.7009 ms (not proved: how much some of" in squeezed
    assert squeezed.endswith("; min_block_size=5 departs least from the defaults).")


def test_one_of_those_that_were_timed_once_may_set_nothing(tmp_path):
    for name, given, source in (("a", "x=1", None), ("b", None, "a")):
        put(tmp_path, name, 1.0, **TIMED, **DEFAULTS, engine_id="e", compile=given, timed_with=source)
    (advice,) = advised(tmp_path)
    said = sentences.winner(advice, ["compile"], "latency")
    assert ": compile=x=1, unset has" in said and "; compile=unset departs least from the defaults)" in said
