"""What was built once is read back, byte for byte, and only by what depends on the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from trt_sweep.backends import engine_store
from trt_sweep.backends.engine_store import Store, Tally


class Builder:
    def __init__(self, engine: bytes = b"engine", takes_s: float = 0.0, **details) -> None:
        self.engine, self.takes_s, self.details, self.builds = engine, takes_s, details, 0

    def __call__(self) -> tuple[bytes, dict]:
        self.builds += 1
        time.sleep(self.takes_s)
        return self.engine, self.details


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_engine_is_built_once(tmp_path):
    builder = Builder(names=["x", "y"], shapes={"y": [{"a": 1}]})
    first = Store(tmp_path).build(lambda: {"a": 1}, builder)
    store = Store(tmp_path)
    again = store.build(lambda: {"a": 1}, builder)
    assert builder.builds == 1 and not first.stored and again.stored
    assert (again.engine, again.details, again.build_s) == (first.engine, first.details, first.build_s)
    assert store.taken == files(tmp_path)  # and no lock is left
    other = Store(tmp_path).build(lambda: {"a": 2}, Builder(b"another"))
    assert other.engine == b"another" and not other.stored


def test_without_a_folder_each_is_built():
    builder = Builder()
    assert not any(Store().build(lambda: {}, builder).stored for _ in range(2)) and builder.builds == 2


def test_what_is_not_to_be_read_is_built_and_replaced(tmp_path):
    Store(tmp_path).build(lambda: {}, Builder(b"old"))
    assert Store(tmp_path, read=False).build(lambda: {}, Builder(b"new")).engine == b"new"
    assert Store(tmp_path).build(lambda: {}, Builder(b"none")).engine == b"new"


def rewrite(path: Path, change: Callable[[dict, bytes], tuple[dict, bytes]], **how: int) -> None:
    """Write what an entry holds anew, with something changed."""
    with zipfile.ZipFile(path) as file:
        kept, engine = change(json.loads(file.read(engine_store.DETAILS)), file.read(engine_store.ENGINE))
    with zipfile.ZipFile(path, "w", **how) as file:
        file.writestr(engine_store.DETAILS, json.dumps(kept))
        file.writestr(engine_store.ENGINE, engine)


def without(name: str) -> Callable[[dict, bytes], tuple[dict, bytes]]:
    return lambda kept, engine: ({key: value for key, value in kept.items() if key != name}, engine)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def replace_by_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("else", b"")


# What became of an entry, and what the log says of it.
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "BadZipFile"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "BadZipFile"),
    "flipped": (lambda path: path.write_bytes(path.read_bytes().replace(b"many", b"Many")), "Bad CRC-32"),
    "noise": (lambda path: path.write_bytes(os.urandom(4096)), "BadZipFile"),
    "zip": (replace_by_zip, "no item named 'details.json'"),
    "pipe": (replace_by_pipe, "it is no file"),
    "folder": (replace_by_folder, "it is no file"),
    "link": (replace_by_link, "it is no file"),
    "engine": (lambda path: rewrite(path, lambda kept, _: (kept, b"engine of more bytes")), "its digest is another"),
    "longer": (lambda path: rewrite(path, lambda kept, _: (kept, b"e" * 21)), "the engine has 21 bytes instead of 20"),
    "bomb": (
        lambda path: rewrite(path, lambda kept, _: (kept, bytes(10**7)), compression=zipfile.ZIP_DEFLATED),
        "is larger than the file says",
    ),
    "details": (lambda path: rewrite(path, lambda kept, e: (kept | {"details": {"x": 1}}, e)), "its digest is another"),
    "took": (lambda path: rewrite(path, lambda kept, e: (kept | {"build_s": "long"}, e)), "its digest is another"),
    "list": (lambda path: rewrite(path, lambda kept, engine: ([kept], engine)), "it has no digest"),
    "older": (lambda path: rewrite(path, without("sha256")), "it has no digest"),
    "sizeless": (lambda path: rewrite(path, without("bytes")), "the engine has 20 bytes instead of None"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_is_built_anew_and_the_log_says_why(tmp_path, how, caplog):
    builder = Builder(b"engine of many bytes")
    Store(tmp_path).build(lambda: {"a": 1}, builder)
    (path,) = files(tmp_path)
    spoil, why = SPOILT[how]
    spoil(path)
    found = Store(tmp_path).build(lambda: {"a": 1}, builder)
    assert found.engine == b"engine of many bytes" and not found.stored and builder.builds == 2
    assert f"{path} is not used (" in caplog.text and why in caplog.text, caplog.text
    assert Store(tmp_path).build(lambda: {"a": 1}, builder).stored or how == "folder"  # that stands in its place


def test_an_engine_under_the_name_of_another_is_not_taken(tmp_path, caplog):
    """Whole and with its digest, as where two that differ have one name."""
    Store(tmp_path).build(lambda: {"graph": "one"}, Builder(b"one"))
    (one,) = files(tmp_path)
    Store(tmp_path).build(lambda: {"graph": "two"}, Builder(b"two"))
    (two,) = set(files(tmp_path)) - {one}
    shutil.copy(one, two)
    found = Store(tmp_path).build(lambda: {"graph": "two"}, Builder(b"two"))
    assert found.engine == b"two" and not found.stored and "it was built from something else" in caplog.text
    assert Store(tmp_path).build(lambda: {"graph": "one"}, Builder(b"none")).stored


def test_what_json_writes_otherwise_is_found_again(tmp_path):
    builder = Builder()
    told = {"by number": {2: "a", 10: "b"}, "pair": (1, 0.1)}
    assert [Store(tmp_path).build(lambda: told, builder).stored for _ in range(2)] == [False, True]


def test_a_store_that_cannot_be_written_keeps_nothing_and_breaks_nothing(tmp_path):
    (tmp_path / "file").touch()
    assert Store(tmp_path / "file").build(lambda: {}, Builder()).engine == b"engine"


def test_what_cannot_be_told_is_not_kept(tmp_path):
    assert Store(tmp_path).build(lambda: {"a": object()}, Builder()).engine == b"engine"
    assert Store(tmp_path).build(lambda: {}, Builder(names=("x",))).details == {"names": ("x",)}  # no tuple in JSON
    assert not files(tmp_path)


def test_a_build_that_fails_is_not_kept(tmp_path):
    def fails() -> tuple[bytes, dict]:
        raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine"):
        Store(tmp_path).build(lambda: {}, fails)
    assert not files(tmp_path)


def test_of_two_that_want_an_engine_one_builds(tmp_path):
    builder, found = Builder(takes_s=0.5), []
    threads = [
        threading.Thread(target=lambda: found.append(Store(tmp_path).build(lambda: {}, builder))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builder.builds == 1 and sorted(each.stored for each in found) == [False, True]


def test_a_builder_that_is_killed_holds_nobody_up(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from trt_sweep.backends.engine_store import Store\n"
        "def make():\n    print('building', flush=True); time.sleep(60)\n"
        "Store(Path(sys.argv[1])).build(lambda: {}, make)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "building\n"
        other.kill()
    assert Store(tmp_path).build(lambda: {}, Builder()).engine == b"engine"


def test_time_in_which_a_process_was_stopped_is_no_part_of_a_build(tmp_path):
    paused = tmp_path / "paused"
    engine_store.write_paused(paused, 3.0)

    def make() -> tuple[bytes, dict]:
        time.sleep(0.3)
        engine_store.write_paused(paused, 3.2)
        return b"engine", {}

    start = time.perf_counter()
    assert 0.1 <= Store(paused=paused).build(lambda: {}, make).build_s <= time.perf_counter() - start - 0.2
    assert Store(paused=tmp_path / "none").build(lambda: {}, Builder(takes_s=0.1)).build_s >= 0.1


def test_what_a_compilation_would_have_taken():
    tally = Tally()
    tally.add(engine_store.Built(b"", {}, build_s=6.0, stored=True), took_s=0.5)
    tally.add(engine_store.Built(b"", {}, build_s=2.0), took_s=2.5)
    assert tally.stored == 1 and tally.build_s(took_s=4.0) == pytest.approx(9.0)  # 1 s besides


def test_settings_as_text_do_not_depend_on_the_order_of_a_set():
    @dataclass
    class BuildContext:
        operators: frozenset[str]
        path: str = "/tmp"
        level: int | None = 3

    found = {
        json.dumps(engine_store.settings_of(BuildContext(frozenset(names)), frozenset({"path"})))
        for names in (["a", "b", "c"], ["c", "b", "a"])
    }
    assert found == {json.dumps({"operators": "['a', 'b', 'c']", "level": "3"})}


def test_variables_that_reach_into_a_build_count(monkeypatch):
    class Environment:
        def __getattr__(self, name: str) -> str:
            return name

    before = engine_store.surroundings(Environment())
    monkeypatch.setitem(os.environ, "NVIDIA_TF32_OVERRIDE", "0")
    assert engine_store.surroundings(Environment()) == before | {"NVIDIA_TF32_OVERRIDE": "0"}
    assert {"gpu_name", "driver", "torch", "tensorrt", "tensorrt_flavor", "compute_capability"} <= set(before)
