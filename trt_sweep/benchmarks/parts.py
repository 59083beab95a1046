"""Run a benchmark in parts, each of which takes minutes and leaves a file; load the files that are there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from trt_sweep.errors import SweepError
from trt_sweep.machine import devices, versions

REPORT = "report"  # the value of --part that runs no part
Found = dict[str, Any]  # the results of a part as plain data, with lists of rows
T = TypeVar("T")


def run(
    folder: Path, asked: str | None, parts: Mapping[str, Callable[[T], Found]], settings: T, extra: Collection[str] = ()
) -> None:
    """Run the parts that are `asked` for, such as "with,large", and write the results of each to `<part>.json`.

    None asks for all but the `extra` ones, and `REPORT` for none. Each part is called with the same `settings`, has a
    folder of its name in `folder`, and a docstring that says what it shows. `took_s` (seconds) and `environment` are
    added to its results. Raises SweepError for a part that is unknown or was run before, without a GPU, and where a
    part lacks something.
    """
    if asked == REPORT:
        return
    names = list(dict.fromkeys(asked.split(","))) if asked else [name for name in parts if name not in extra]
    for name in names:
        if name not in parts:
            raise SweepError(f"--part={name} is not known: use some of {', '.join(parts)}, or {REPORT}")
        for path in (folder / name, folder / f"{name}.json"):
            if path.exists():
                raise SweepError(f"{path} is there already: give another --out, or remove it")
    device = devices.resolve("auto")
    if device.type != "cuda" or versions.flavor() is None:
        raise SweepError("the benchmark needs a GPU and Torch-TensorRT; there are none here")
    for name in names:
        print(f"{name}: {parts[name].__doc__}", flush=True)
        (folder / name).mkdir(parents=True)
        start = time.perf_counter()
        found = parts[name](settings)
        found |= {"took_s": round(time.perf_counter() - start, 1), "environment": vars(versions.environment(device))}
        (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def require_empty(folder: Path) -> None:
    """Raise SweepError where a folder that made-up records go into holds anything."""
    if any(folder.glob("*")):
        raise SweepError(f"--out={folder} is not empty: give a new one, since records are made up there")


def load(folder: Path, parts: Collection[str]) -> dict[str, Found]:
    """Return the results of the parts in a folder, by name; raise SweepError where there are none."""
    paths = {name: folder / f"{name}.json" for name in parts}
    there = {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}
    if not there:
        raise SweepError(f"--out={folder} holds no part: run one first")
    return there


def differences(found: Mapping[str, Found]) -> list[str]:
    """Return a line each where the parts were run on different GPUs, or by different code of trt_sweep."""
    lines = []
    for name in ("gpu_uuid", "code_id"):
        different = sorted({str(part["environment"].get(name)) for part in found.values()})
        if len(different) > 1:
            lines.append(f"these parts differ in {name}: {', '.join(different)}")
    return lines


def format_table(name: str, rows: list[Found] | pd.DataFrame) -> str:
    """Return a table as text, under its name."""
    return f"{name}\n{pd.DataFrame(rows).to_string(index=False)}"
