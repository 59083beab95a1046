"""Folders that are wrong in every way: no verb ends in a traceback or hangs, no bad record is lost without a word."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_records import CHANGES, NIGHTS, RAW, TEMPLATES, changed, dump, points, put
from permissions import bound_by_permissions
from recorded_layers import point

import trt_sweep
from trt_sweep.app.main import main
from trt_sweep.results import schema, store
from trt_sweep.results.record import Record, columns

HANG_S = 30


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
