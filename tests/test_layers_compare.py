"""Layers of two profiles set against each other: which are the same, what became of the rest, what is only noise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recorded_layers import info, point, put

from trt_sweep.analysis.layers import compare as comparing
from trt_sweep.analysis.layers.compare import compare, sums
from trt_sweep.analysis.layers.matching import groups
from trt_sweep.results.layers import profiles

HERE, THERE = "a" * 16, "b" * 16


@pytest.fixture
def load(tmp_path):
    """The table of a recorded profile, as if of another engine for each call."""
    made: list[Path] = []

    def one(sample: str) -> pd.DataFrame:
        made.append(tmp_path / str(len(made)))
        return profiles.load(point(made[-1], sample, f"{len(made):016x}"))

    return one


def timed(
    table: pd.DataFrame, factors: dict[int, float], seed: int, run: float = 0.03, calls: int = 50
) -> pd.DataFrame:
    """The profile as a run of so many calls finds it: samples scatter by 4 %, the run moves each layer by `run`."""
    random = np.random.default_rng(seed)
    times = table["median_ms"] * np.exp(random.normal(0, run, len(table)))
    times *= [factors.get(row, 1.0) for row in table.index]
    found = table.assign(samples=[(time * np.exp(random.normal(0, 0.04, calls))).tolist() for time in times])
    return found.assign(median_ms=found["samples"].map(np.median).astype(float))


def engine(tmp_path: Path, made: list[dict], name: str, times: dict[str, float] | None = None) -> pd.DataFrame:
    """The table of an engine with these layers, each of which takes 1 ms where `times` says nothing else."""
    folder = tmp_path / name
    (folder / "engines" / "0").mkdir(parents=True)
    put(folder / "engines" / profiles.PROFILE, {"engine_id": name * 16, "engines": 1, "calls": 50, "runtime": "cpp"})
    put(folder / "engines/0" / profiles.INFO, {"Layers": made})
    random = np.random.default_rng(len(made))
    samples = {
        layer["Name"]: ((times or {}).get(layer["Name"], 1.0) * np.exp(random.normal(0, 0.01, 50))).tolist()
        for layer in made
    }
    put(folder / "engines/0" / profiles.LATENCY, samples)
    return profiles.load(folder)


def made(*nodes: str, kind: str = "convolution", shape: tuple[int, ...] = (1, 8), **values) -> dict:
    """A layer that does these nodes, called after the first of them."""
    named = [f"[{kind.upper()}]-[aten_ops.{kind}.default]-[{node}]" for node in nodes]
    tensor = {"Name": f"out {nodes}", "Dimensions": list(shape), "Format/Datatype": "Half"}
    return {"Name": " + ".join(named) + "_myl0_0", "LayerType": kind, "Inputs": [], "Outputs": [tensor]} | values


def changes(comparison: pd.DataFrame) -> list[tuple[str, list[int], list[int]]]:
    return list(zip(comparison["change"], comparison["here"], comparison["there"], strict=True))


@pytest.mark.parametrize(("model", "count"), [("resnet18", 36), ("squeezenet1_1", 66)])
def test_one_engine_in_two_runtimes(load, model, count):
    here, there = load(f"{model}-cpp"), load(f"{model}-python")
    comparison = compare(here, there)
    assert changes(comparison) == [("unchanged", [row], [row]) for row in range(count)]
    assert not comparison["proved"].any()
    assert comparison["here_ms"].sum() == pytest.approx(here["median_ms"].sum(), rel=1e-12)
    assert comparison["there_ms"].sum() == pytest.approx(there["median_ms"].sum(), rel=1e-12)


# Which layer of the dynamo engine does what which layer of the ONNX engine does, worked out by hand from both graphs.
RESNET18 = {
    **{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6},
    **{9: 9, 11: 7, 13: 8, 14: 10, 15: 11},  # the dynamo engine does the downsampling first, on a stream of its own
    **{18: 14, 20: 12, 22: 13, 23: 15, 24: 16},
    **{27: 19, 29: 17, 31: 18, 32: 20, 33: 21, 34: 23, 35: 24},
}


def test_dynamo_and_onnx(load):
    here, there = load("resnet18-cpp"), load("resnet18-onnx")
    comparison = compare(here, there)
    pairs = [(one[0], other[0]) for _, one, other in changes(comparison) if one and other]
    assert pairs == list(RESNET18.items())
    rest = [(change, one, other) for change, one, other in changes(comparison) if not one or not other]
    idle = [row for row in here.index if here["type"][row] in ("signal", "wait")]
    assert rest == [*(("only here", [row], []) for row in idle), ("only there", [], [22])]
    assert there["name"][22] == "__myl_Tran_myl0_22"
    found = sums(comparison)
    assert found.index.tolist() == ["only here", "only there", "unchanged"]
    assert found["layers_here"].tolist() == [12, 0, 24]
    assert found["layers_there"].tolist() == [0, 1, 24]
    assert found["here_ms"].sum() == pytest.approx(here["median_ms"].sum(), rel=1e-12)
    assert found["there_ms"].sum() == pytest.approx(there["median_ms"].sum(), rel=1e-12)
    assert (found["there_ms"] - found["here_ms"]).tolist() == pytest.approx(found["difference_ms"].tolist())


def test_published_engines_of_one_model_pair_by_module():
    inside = Path(__file__).parents[1] / "outputs/reference/h100/inside"
    here, there = (
        profiles.load(inside / "onnx/points/5bb2ed24124aabb3"),
        profiles.load(inside / "with/points/7e41dfee39378a48"),
    )
    comparison = compare(here, there)
    pairs = [(one[0], other[0]) for _, one, other in changes(comparison) if one and other]
    assert sorted((other, one) for one, other in pairs) == list(RESNET18.items())
    assert not comparison["proved"].any()


def test_another_partition(tmp_path, load):
    """squeezenet1_1 as one engine: the poolings between are in it, the copies at its inputs and outputs are not."""
    here = load("squeezenet1_1-cpp")
    joined = []
    for number in range(3):
        for layer in info("squeezenet1_1-cpp", number):
            copied = "__myl_Move" in layer["Name"] or "__myl_Tran" in layer["Name"]
            if number == 0 or not copied:
                joined.append(layer | {"Name": layer["Name"].replace("_myl0", f"_myl{number}")})
        if number < 2:
            joined.append(made(f"features.{2 + 3 * number}/max_pool2d", kind="max_pool2d"))
    there = engine(tmp_path, joined, "b")
    pairs, rest = [], []
    for one, other in groups(here, there):
        (pairs if one and other else rest).append((one, other))
    for one, other in pairs:
        assert len(one) == len(other) == 1
        assert here["modules"][one[0]] == there["modules"][other[0]]
        assert here["outputs"][one[0]] == there["outputs"][other[0]]
    only_here = [here["name"][row] for one, _ in rest for row in one]
    assert only_here == [
        "__myl_Move_myl0_0", "__myl_Tran_myl0_11", "__myl_Tran_myl0_14", "__myl_Move_myl0_0"
    ]  # fmt: skip
    only_there = [there["modules"][row] for _, other in rest for row in other]
    assert only_there == [["features.2"], ["features.5"]]


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_claimed(load, seed):
    here, there = load("vit_b_16-cpp"), load("vit_b_16-cpp")
    comparison = compare(timed(here, {}, seed), timed(there, {}, 100 + seed))
    assert len(comparison) == 149
    assert comparison.attrs["controls"] == 149
    assert comparison.attrs["run_spread"] == pytest.approx(0.031, rel=0.2)  # of the run, and a little of the samples
    assert not comparison["proved"].any()


def test_a_run_that_is_slower_as_a_whole_proves_nothing(load):
    here, there = load("vit_b_16-cpp"), load("vit_b_16-cpp")
    slower = dict.fromkeys(there.index, 1.5)
    assert not compare(timed(here, {}, 0), timed(there, slower, 1))["proved"].any()


def test_what_the_samples_carry_is_claimed(load):
    here, there = load("vit_b_16-cpp"), load("vit_b_16-cpp")
    comparison = compare(timed(here, {}, 0), timed(there, {5: 1.5, 12: 1 / 1.5}, 1))
    assert comparison.index[comparison["proved"]].tolist() == [5, 12]
    assert comparison["change"][[5, 12]].tolist() == ["slower", "faster"]
    assert comparison["there_ms"][5] / comparison["here_ms"][5] == pytest.approx(1.5, rel=0.1)
    assert sums(comparison)["groups"].to_dict() == {"faster": 1, "slower": 1, "unchanged": 147}


def test_one_engine_is_never_told_apart_from_itself(load):
    here = load("vit_b_16-cpp")
    there = timed(here, {5: 10.0}, 1)
    there.attrs = here.attrs
    comparison = compare(timed(here, {}, 0), there)
    assert comparison.attrs["same_engine"]
    assert not comparison["proved"].any()
    assert set(comparison["change"]) == {"unchanged"}


def test_few_calls_prove_nothing(load):
    here, there = load("vit_b_16-cpp"), load("vit_b_16-cpp")
    comparison = compare(timed(here, {}, 0, calls=5), timed(there, {5: 10.0}, 1, calls=5))
    assert comparison.attrs["calls"] == 5
    assert not comparison["proved"].any()
    assert compare(timed(here, {}, 0, calls=12), timed(there, {5: 10.0}, 1, calls=12))["proved"][5]


def test_fused_split_and_regrouped(tmp_path):
    apart = [
        made("a/conv"),
        made("b/relu", kind="relu"),
        made("c/conv"),
        made("d/conv"),
        made("e/conv"),
        made("f/conv"),
    ]
    joined = [made("a/conv", "b/relu"), made("c/conv", "d/conv"), made("e/conv", "f/conv")]
    here = engine(tmp_path, apart, "a", {apart[0]["Name"]: 3.0})
    there = engine(tmp_path, [*joined[:2], made("e/conv"), made("f/conv")], "b")
    comparison = compare(here, there)
    assert changes(comparison) == [
        ("fused", [0, 1], [0]),
        ("fused", [2, 3], [1]),
        ("unchanged", [4], [2]),
        ("unchanged", [5], [3]),
    ]
    assert comparison["modules"].tolist() == [["a", "b"], ["c", "d"], ["e"], ["f"]]
    assert comparison["here_ms"][0] == pytest.approx(4.0, rel=0.01)
    assert comparison["proved"].tolist() == [True, True, False, False]  # 4 and 2 ms against 1
    back = compare(there, here)
    assert back["change"].tolist() == ["split", "split", "unchanged", "unchanged"]
    assert back["difference_ms"].tolist() == (-comparison["difference_ms"]).tolist()
    crossing = [made("a/conv", "b/conv"), made("c/conv", "d/conv"), made("e/conv")]
    other = [made("a/conv"), made("b/conv", "c/conv"), made("d/conv"), made("e/conv")]
    found = compare(engine(tmp_path, crossing, "c"), engine(tmp_path, other, "d"))
    assert changes(found) == [("regrouped", [0, 1], [0, 1, 2]), ("unchanged", [2], [3])]


def test_changed_precision(tmp_path):
    half = [made("a/conv"), made("b/conv")]
    single = [made("a/conv"), made("b/conv")]
    single[1]["Outputs"][0]["Format/Datatype"] = "Float"
    comparison = compare(engine(tmp_path, half, "a"), engine(tmp_path, single, "b", {single[1]["Name"]: 4.0}))
    assert comparison["change"].tolist() == ["unchanged", "changed precision"]
    assert comparison[["precision_here", "precision_there"]].values.tolist() == [["fp16", "fp16"], ["fp16", "fp32"]]
    assert comparison["proved"].tolist() == [False, True]


def read(height: int, kind: str = "Half") -> dict:
    return {"Inputs": [{"Name": "x", "Dimensions": [1, 8, height, height], "Format/Datatype": kind}]}


def test_nothing_is_proved_of_layers_that_read_other_shapes(tmp_path):
    here = [made("a/conv", **read(28)), made("b/conv", **read(28))]
    there = [made("a/conv", **read(14)), made("b/conv", **read(28, "Float"))]
    slow = {layer["Name"]: 4.0 for layer in there}
    comparison = compare(engine(tmp_path, here, "a"), engine(tmp_path, there, "b", slow))
    assert comparison["change"].tolist() == ["unchanged", "changed precision"]
    assert comparison["proved"].tolist() == [False, True]
    assert comparison.attrs["unlike"] == 1


def test_shapes_within_a_group_do_not_count(tmp_path):
    inner = {"Inputs": [{"Name": "out ('a/conv',)", "Dimensions": [1, 8], "Format/Datatype": "Half"}]}
    apart = [made("a/conv", **read(28)), made("b/relu", kind="relu", **inner)]
    comparison = compare(engine(tmp_path, apart, "a"), engine(tmp_path, [made("a/conv", "b/relu", **read(28))], "b"))
    assert comparison[["change", "proved"]].values.tolist() == [["fused", True]]


# What an engine that tells its layers' names only does not tell.
TOLD = ("type", "nodes", "modules", "inputs", "outputs", "input_names", "output_names", "precision", "moves")


def test_nothing_is_proved_by_names_alone(load):
    tables = load("vit_b_16-cpp"), load("vit_b_16-cpp")
    for table in tables:
        for name in TOLD:
            table[name] = None
    comparison = compare(timed(tables[0], {}, 0), timed(tables[1], {5: 10.0}, 1))
    assert not comparison["proved"].any()
    assert comparison.attrs["unlike"] == 149


def test_a_module_that_is_called_twice_joins_nothing(tmp_path):
    here = [made("a/conv", "relu/relu_1"), made("b/conv", "relu/relu_2", shape=(1, 9))]
    there = [made("relu/relu_7", kind="relu"), made("b/conv", shape=(1, 9))]
    comparison = compare(engine(tmp_path, here, "a"), engine(tmp_path, there, "b"))
    assert changes(comparison) == [("only here", [0], []), ("unchanged", [1], [1]), ("only there", [], [0])]


def test_layers_of_different_modules_are_never_the_same(tmp_path):
    here, there = engine(tmp_path, [made("a/conv")], "a"), engine(tmp_path, [made("b/conv")], "b")
    assert groups(here, there) == [([0], []), ([], [0])]
    unnamed = made("b/conv") | {"Name": "node_conv_7"}
    assert groups(here, engine(tmp_path, [unnamed], "c")) == [([0], [0])]


def test_profiles_without_types_are_matched_by_operations(load):
    here, there = load("resnet18-cpp"), load("resnet18-python")
    for name in (*TOLD, "tactic"):
        here[name] = None
    blind = here.assign(engine=0)
    blind.attrs = there.attrs
    comparison = compare(here, blind)
    assert changes(comparison) == [("unchanged", [row], [row]) for row in range(36)]


def test_empty_profiles(tmp_path):
    nothing = [tmp_path / name for name in ("a", "b")]
    for folder in nothing:
        (folder / "engines").mkdir(parents=True)
        put(folder / "engines" / profiles.PROFILE, {"engine_id": folder.name, "engines": 0})
    comparison = compare(*map(profiles.load, nothing))
    assert tuple(comparison) == comparing.COLUMNS
    assert comparison.empty
    assert sums(comparison).empty


def test_spread_between_runs_of_one_engine(load):
    here, there = load("squeezenet1_1-cpp"), load("squeezenet1_1-python")
    moved = [math.log(b / a) for a, b in zip(here["median_ms"], there["median_ms"], strict=True) if a]
    expected = math.sqrt(sum(x * x for x in moved) / len(moved) / 2)
    comparison = compare(here, there)
    assert comparison.attrs["controls"] == len(moved) == 34
    assert comparison.attrs["run_spread"] == pytest.approx(expected)
    assert expected == pytest.approx(comparing.RUN_SPREAD, rel=0.1)
