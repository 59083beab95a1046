"""The table of axes: all of them are in it, each fact in it is used, and what is derived from it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest
from test_table import put

from trt_sweep import backends
from trt_sweep.backends.torchtrt import arguments, installed
from trt_sweep.config import options
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.results import axes, factories, record, table
from trt_sweep.results.axes import AXES, OPTIONAL_AXES, TABLE, Axes, Axis

PACKAGE = Path(axes.__file__).parents[1]
FIELDS = {item.name: item for item in dataclasses.fields(SweepConfig)}
GROUPS = {name for name, item in FIELDS.items() if item.default_factory is not dataclasses.MISSING} - {
    *options.OPTION_NAMES,
    "compile",
}
# `dryrun` says how far a point goes, not which point it is: its rows have a status of their own.
SWEPT = FIELDS.keys() - {*GROUPS, *options.OPTION_NAMES, "dryrun"}
DECIDED_BY = {name: row.config or (name,) for name, row in TABLE.items()}


@pytest.mark.parametrize("name", sorted(SWEPT))
def test_every_swept_setting_is_in_the_table(name):
    assert name in {field for fields in DECIDED_BY.values() for field in fields}


@pytest.mark.parametrize("name", AXES)
def test_every_axis_is_a_column_that_a_setting_decides(name):
    assert name in record.columns(Axes) and name in record.columns()
    assert FIELDS.keys() >= set(DECIDED_BY[name])
    # A field of the same name is copied into the column; others are made in trt_sweep.points.plan.
    assert name in FIELDS or TABLE[name].config


@pytest.mark.parametrize("name", AXES)
def test_every_axis_is_used_by_a_backend_or_by_all(name):
    using = [backend for backend in backends.names() if set(DECIDED_BY[name]) & backends.get(backend).AXES]
    assert bool(using) is TABLE[name].optional


def test_backends_use_no_axis_that_is_not_optional():
    assert frozenset().union(*(backends.get(name).AXES for name in backends.names())) == OPTIONAL_AXES


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(Axis)])
def test_every_attribute_is_asked_for(name):
    assert any(getattr(row, name) not in (None, False, ()) for row in TABLE.values())
    asking = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    asking = [text for text in asking if "results.axes" in text or "class Axis:" in text]
    assert any(re.search(rf"(row|\bother|TABLE\[\S+\])\.{name}\b", text) for text in asking)


@pytest.mark.parametrize("name", AXES)
def test_what_a_row_names_is_there(name):
    row, columns = TABLE[name], set(record.columns())
    assert {row.goes_with, row.after, *row.says} - {None} <= set(AXES) - {name}
    assert {*row.moves, *axes.moving_with(name), row.default_column} - {None} <= columns - {name}
    assert row.moves_on is None or row.moves_on[0] in backends.names()


def test_backend_is_set_against_the_baseline():
    assert TABLE["backend"].base == record.BASELINE


@pytest.mark.parametrize("name", sorted(arguments.AXES))
def test_an_argument_that_is_an_axis_is_no_further_argument(name, tmp_path, monkeypatch):
    monkeypatch.setattr(installed.InstalledTorchTensorRT, "parameters", lambda self, frontend: {})
    api = installed.InstalledTorchTensorRT(tmp_path, rtx=False)
    with pytest.raises(SweepError, match=rf"compile\.{name} is set by trt_sweep: use {name} instead"):
        arguments._further(api, "dynamo", name, 1)


def test_order_and_groups():
    assert AXES[:4] == ("model", "backend", "mode", "precision") and AXES[-1] == "device"
    assert AXES.index("input_shapes") == AXES.index("time_at") + 1
    assert set(AXES) >= {*axes.LABEL_AXES, *axes.RUNNING, *axes.SETTINGS, *axes.SIZES, *axes.RUNTIME_AXES}
    assert not set(axes.SETTINGS) & set(axes.COMPARABLE)


def test_lists_that_follow_from_the_table():
    assert axes.LABEL_AXES == ("model", "backend", "precision")
    assert set(axes.SIZES) == {"batch_size", "time_at", "input_shapes"}
    assert set(axes.COMPARABLE) - set(AXES) == {"sweep_id", "task_id", "gpu_uuid"}
    assert set(axes.COMPARABLE) & set(AXES) == {
        *("batch_size", "input_shapes", "device", "cold_cache", "streams", "transfers")
    }
    assert axes.PER_ITEM == ("batch_size", "streams")
    assert axes.going_with("quantization_method") == ("precision", "quantization_skip", "calibration")
    assert axes.going_with("backend") == AXES and axes.going_with("runtime") == ()
    assert axes.moving_with("cuda_graphs") == ("mode",) and axes.moving_with("precision") == ("base_precision",)
    assert axes.null_is_false("cuda_graphs") and axes.null_is_false("cold_cache") and not axes.null_is_false("runtime")


def test_a_size_is_said_once():
    assert axes.unsaid_twice(["batch_size", "time_at", "input_shapes"]) == ["time_at"]
    assert axes.unsaid_twice(["batch_size", "time_at", "input_shapes"], {"batch_size"}) == ["batch_size", "time_at"]
    assert axes.unsaid_twice(["runtime", "input_shapes"]) == ["runtime", "input_shapes"]


def rows(*changes: dict) -> pd.DataFrame:
    """Return rows of one model and backend with these values of axes."""
    common = dict.fromkeys(AXES) | {"model": "m", "backend": "dynamo", "precision": "fp32", "batch_size": 1}
    return pd.DataFrame([common | {"jobs": [0]} | change for change in changes])


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ([{}, {}], []),
        ([{"min_block_size": 1}, {"min_block_size": 5}], ["min_block_size"]),
        ([{"min_block_size": 1, "jobs": []}, {"min_block_size": 5}], []),
        ([{"backend": "eager"}, {"min_block_size": 5}], []),
        ([{"cuda_graphs": True}] * 2, ["cuda_graphs"]),
        ([{"cuda_graphs": False}] * 2, []),
        ([{"dynamic_range": "1:4:8", "time_at": 4}] * 2, ["dynamic_range", "time_at"]),
        ([{"batch_size": 1, "input_shapes": "1x3"}, {"batch_size": 2, "input_shapes": "2x3"}], ["batch_size"]),
        ([{"input_shapes": "1x3"}, {"input_shapes": "1x4"}], ["input_shapes"]),
    ],
)
def test_which_axes_are_worth_a_column(changes, shown):
    assert axes.varied(rows(*changes)) == ["backend", "precision", *shown]


def test_a_factory_says_what_differs_between_points_of_its_model(tmp_path):
    made = ["config.attn=eager depth=2 note=a b", "config.attn=sdpa depth=2 note=a b", None]
    for number, factory in enumerate(made):
        put(tmp_path, f"m{number}", 5.0, factory=factory)
    put(tmp_path, "n", 5.0, factory="depth=3", model="n")
    put(tmp_path, "bare", 5.0, factory="", model="n", created_utc="2026-01-02T00:00:00+00:00")
    found = table.load(tmp_path)
    said = {row["folder"]: None if pd.isna(row["factory"]) else row["factory"] for row in found.to_dict("records")}
    shown = {"m0": "config.attn=eager", "m1": "config.attn=sdpa", "m2": None, "n": "depth=3", "bare": None}
    assert said == {f"points/{name}": value for name, value in shown.items()}
    assert axes.varied(found) == ["model", "backend", "precision", "factory"]
    assert factories.telling_factories(found[found["folder"] == "points/n"]) == [None]


def test_several_models_are_told_apart():
    assert axes.varied(rows({"model": "a"}, {"model": "b"})) == ["model", "backend", "precision"]


def test_varied_axes_of_records(tmp_path):
    put(tmp_path, "eager", 10.0, backend="eager", jobs=[], min_block_size=None)
    put(tmp_path, "a", 5.0, min_block_size=1)
    assert axes.varied(table.load(tmp_path)) == ["backend", "precision"]  # baselines do not count
    put(tmp_path, "b", 5.0, min_block_size=5)
    assert axes.varied(table.load(tmp_path)) == ["backend", "precision", "min_block_size"]
