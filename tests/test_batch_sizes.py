"""The search of the batch size: which sizes it tries, what it finds, and with real models on the CPU."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import trt_sweep
from trt_sweep.app import tuner
from trt_sweep.app.arguments import UsageError
from trt_sweep.benchmarks import tune_sizes
from trt_sweep.results.stats.estimates import Estimate
from trt_sweep.sweep.batch_sizes import MOST, BatchSearch, Size, beside, doubled, towards_limit

UNFIT = Size()


def sizes(times: dict[int, float | None], spread: float = 0.001) -> dict[int, Size]:
    """Return sizes whose samples take so long; None for one that does not fit."""
    return {size: UNFIT if ms is None else Size(Estimate(ms, spread), True) for size, ms in times.items()}


@pytest.mark.parametrize(
    ("times", "spread", "following"),
    [
        ({1: 1.0}, 0.001, 2),
        ({1: 1.0, 2: 0.6}, 0.001, 4),
        ({1: 1.0, 2: 0.99}, 0.001, None),  # a rise of 1 %, surely
        ({1: 1.0, 2: 0.99}, 0.1, 4),  # which cannot be told
        ({1: 1.0, 2: 0.99, 4: 0.98}, 0.1, None),  # twice
        ({1: 1.0, 2: 0.6, 4: None}, 0.001, None),
        ({1: None, 2: None}, 0.001, None),
        ({MOST: 1.0}, 0.001, None),
    ],
)
def test_a_size_is_doubled_while_throughput_rises(times, spread, following):
    start = MOST if MOST in times else 1
    assert doubled(sizes(times, spread), start, 0.02) == following


def test_sizes_go_towards_what_does_not_fit():
    known, tried = sizes({1: 1.0, 2: 0.5, 4: 0.25, 8: 0.2, 16: None}), []
    while (size := towards_limit(known)) is not None:
        tried.append(size)
        known |= sizes({size: 1 / size if size <= 13 else None})
    assert tried == [12, 14, 13] and towards_limit(sizes({1: 1.0, 2: 0.5})) is None
    assert towards_limit(sizes({1: None})) is None


def test_a_size_that_may_break_a_limit_has_a_safer_one_beside_it():
    known = sizes({1: 1.0, 16: 0.25, 32: 0.2, 33: None})
    known[32] = dataclasses.replace(known[32], sure=False)
    assert towards_limit(known) == 30
    assert towards_limit(known | sizes({30: 0.21})) is None


def test_sizes_beside_the_best_are_tried():
    assert beside(sizes({1: 4.0, 2: 2.0, 4: 1.0, 8: 1.1}), 1) == [3, 6]
    assert beside(sizes({1: 4.0, 2: 4.1}), 1) == [] == beside(sizes({1: None}), 1)
    assert beside(sizes({1: 4.0, 2: 2.0, 3: 1.0}), 1) == []  # which was one of them


def made(**axes: list[str]) -> BatchSearch:
    return BatchSearch({name: list(values) for name, values in axes.items()}, lambda settings: settings)


def test_other_settings_are_tried_at_the_best_size_and_searched_on_from_there():
    found = made(a=["x", "y"])
    assert list(found.first().values()) == [{"a": "x", "batch_size": "1"}, {"a": "x", "batch_size": "2"}]
    known = {0: sizes({1: 1.0})[1], 1: sizes({2: 1.0})[2]}
    assert found.doubling and found.enough_visits < 48
    wave = found.next(0, [], known)
    assert wave == {2: {"a": "y", "batch_size": "1"}, 0: {"a": "x", "batch_size": "1"}} and not found.doubling
    known[2] = sizes({1: 0.5})[1]
    assert found.next(2, [], known) == {3: {"a": "y", "batch_size": "2"}} and found.doubling
    assert found.combinations == 4


def test_where_the_most_promising_settings_fit_nowhere_others_are_tried():
    found = made(a=["x", "y"])
    found.first()
    wave = found.next(None, [0, 1], {0: UNFIT, 1: UNFIT})
    assert list(wave.values()) == [{"a": "y", "batch_size": "1"}]
    known = {0: UNFIT, 1: UNFIT, 2: sizes({1: 1.0})[1]}
    assert list(found.next(2, [0, 1], known).values()) == [{"a": "y", "batch_size": "2"}]


def test_the_search_ends_within_5_percent_of_a_sweep_of_all_sizes():
    for row in tune_sizes.simulated(8, np.random.default_rng(1)):
        assert row["throughput_of_best_percent_least"] >= 95, row
        assert row["points"] < 15 and row["broken_called_kept"] == 0, row


@pytest.mark.parametrize(
    ("fixed", "listed", "objective", "searched"),
    [
        ({}, {}, "throughput", True),
        ({}, {}, "latency", False),
        ({"batch_size": "8"}, {}, "throughput", False),
        ({}, {"batch_size": ["1", "8"]}, "throughput", False),
        ({"batch_size": "search"}, {}, "throughput", True),
    ],
)
def test_the_size_is_searched_for_throughput_unless_it_is_given(fixed, listed, objective, searched):
    assert tuner.searches_batch(fixed, listed, objective, unasked=True) == searched
    assert fixed.get("batch_size") != "search"


def test_what_cannot_be_searched_is_one_line():
    with pytest.raises(UsageError, match="batch_size=search is not allowed with objective=latency"):
        tuner.searches_batch({"batch_size": "search"}, {}, "latency", unasked=True)
    with pytest.raises(UsageError, match="give sizes to try, or search alone"):
        tuner.searches_batch({}, {"batch_size": ["1", "search"]}, "throughput", unasked=False)


class Waits(torch.nn.Module):
    """Take 4 ms a call and so much a sample; memory ends above so many samples."""

    def __init__(self, sample_s: float = 0.0, most: int = 10**6) -> None:
        super().__init__()
        self.sample_s, self.most = sample_s, most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no room")
        time.sleep(0.004 + self.sample_s * len(x))
        return x * 2


class Adds(torch.nn.Module):
    def forward(self, x, y):
        return x + y


def search(model: torch.nn.Module, inputs: torch.Tensor, folder: Path, **how) -> trt_sweep.app.tuner.Result:
    fixed = {"device": "cpu", "precision": "fp32", "batch_size": "search", "measure.visits": 16}
    fixed |= {"measure.max_s": how.pop("max_s", 0.4), "measure.warmup_s": 0.05, "measure.settle_s": 0.0}
    axes = {"backend": how.pop("backend", ["eager"])}
    return trt_sweep.tune(
        model, inputs, axes, fixed, folder, objective="throughput", **{"budget": "10m", "delta": 0.1, **how}
    )


def test_a_latency_limit_bounds_the_size(tmp_path):
    """A call for 6 samples never keeps it; on a busy machine those for fewer may take longer than they should."""
    found = search(Waits(0.002), torch.randn(3, 4), tmp_path / "t", max_latency="15ms")
    assert 2 <= int(found.settings["batch_size"]) <= 5
    assert "max_latency 15 ms is kept" in found.lines[2] and found.winner["latency_ms"] < 15
    assert {1, 2, 4} < set(found.table["batch_size"]) <= set(range(1, 9))
    kept = {fate["point_id"] for fate in found.content["road"] if fate["keeps"]}
    assert found.winner["point_id"] in kept
    assert found.table.loc[found.table["point_id"].isin(kept), "batch_size"].max() <= 5


def test_the_end_of_memory_bounds_the_size(tmp_path):
    found = search(Waits(most=6), torch.randn(3, 4), tmp_path / "t")
    assert found.settings["batch_size"] == "6"
    assert set(found.table.loc[found.table["batch_size"] > 6, "status"]) == {"out_of_memory"}


def test_a_model_without_a_batch_is_said_in_one_line(tmp_path):
    found = trt_sweep.tune(
        Adds(),
        (torch.randn(4, 2), torch.randn(2)),  # no first dimension in common
        {"backend": ["eager"]},
        {"device": "cpu", "measure.warmup_s": 0.05, "precision": "fp32", "batch_size": "search"},
        tmp_path / "t",
        objective="throughput",
        budget="1m",
    )
    assert found.settings["backend"] == "eager" and len(found.table) == 1
    assert found.content["refused"] == {"batch_size=search": "no input of the model has a batch"}


def test_throughput_of_a_small_network_rises_with_the_size(tmp_path):
    module = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(4)]).eval()
    brief = {"max_s": 0.1, "delta": 0.3}
    found = search(module, torch.randn(1, 64), tmp_path / "t", backend=["eager", "jit"], **brief)
    rows = found.table[found.table["status"].eq("ok") & found.table["batch_size"].eq(1)]
    assert int(found.settings["batch_size"]) >= 16
    assert found.winner["throughput_per_s"] > 4 * rows["throughput_per_s"].max()
    road = json.loads((tmp_path / "t/race.json").read_text())["road"]
    assert {"eager", "jit"} <= {fate["label"].split()[1] for fate in road}
