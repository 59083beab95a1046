"""Find the files below folders that may be records, and read files that anyone may have put there."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trt_sweep.errors import printable
from trt_sweep.results import archive
from trt_sweep.results.archive import ARCHIVE, POINTS
from trt_sweep.results.record import RECORD

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**28  # bytes of a file that is read whole; a record has some thousand


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, be it on the disk or in an archive of points.

    Raise OSError, or ValueError for what is no file, such as a FIFO, or is too large.
    """
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        packed = archive.member(path)
        if packed is None:
            raise
        return packed
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("not a file")
    if about.st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MiB")
    return path.read_bytes()


def exists(path: Path) -> bool:
    """Return whether a file or folder is there, or a file is in an archive of points that can be read."""
    try:
        return path.exists() or archive.member(path) is not None
    except (OSError, ValueError):
        return False


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; raise OSError or ValueError where there is none that can be read."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def why(error: Exception) -> str:
    """Return the reason for which a file is left out."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {text}"


def left_out_of(table: pd.DataFrame) -> list[str]:
    """Return the lines on what a table of `trt_sweep.results.table.load` leaves out: copies, unreadable files."""
    copies = table.attrs.get("copies", [])
    more = f" and {len(copies) - 1} more" * (len(copies) > 1)
    said = [printable(f"copied or packed points count once: {copies[0]}{more} left out")] if copies else []
    return said + left_out(table.attrs.get("unreadable", {}))


def left_out(unreadable: Mapping[str, str]) -> list[str]:
    """Return the lines of `named`, and one that counts them."""
    return named(unreadable) + [f"left out, since they cannot be read: {len(unreadable)}"] * bool(unreadable)


def named(unreadable: Mapping[str, str]) -> list[str]:
    """Return a line that names each file or folder that could not be read, with the reason."""
    return [printable(f"unreadable: {path} ({reason})") for path, reason in unreadable.items()]


def records_below(folders: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """Return the files that may be records, sorted by their path, and by path why others cannot be looked into.

    Records lie in `points/POINT_ID` of a sweep's folder, or in the archive that stands for it. Links among these are
    followed, those to folders of sweeps are not. A record is found once, however many links lead to it.
    """
    candidates: list[tuple[bool, Path]] = []
    unreadable: dict[str, str] = {}
    for folder in folders:
        candidates += _candidates(str(folder), unreadable)
    found: dict[str, Path] = {}
    for _, path in sorted(candidates, key=lambda each: each[0]):
        real = os.path.realpath(path)
        is_file = os.path.isfile(real)  # noqa: PTH113 - Path's raises where it may not look
        is_link = os.path.islink(path)  # noqa: PTH114 - likewise
        found.setdefault(real if is_file or not is_link else str(path), path)
    named = {path: _name(path) for path in found.values()}
    unreadable |= dict.fromkeys((name for path, name in named.items() if name != str(path)), "its path is not UTF-8")
    return sorted((path for path, name in named.items() if name == str(path)), key=str), unreadable


def _candidates(root: str, unreadable: dict[str, str]) -> Iterator[tuple[bool, Path]]:
    """Yield what may be a record below a folder, with whether a link leads to it."""
    waiting = [root]
    while waiting:
        for entry in _entries(waiting.pop(), unreadable):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            if entry.name == ARCHIVE:
                yield from ((False, path) for path in _packed(entry, unreadable))
            if entry.name == POINTS and _is_folder(entry, unreadable):
                for point in _entries(entry.path, unreadable):
                    path = Path(point.path, RECORD)
                    if _is_folder(point, unreadable) and _is_there(path, unreadable):
                        yield entry.is_symlink() or point.is_symlink() or path.is_symlink(), path


def _packed(entry: os.DirEntry[str], unreadable: dict[str, str]) -> list[Path]:
    """Return the records in an archive that are not on the disk as well; a link to one is not followed."""
    if not entry.is_file(follow_symlinks=False):
        unreadable[_name(entry.path)] = "a link, or no file"
        return []
    try:
        found = [point / RECORD for point in archive.points(Path(entry.path))]
    except (OSError, ValueError) as error:
        unreadable[_name(entry.path)] = why(error)
        return []
    return [record for record in found if not record.exists()]


def _entries(folder: str, unreadable: dict[str, str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        unreadable[_name(folder)] = why(error)
        return []


def _is_folder(entry: os.DirEntry[str], unreadable: dict[str, str]) -> bool:
    """Return whether this is a folder, or a link to one; a link that leads nowhere is no way to a record."""
    try:
        return stat.S_ISDIR(entry.stat().st_mode)
    except OSError as error:
        unreadable[_name(entry.path)] = why(error)
        return False


def _is_there(path: Path, unreadable: dict[str, str]) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:  # a point that is still to be done
        return False
    except OSError as error:
        unreadable[_name(path)] = why(error)
        return False
    return True


def _name(path: str | Path) -> str:
    """Return a path as text, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
