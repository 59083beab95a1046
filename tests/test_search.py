"""What a race tries, and in which order."""

from __future__ import annotations

import re

import pytest

from trt_sweep import backends
from trt_sweep.app import limits, tuner
from trt_sweep.app.arguments import UsageError
from trt_sweep.points.point import Preview
from trt_sweep.results.axes import OPTIONAL_AXES
from trt_sweep.results.columns import Partition
from trt_sweep.sweep import search
from trt_sweep.sweep.search import Search


def made(**axes: list[str]) -> Search:
    return Search({name: list(values) for name, values in axes.items()}, lambda settings: settings)


def test_the_first_wave_is_one_step_from_the_most_promising():
    found = made(backend=["dynamo", "inductor"], precision=["fp16", "bf16", "fp32"]).first()
    assert [" ".join(each.values()) for each in found.values()] == [
        "dynamo fp16",
        "inductor fp16",
        "dynamo bf16",
        "dynamo fp32",
    ]


def test_a_later_wave_is_around_the_best_without_what_was_no_help():
    found = made(a=["1", "2", "3"], b=["1", "2"])
    assert len(found.first()) == 4
    (job,) = (job for job, settings in found.tried.items() if settings == {"a": "2", "b": "1"})
    (slow,) = (job for job, settings in found.tried.items() if settings == {"a": "3", "b": "1"})
    assert list(found.next(job, [slow]).values()) == [{"a": "2", "b": "2"}]
    assert found.is_center([job]) and found.next(job, []) == {} and found.next(None, []) == {}
    assert found.combinations == 6


def test_values_that_mean_nothing_to_a_backend_are_one_combination():
    axes = search.axes(gpu=False, flavor=None)
    assert made(**axes).combinations == 2 * (2 + 1 + 1)  # Inductor has two modes
    assert made(**{"inductor.mode": ["default", "max-autotune"], "precision": ["fp32", "bf16"]}).combinations == 2
    alone = Search({"++inductor.mode": ["default", "max-autotune"]}, lambda settings: settings, "inductor")
    assert alone.combinations == 2
    used = {axis: {name for name in backends.names() if axis in backends.get(name).AXES} for axis in OPTIONAL_AXES}
    assert used == {axis: {name for name in backends.names() if search.applies(axis, name)} for axis in OPTIONAL_AXES}


def test_partitions_are_asked_for_where_a_backend_has_them():
    found = made(backend=["inductor", "dynamo"], min_block_size=[""])

    def preview(config: dict) -> Preview:
        assert config["min_block_size"] == "1"
        sizes = [4, 8, 45, 5, 45, 25] if config["backend"] == "dynamo" else None
        return Preview("", Partition(engine_ops=sizes))

    found.ask(preview)
    assert found.axes["min_block_size"] == ["", "1", "6", "26"]


@pytest.mark.parametrize(
    ("sizes", "values"), [([7], ["1"]), ([3, 9], ["1", "4"]), ([4, 5, 8, 25, 45], ["1", "6", "26"])]
)
def test_each_value_leads_to_a_partition_of_its_own(sizes, values):
    assert search.partitions(sizes) == values
    kept = [tuple(size for size in sizes if size >= int(value)) for value in values]
    assert len(set(kept)) == len(values) and all(kept)


def test_what_is_tried_depends_on_the_machine():
    cpu, rtx = search.axes(gpu=False, flavor="rtx"), search.axes(gpu=True, flavor="rtx")
    standard, none = search.axes(gpu=True, flavor="standard"), search.axes(gpu=True, flavor=None)
    assert "cuda_graphs" not in cpu and "fp16" not in cpu["precision"]
    assert rtx["backend"][0] == "dynamo" and "optimization_level" not in rtx
    assert standard["optimization_level"] == ["", "5"] and "min_block_size" not in none
    for axes in (cpu, rtx, standard, none):
        assert all(len(set(values)) == len(values) for values in axes.values())


