"""Keep built engines as files, named by everything that an engine depends on, so that none is built twice."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from trt_sweep.errors import one_line

log = logging.getLogger(__name__)

ENGINE, DETAILS = "engine", "details.json"
# Beside the points of a sweep that builds ahead without a cache_dir; and in it, how long the builders were stopped.
PRIVATE, PAUSED = ".engines", "paused"
# Environment variables that reach into a build.
VARIABLES = ("NVIDIA_TF32", "TRT_", "TORCHTRT_", "TORCH_TRT", "TORCH_TENSORRT")
Make = Callable[[], tuple[bytes, dict[str, Any]]]


@dataclass(frozen=True)
class Built:
    """Hold a serialized engine, what else its builder said of it, and how many seconds it took to build.

    `stored` says that it was read from a file and not built.
    """

    engine: bytes
    details: dict[str, Any]
    build_s: float
    stored: bool = False


class Tally:
    """Count the engines of one compilation: how many came from a store, and how long all would have taken to build."""

    def __init__(self) -> None:
        self.stored = 0
        self._built_s = self._waited_s = 0.0

    def add(self, built: Built, took_s: float) -> None:
        """Count an engine that was there after so many seconds."""
        self.stored += built.stored
        self._built_s += built.build_s
        self._waited_s += took_s

    def build_s(self, took_s: float) -> float:
        """Return what a compilation of so many seconds would have taken had it built each engine itself."""
        return took_s - self._waited_s + self._built_s


@dataclass(frozen=True)
class Store:
    """Keep engines in a folder, or in none. `read` says whether they are also taken from there.

    The folder must be trusted: TensorRT runs what an engine holds, and whoever can write a file can make it agree with
    its digest. What is checked guards against damage, and against an engine that was built from something else.
    `paused` is a file that says for how many seconds in all this process was stopped; a build does not count these.
    `taken` names the files that were read.
    """

    folder: Path | None = None
    read: bool = True
    paused: Path | None = None
    taken: list[Path] = field(default_factory=list)

    def build(self, depends_on: Callable[[], dict[str, Any]], make: Make) -> Built:
        """Return the engine that depends on this alone, from the folder or as `make` builds it.

        `depends_on` returns plain data that JSON takes. A file that is not what was asked for, whole, is replaced, and
        the log says why; one that cannot be written is left out. Where two processes of a machine want one engine, one
        of them builds it.
        """
        if self.folder is None:
            return self._make(make)
        try:
            described = depends_on()
            key = digest(described)
        except Exception:
            log.warning("what an engine depends on cannot be told, so it is not stored", exc_info=True)
            return self._make(make)
        with self._alone(key):
            found = self._get(key, described) if self.read else None
            if found is None:
                found = self._make(make)
                self._put(key, found, described)
        return found

    def _make(self, make: Make) -> Built:
        start, before = time.perf_counter(), self._paused_s()
        engine, details = make()
        return Built(engine, details, time.perf_counter() - start - (self._paused_s() - before))

    def _paused_s(self) -> float:
        if self.paused is None:
            return 0.0
        try:
            return float(struct.unpack("d", self.paused.read_bytes())[0])
        except (OSError, struct.error):
            return 0.0

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        path = self._path(key).with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            lock.acquire()
        except OSError:  # a folder that cannot be written may still be read
            yield
            return
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # should another be waiting for it, two build, and one replaces the other
            lock.release()

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.zip"

    def _get(self, key: str, described: dict[str, Any]) -> Built | None:
        path = self._path(key)
        try:
            path.lstat()
            found = _read(path, described)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a file may hold, it ends no sweep
            log.warning("%s is not used (%s): the engine is built again", path, one_line(error))
            return None
        self.taken.append(path)
        return found

    def _put(self, key: str, built: Built, described: dict[str, Any]) -> None:
        try:
            kept = _described(built, described)
            if json.loads(kept)["details"] != built.details:
                raise TypeError("what the builder said of it is no plain data")
        except (TypeError, ValueError) as error:
            log.warning("an engine is not stored: %s", error)
            return
        path = self._path(key)
        temporary = path.with_suffix(f".{os.getpid()}")
        try:
            with zipfile.ZipFile(temporary, "w") as file:
                file.writestr(DETAILS, kept)
                file.writestr(ENGINE, built.engine)
            temporary.replace(path)
        except OSError as error:
            log.warning("%s cannot be written (%s): the engine is not stored", path, error)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _described(built: Built, depends_on: dict[str, Any]) -> str:
    """Return what stands beside an engine: what it was built from, its size, and a digest of all."""
    kept = {"build_s": built.build_s, "details": built.details, "depends_on": depends_on, "bytes": len(built.engine)}
    return json.dumps(kept | {"sha256": _sha256(_plain(kept), built.engine)}, indent=1)


def _plain(data: dict[str, Any]) -> Any:
    """Return data as JSON gives it back."""
    return json.loads(json.dumps(data))


def _sha256(kept: dict[str, Any], engine: bytes) -> str:
    found = hashlib.sha256(digest(kept).encode())
    found.update(engine)
    return found.hexdigest()


def _read(path: Path, depends_on: dict[str, Any]) -> Built:
    """Return the engine of a file; raise ValueError, or what zip and JSON raise, where it is not the one asked for."""
    if not path.is_file():
        raise ValueError("it is no file")
    with zipfile.ZipFile(path) as file:
        found = {item.filename: item for item in file.infolist()}
        for item in found.values():  # as they are written, so that nothing grows as it is read
            if item.compress_type != zipfile.ZIP_STORED or item.file_size > path.stat().st_size:
                raise ValueError(f"{item.filename} is larger than the file says")
        kept = json.loads(file.read(DETAILS))
        said = kept.pop("sha256", None) if isinstance(kept, dict) else None
        if said is None:
            raise ValueError("it has no digest")
        if found[ENGINE].file_size != kept.get("bytes"):
            raise ValueError(f"the engine has {found[ENGINE].file_size} bytes instead of {kept.get('bytes')}")
        engine = file.read(ENGINE)
    if _sha256(kept, engine) != said:
        raise ValueError("its digest is another")
    if kept["depends_on"] != _plain(depends_on):
        raise ValueError("it was built from something else")
    return Built(engine, kept["details"], float(kept["build_s"]), stored=True)


def write_paused(path: Path, seconds: float) -> None:
    """Write what a `Store` reads as `paused`."""
    with contextlib.suppress(OSError):
        path.write_bytes(struct.pack("d", seconds))


def digest(described: Any) -> str:
    """Return 64 hexadecimal digits that name plain data."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def surroundings(environment: Any) -> dict[str, Any]:
    """Return what an engine depends on in the machine: the GPU's name, the versions, environment variables."""
    names = ("gpu_name", "compute_capability", "driver", "cuda", "torch", "torch_tensorrt", "tensorrt")
    found = {name: getattr(environment, name) for name in (*names, "tensorrt_flavor")}
    return found | {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}


def settings_of(settings: Any, without: frozenset[str]) -> dict[str, str]:
    """Return the fields of a dataclass as text, sets in one order, without those that do not change an engine."""
    found = {}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.name not in without:
            found[item.name] = str(sorted(map(str, value))) if isinstance(value, set | frozenset) else repr(value)
    return found
