"""The file of a record: what comes back, what is refused, and that a reader never sees half of one."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from trt_sweep.errors import SweepError
from trt_sweep.results import store
from trt_sweep.results.columns import SCHEMA_VERSION
from trt_sweep.results.record import Record, columns, integer_columns


def full() -> Record:
    """A record with a value of its own in every column."""
    values = {"int": 7, "int | None": 3, "float | None": 0.1, "bool": True, "bool | None": False}
    lists = {"list[int]": [1, 2], "list[int] | None": [4], "list[str]": ["optimization_level"]}
    lists |= {"list[float] | None": [0.5], "list[str] | None": ["why"]}
    types = {field.name: field.type for field in dataclasses.fields(Record)}
    row = {name: (values | lists).get(kind, f"{name} ü") for name, kind in types.items()}
    return Record(**row | {"schema_version": SCHEMA_VERSION, "status": "crashed"})


def least(**values: object) -> Record:
    """A record with what every one has."""
    texts = dict.fromkeys(("point_id", "sweep_id", "created_utc", "model", "model_id", "backend", "precision"), "ab")
    return Record(**texts | {"jobs": [], "status": "ok", "batch_size": 1, "dryrun": False, "ignored_axes": []} | values)


@pytest.mark.parametrize("record", [full(), least()], ids=["full", "least"])
def test_round_trip(tmp_path: Path, record: Record):
    path = store.write(tmp_path / "points" / "ab", record)
    assert path == tmp_path / "points" / "ab" / "record.json"
    assert store.read(path) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_becomes_null(tmp_path: Path, value: float):
    path = store.write(tmp_path, Record(point_id="ab", latency_ms=value, build_s=1.5))
    row = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert (row["latency_ms"], row["build_s"]) == (None, 1.5)


def test_columns():
    assert len(columns()) == len(set(columns()))
    assert columns()[0] == "schema_version"
    assert {"batch_size", "engines", "samples"} <= set(integer_columns())
    assert not {"latency_ms", "jobs", "accurate", "dryrun"} & set(integer_columns())
    assert all(field.metadata["description"] for field in dataclasses.fields(Record))


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_newer_schema_is_refused(tmp_path: Path, version: int):
    path = store.write(tmp_path, Record(point_id="ab", schema_version=version))
    with pytest.raises(SweepError, match=f"schema_version={version} is newer than the {SCHEMA_VERSION}.*update"):
        store.read(path)


def test_unknown_columns_are_left_out(tmp_path: Path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(vars(least()) | {"mood": "good"}))
    assert store.read(path) == least()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'"point_id schema_version"',
        b'{"point_id": "ab"}',
        b'{"schema_version": 1}',
        b"\xff\xfe",
    ],
)
def test_not_a_record(tmp_path: Path, content: bytes):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        store.read(path)


def test_truncated_record(tmp_path: Path):
    path = store.write(tmp_path, full())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError):
        store.read(path)


def test_writing_over_a_record(tmp_path: Path):
    store.write(tmp_path, full())
    path = store.write(tmp_path, least(point_id="new"))
    assert store.read(path) == least(point_id="new")
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_no_temporary_file_where_the_rename_fails(tmp_path: Path):
    (tmp_path / "some.json").mkdir()
    with pytest.raises(OSError):
        store.write_json(tmp_path / "some.json", {"a": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["some.json"]


@pytest.mark.parametrize("content", [{"a": object()}, {"a": math.nan}])
def test_failed_write_keeps_the_old_file(tmp_path: Path, content: object):
    path = tmp_path / "some.json"
    store.write_json(path, {"a": 1})
    with pytest.raises((TypeError, ValueError)):
        store.write_json(path, content)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["some.json"]