def test_what_the_user_says_goes():
    assert tuner.axes({"backend": "eager"}, {"precision": ["fp32", "bf16"]}, gpu=False) == {
        "precision": ["fp32", "bf16"]
    }
    assert "inductor.mode" not in tuner.axes({}, {"backend": ["eager", "jit"]}, gpu=False)
    assert "inductor.mode" not in tuner.axes({"++inductor.mode": "max-autotune"}, {}, gpu=False)
    assert tuner.axes({"++backend": "jit"}, {"++precision": ["fp32"]}, gpu=False) == {"++precision": ["fp32"]}
    assert [*tuner.axes({}, {"precision": ["fp32"], "backend": ["jit"]}, gpu=False)] == ["backend", "precision"]
    quantized = tuner.axes({"quantization.method": "x"}, {}, gpu=True)
    assert quantized["precision"] == ["auto"]
    with pytest.raises(UsageError, match="model=a,b is not allowed"):
        tuner.axes({}, {"model": ["a", "b"]}, gpu=False)


@pytest.mark.parametrize("name", ["plan", "+retry", "objective", "hydra.sweep.dir", "hydra/launcher"])
def test_what_a_race_does_not_heed_is_refused(name):
    with pytest.raises(UsageError, match=f"{re.escape(name)} is not allowed here: "):
        tuner.axes({name: "x"}, {}, gpu=False)
    with pytest.raises(UsageError, match="is not allowed here"):
        tuner.axes({}, {name: ["x", "y"]}, gpu=False)


def test_settings_are_written_as_overrides():
    settings = {"backend": "dynamo", "precision": "auto quantization.method=m", "optimization_level": ""}
    assert search.overrides(settings) == ["backend=dynamo", "precision=auto", "quantization.method=m"]


def test_limits_are_read_with_their_units():
    found, budget_s = limits.goal(
        max_latency="5ms", percentile="99", max_error="1%", max_memory="4GiB", max_build="60s", budget="10m"
    )
    assert [limit.most for limit in found.limits] == [pytest.approx(5.0), 0.01, 4 * 2**30, 60.0] and budget_s == 600
    assert found.limits[0].percentile == 99 and str(found.limits[0]) == "--max-latency 5 ms for 99 % of calls"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_latency": "5"}, r"--max-latency=5 is not allowed: use a duration .* with a unit, .*us, ms, s, m, h"),
        ({"max_latency": "0ms"}, "--max-latency=0ms is not allowed"),
        ({"max_memory": "4"}, r"--max-memory=4 is not allowed: use a size .*GiB"),
        ({"max_memory": "4ms"}, "--max-memory=4ms"),
        ({"max_error": "2"}, "--max-error=2 is not allowed"),
        ({"max_error": "0"}, "--max-error=0 is not allowed"),
        ({"budget": "soon"}, "--budget=soon is not allowed"),
        ({"delta": "0"}, "--delta=0 is not allowed"),
        ({"percentile": "99"}, "--percentile=99 limits nothing: it goes with --max-latency"),
        ({"max_latency": "5ms", "percentile": "100"}, "--percentile=100 is not allowed"),
        ({"max_build": "10m", "budget": "5m"}, "--max-build=10m and --budget=5m contradict each other"),
        ({"objective": "speed"}, "--objective=speed is not allowed: use one of latency"),
    ],
)
def test_what_is_wrong_with_a_goal_is_said_in_one_line(given, words):
    with pytest.raises(UsageError, match=words) as caught:
        limits.goal(**given)
    assert "\n" not in str(caught.value)


def test_from_python_names_have_no_dashes():
    with pytest.raises(UsageError, match=r"^max_build=10m and budget=5m contradict"):
        limits.goal(max_build="10m", budget="5m", dashes=False)
    with pytest.raises(UsageError, match=r"^percentile=\[99\] is not allowed: use a number"):
        limits.goal(max_latency="5ms", percentile=[99], dashes=False)


def test_a_cpu_has_no_counters():
    memory, _ = limits.goal(max_memory="1GiB")
    for wanted in (memory, limits.goal("energy")[0], limits.goal("memory")[0]):
        with pytest.raises(UsageError, match="cannot be judged on a CPU"):
            limits.require_gpu(wanted, False)
        limits.require_gpu(wanted, True)
