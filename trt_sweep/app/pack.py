"""`trt-sweep pack FOLDER… --out DIR`: copy sweeps into two files each, which every verb reads as it reads folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trt_sweep.app.arguments import Parser, UsageError, verb
from trt_sweep.errors import SweepError


@verb()
def main(arguments: list[str]) -> int:
    """Write the copies and print where; return exit code 1, after one line, where that cannot be."""
    parser = Parser(
        prog="trt-sweep pack",
        description="Copy each sweep below the folders into records.parquet and samples.npz (as 32-bit floats), which "
        "every verb reads as it reads the folder of a sweep. Engines, traces and logs are left out.",
    )
    parser.add_folders()
    parser.add_out("the folder for the copies, which lie in it as the sweeps do below FOLDER")
    options = parser.parse_args(arguments)
    if options.out is None:
        raise UsageError("--out is not set: name the folder that the copies go into")

    from trt_sweep.results import archive, files, table
    from trt_sweep.results.record import SAMPLES

    if unreadable := table.load(*options.folders).attrs["unreadable"]:
        raise SweepError(f"{files.named(unreadable)[0]}: mend or remove it first, lest the copy lacks it")
    paths, _ = files.records_below(options.folders)
    sweeps = dict.fromkeys(path.parents[2] for path in paths)
    if not sweeps:
        raise SweepError("no sweep to pack: give folders with the folder of a sweep in them, which has points/ in it")
    root = table.common_folder(*options.folders)
    for sweep in sweeps:
        out = options.out / os.path.relpath(sweep, root)
        if (out / archive.POINTS).exists():
            raise SweepError(f"--out={options.out} is not allowed: {out} holds a sweep; name another folder")
        if lost := _replaced(out) - {path.parent.name for path in paths if path.parents[2] == sweep}:
            raise SweepError(f"--out={options.out} is not allowed: {out} holds {len(lost)} points of another sweep")
        if out.exists() and out.samefile(sweep):
            raise SweepError(f"--out={options.out} is not allowed: it is what is to be packed; name another folder")
        if (sweep / archive.ARCHIVE).exists() and (sweep / archive.POINTS).exists():
            raise SweepError(f"{sweep} holds both points/ and {archive.ARCHIVE}: pack a folder that holds one of them")
        written, copied = [], sorted(sweep.glob("*.json"))
        if (sweep / archive.ARCHIVE).exists():
            copied += [path for path in (sweep / archive.ARCHIVE, sweep / SAMPLES) if path.exists()]
        else:
            written = _packed(sweep, out)
        out.mkdir(parents=True, exist_ok=True)
        written += [Path(shutil.copyfile(path, out / path.name)) for path in copied]
        size = sum(path.stat().st_size for path in written)
        print(f"written: {out} ({size / 1e6:.2f} MB)")
    return 0


def _replaced(out: Path) -> set[str]:
    """Return the points of the archive that is there already."""
    from trt_sweep.results import archive

    try:
        return {point.name for point in archive.points(out / archive.ARCHIVE)}
    except FileNotFoundError:
        return set()
    except ValueError as error:
        raise SweepError(f"{out / archive.ARCHIVE} would be replaced, and is {error}: remove it first") from error


def _packed(sweep: Path, out: Path) -> list[Path]:
    from trt_sweep.results import archive

    try:
        return archive.write(sweep, out)
    except ValueError as error:
        raise SweepError(f"{sweep} cannot be packed: {error}") from error
