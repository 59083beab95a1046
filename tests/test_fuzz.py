"""Folders that are wrong in every way: no verb ends in a traceback or hangs, no bad record is lost without a word."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import os
import signal
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from permissions import bound_by_permissions
from recorded_layers import point

import trt_sweep
from trt_sweep.app.main import main
from trt_sweep.results import files, schema, store
from trt_sweep.results.columns import STATUSES
from trt_sweep.results.record import Record, columns

NIGHTS = Path(__file__).parents[1] / "outputs/reference/h200/nights"
HANG_S = 120

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


class Hang(BaseException):
    """Nothing came back for so long."""


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Be, while it lasts, a user whom file permissions bind, who does not wait for ever."""

    def late(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(HANG_S)
    try:
        with bound_by_permissions():
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(*arguments: object) -> tuple[int, str]:
    """Run a verb; return its exit code and all that it printed."""
    out, err = io.StringIO(), io.StringIO()
    with watched(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, arguments)))
    said = out.getvalue() + err.getvalue()
    assert code in (0, 1, 2) and "Traceback" not in said, (code, said)
    assert "\x1b" not in said and "\x00" not in said, said
    return code, said


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder that is gone afterwards, whatever it holds."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)
        for path, folders, _ in os.walk(name):
            for folder in folders:
                if not Path(path, folder).is_symlink():
                    Path(path, folder).chmod(0o755)


def check_folder(found: list[list[dict[str, Any]]], verb: str) -> None:
    """Write two nights, and ask a verb, or `load`, for them: what is a record is a row, all else is named."""
    with place() as folder:
        nights = [folder / f"night{number}" for number in range(len(found))]
        good, bad = set(), set()
        for night, listed in zip(nights, found, strict=True):
            (night / "points").mkdir(parents=True)
            for path, known in [put(night, number, what) for number, what in enumerate(listed)]:
                if known if known is not None else is_record(path):
                    good.add(str(path))
                elif known is False or not path.is_symlink():
                    bad.add(str(path))
        if verb == "load":
            with watched():
                rows = trt_sweep.load(folder)
            shown = [str(folder / name / "record.json") for name in (*rows["folder"], *rows.attrs["copies"])]
            named = rows.attrs["unreadable"].keys()
            assert good <= set(shown) and bad <= named and not set(shown) & named
            assert len({os.path.realpath(path) for path in shown}) == len(shown)
            return
        code, said = run(verb, *(nights if verb == "compare" else [folder]), f"--out={folder / 'out'}")
        if said.startswith("error: "):  # no row at all, on one side at least
            assert code and not (verb in ("table", "report") and good), said
        elif verb == "report":
            said = (folder / "out" / "report.html").read_text()
        if not said.startswith("error: "):
            assert all(f"unreadable: {path} (" in said for path in bad), (bad, said)


def is_record(path: Path) -> bool:
    """Return whether this file, which no link stands for, is a record."""
    if path.name != "record.json" or path.is_symlink():
        return False
    try:
        schema.require_row(store.read(path))
    except ValueError:
        return False
    return True


def check_layers(sample: str, file: str, junk: Any) -> None:
    """Put something wrong into a profile, and ask for its layers."""
    with place() as folder:
        made = point(folder / "p", sample)
        path = made / file
        content = json.loads(path.read_text()) if path.exists() else {"engines": [], "fallback": [], "parts": []}
        if junk == "fifo":
            path.unlink(missing_ok=True)
            os.mkfifo(path)
        else:
            path.write_bytes(dump(changed(content, junk) if isinstance(junk, list) else junk))
        run("layers", made)


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have all that verbs import imported, while that is allowed: see `watched`."""
    out = tmp_path_factory.mktemp("out")
    for verb in ("table", "report", "history", "compare"):
        folders = [NIGHTS / "night00", NIGHTS / "night01"] if verb in ("history", "compare") else [NIGHTS / "night00"]
        assert main([verb, *map(str, folders), f"--out={out}"]) == 0
    assert main(["layers", str(point(tmp_path_factory.mktemp("p"), "resnet18-cpp"))]) == 0


SWEEPS = st.lists(st.lists(points(), min_size=1, max_size=4), min_size=2, max_size=2)
VERBS = st.sampled_from(["load", "table", "report", "compare", "history"])
FILES = ("record.json", "time.json", "engines/profile.json")
FILES += tuple(f"engines/0/{name}" for name in ("trt_layer_latency.json", "trt_engine_info.json", "onnx_modules.json"))
PROFILES = (st.sampled_from(["resnet18-cpp", "resnet18-onnx"]), st.sampled_from(FILES), RAW | CHANGES | st.just("fifo"))


def fuzzed(examples: int, *strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for so many examples: the same each time where they are few, else others."""
    slow = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
    few = examples < 1000
    how = settings(max_examples=examples, deadline=None, suppress_health_check=slow, derandomize=few, database=None)
    return lambda test: given(*strategies)(how(test))


@pytest.mark.parametrize("odd_text", ["é" * 300, "../..", "\x00", "[/]", "\x1b[31mred"])
def test_each_text_column_may_hold_anything(tmp_path: Path, odd_text: str) -> None:
    record, config = TEMPLATES[-1]
    texts = [name for name in columns() if Record.__dataclass_fields__[name].type.startswith("str")]
    for number, name in enumerate(texts):
        folder = tmp_path / f"points/{number:03}"
        folder.mkdir(parents=True)
        odd_one = record | ({} if name == "status" else {name: odd_text}) | {"point_id": f"{number:03}"}
        (folder / "record.json").write_bytes(dump(odd_one))
        (folder / "config.json").write_bytes(dump(config))
    for verb in ("table", "report"):
        code, said = run(verb, tmp_path, f"--out={tmp_path / 'out'}")
        assert code == 0 and "unreadable" not in said, said


@fuzzed(80, SWEEPS, VERBS)
def test_folders_of_records(found: list[list[dict[str, Any]]], verb: str) -> None:
    check_folder(found, verb)


@fuzzed(120, *PROFILES)
def test_profiles(sample: str, file: str, junk: Any) -> None:
    check_layers(sample, file, junk)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@fuzzed(3000, SWEEPS, VERBS)
def test_many_folders_of_records(found: list[list[dict[str, Any]]], verb: str) -> None:
    check_folder(found, verb)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@fuzzed(2000, *PROFILES)
def test_many_profiles(sample: str, file: str, junk: Any) -> None:
    check_layers(sample, file, junk)
