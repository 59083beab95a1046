"""Keep the points of a sweep in one file instead of a folder each, and read them back as if the folders were there.

`records.parquet` in a sweep's folder stands for its `points/`: a row a point, with the columns of its record, its
folder's name (`point`) and its further JSON files (`files`, name and text of each). `samples.npz` beside it holds the
samples of all points by `POINT/NAME`, as 32-bit floats.
"""

from __future__ import annotations

import functools
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trt_sweep.results.record import RECORD, SAMPLES

ARCHIVE = "records.parquet"
POINTS = "points"  # in the folder of a sweep
LARGEST = 2**28  # bytes of an archive once it is decompressed; one of 78 points has 0.3 million
LONGEST = 255  # bytes of a folder's name


def write(sweep: Path, out: Path) -> list[Path]:
    """Write the points of a sweep's folder as two files into `out`, and return these; logs and traces are left out.

    Raises OSError, and ValueError for a file that is no JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    samples: dict[str, Any] = {}
    for point in sorted(path.parent for path in (sweep / POINTS).glob(f"*/{RECORD}")):
        record = {name: value for name, value in _json(point / RECORD).items() if value is not None}
        others = [path for path in sorted(point.rglob("*.json")) if path != point / RECORD]
        texts = [{"name": path.relative_to(point).as_posix(), "text": json.dumps(_json(path))} for path in others]
        rows.append({"point": point.name, "files": texts} | record)
        if (point / SAMPLES).is_file():
            with np.load(point / SAMPLES, allow_pickle=False) as arrays:
                samples |= {f"{point.name}/{name}": _small(array) for name, array in arrays.items()}
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    out.mkdir(parents=True, exist_ok=True)
    how = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    pq.write_table(table, out / ARCHIVE, write_statistics=False, store_schema=False, **how)
    with zipfile.ZipFile(out / SAMPLES, "w", zipfile.ZIP_LZMA) as file:  # np.load reads it, np.savez cannot write it
        for name, array in samples.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    return [out / ARCHIVE, out / SAMPLES]


def points(archive: Path) -> list[Path]:
    """Return the folders of points that an archive stands for; they are not on the disk.

    Raises OSError, and ValueError where the file is no archive.
    """
    return [archive.parent / POINTS / name for name in _content(archive)]


def member(path: Path) -> bytes | None:
    """Return a file of a point that is in an archive, or None; raises as `points` does."""
    parts = path.parts
    for place in range(len(parts) - 2, 0, -1):
        archive = Path(*parts[:place], ARCHIVE)
        if parts[place] == POINTS and archive.is_file():
            return _content(archive).get(parts[place + 1], {}).get("/".join(parts[place + 2 :]))
    return None


def _content(archive: Path) -> dict[str, dict[str, bytes]]:
    about = archive.stat()
    return _read(archive, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=64)
def _read(archive: Path, _mtime: int, _size: int) -> dict[str, dict[str, bytes]]:
    """Return the files of each point by its folder's name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(archive) as file:
            about = file.metadata
            if sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups)) > LARGEST:
                raise ValueError(f"larger than {LARGEST >> 20} MiB once it is decompressed")
            rows = file.read().to_pylist()
        found: dict[str, dict[str, bytes]] = {}
        for row in rows:
            name, others = str(row.pop("point")), row.pop("files")
            if name in ("", ".", "..") or {"/", "\0"} & {*name} or len(name.encode()) > LONGEST:
                raise ValueError(f"a point is named {name[:LONGEST]!r}")
            if name in found:
                raise ValueError(f"point {name} is there twice")
            own = {str(other["name"]): str(other["text"]).encode() for other in others or []}
            found[name] = own | {RECORD: json.dumps(row).encode()}
    except (pa.ArrowException, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no archive of points: {error}") from None
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array
