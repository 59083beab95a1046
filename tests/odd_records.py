"""Strategies that draw sweeps' folders which are wrong in every way, and what writes them."""

from __future__ import annotations

import copy
import json
import math
import os
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from trt_sweep.results import files
from trt_sweep.results.columns import STATUSES
from trt_sweep.results.record import Record, columns

NIGHTS = Path(__file__).parents[1] / "outputs/reference/h200/nights"

# Any JSON, and numbers and texts that JSON has though nobody wants them.
NUMBERS = st.sampled_from([0, -1, 2**31, 2**63, -(2**70), 10**400, 1e-320, 1e308, -0.0, math.nan, math.inf, -math.inf])
TEXTS = st.sampled_from(
    [
        "",
        "ok",
        "eager",
        "\x1b[31mred",
        "[bold]b[/bold]",
        "[/]",
        "a\nb",
        "=1+1",
        "\x00",
        "\ud800",
        "é" * 300,
        "../..",
        ":x:",
    ]
) | st.text(string.printable, max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
CHANGES = st.lists(st.tuples(st.integers(0, 9999), st.just("drop") | JSON), min_size=1, max_size=3)
# What a column of each type can hold, and seldom does.
PLAUSIBLE = {
    "int": st.sampled_from([0, 1, 7, 2**31, 2**63 - 1, -1]),
    "float": st.sampled_from([0.0, 1e-300, 1e-11, 0.5, 1.0, 1e11, 1e300]) | st.floats(0, 1e6),
    "bool": st.booleans(),
    "str": TEXTS.filter(lambda text: "\ud800" not in text),
}
RAW = st.sampled_from(
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"point_id": "x"', b"[" * 100_000, b'{"a":' * 100_000),
        *(b"NaN", b"\xef\xbb\xbf{}", b"1" * 5000, b'{"schema_version": 1, "point_id": "\\ud800"}'),
    ]
) | st.binary(max_size=40)
BROKEN = ("fifo", "folder", "dangling", "circle", "secret", "not_utf8", "zero")  # what may stand where a record should
BESIDE = ("config.json", "compile_arguments.json", "outputs.json", "samples.npz", "log.txt", "time.json")


def templates() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return real records with their configurations, one of them with what newer ones have."""
    found = []
    for path in files.records_below([NIGHTS / "night00"])[0][:4]:
        found.append((files.read_json(path), files.read_json(path.with_name("config.json"))))
    record, config = found[0]
    visits = {"latency_ms_visits": [0.5 + 0.01 * n for n in range(24)], "visit_group": "g", "schema_version": 3}
    work = {"gpu_ms_captures": 9, "gpu_ms_between_captures": 0.01, "gpu_ms_method": "graph", "anchor_id": "p"}
    anchor = {"anchor_ms_visits": [0.4 + 0.01 * n for n in range(24)], "anchor_spread": 0.01}
    found.append((record | visits | work | anchor | {"status": "ok", "backend": "dynamo", "jobs": [1]}, config))
    return found


TEMPLATES = templates()


def changed(content: Any, changes: list[tuple[int, Any]]) -> Any:
    """Return JSON in which values anywhere in it are replaced or dropped."""
    content = copy.deepcopy(content)
    for number, value in changes:
        places = list(_places(content))
        if places:
            owner, key = places[number % len(places)]
            if value == "drop":
                del owner[key]
            else:
                owner[key] = value
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def odd(draw: Any, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record whose values are all of the right types, and some of them strange."""
    names = draw(st.lists(st.sampled_from(columns()), max_size=4, unique=True))
    found = dict(record)
    for name in set(names) - {"schema_version", "point_id"}:
        kind = Record.__dataclass_fields__[name].type.removesuffix(" | None")
        if name == "status":
            found[name] = draw(st.sampled_from(STATUSES))
        elif kind.startswith("list"):
            found[name] = draw(st.lists(PLAUSIBLE[kind[5:-1]], max_size=4))
        else:
            found[name] = draw(PLAUSIBLE[kind])
    return found


@st.composite
def points(draw: Any) -> dict[str, Any]:
    """Return what one point's folder is to hold."""
    record, config = draw(st.sampled_from(TEMPLATES))
    kind = draw(st.sampled_from(["good", "good", "odd", "changed", "changed", "raw", "broken", "link"]))
    content: Any = None
    if kind == "odd":
        content = odd(draw, record)
    elif kind == "changed":
        content = changed(record, draw(CHANGES))
        version = content.get("schema_version")
        if isinstance(version, int) and version > 3:  # refused as a whole, and tested elsewhere
            content["schema_version"] = [version]
    elif kind == "raw":
        content = draw(RAW)
    elif kind == "broken":
        content = draw(st.sampled_from(BROKEN))
    elif kind == "link":
        content = draw(st.sampled_from(["here", "parent", "nowhere", "itself", "record"]))
    beside = draw(
        st.dictionaries(st.sampled_from(BESIDE), RAW | CHANGES.map(lambda how: changed(config, how)), max_size=2)
    )
    return {"kind": kind, "record": record, "content": content, "config": config, "beside": beside}


def dump(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def put(sweep: Path, number: int, what: dict[str, Any]) -> tuple[Path, bool | None]:
    """Write a point into a sweep; return its record, and whether that is one: None where only the schema knows."""
    kind, content = what["kind"], what["content"]
    folder = sweep / "points" / f"{number:02}"
    path = folder / "record.json"
    if kind == "link" and content != "record":
        target = {"here": "00", "parent": "..", "nowhere": "none", "itself": folder.name}[content]
        folder.symlink_to(target)
        bad = content in ("nowhere", "itself") or (content == "here" and number == 0)
        return folder, False if bad else None  # what it leads to is known by its own name
    folder.mkdir()
    for name, junk in what["beside"].items():
        (folder / name).write_bytes(dump(junk))
    if kind == "link":
        path.symlink_to("../00/record.json")
    elif kind == "broken":
        _break(folder, path, content, what["record"])
    else:
        good = what["record"] | {"point_id": f"{number:02}"}
        content = content | {"point_id": good["point_id"]} if kind == "odd" else content
        path.write_bytes(dump(good if kind == "good" else content))
    return path, {"good": True, "odd": None, "changed": None, "link": None}.get(kind, False)


def _break(folder: Path, path: Path, how: str, record: dict[str, Any]) -> None:
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nothing")
    elif how == "circle":
        path.symlink_to("record.json")
    elif how == "zero":
        path.symlink_to("/dev/zero")
    elif how == "not_utf8":
        path.write_bytes(b'{"schema_version": 1, "point_id": "\xff"}')
    else:
        path.write_bytes(dump(record))
        folder.chmod(0o000)
