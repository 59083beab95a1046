"""TODO."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trt_sweep.errors import SweepError
from trt_sweep.results.show import show
from trt_sweep.results.table import load, write


def main(arguments: list[str] | None = None) -> int:
    """`trt-sweep table FOLDER`"""
    parser = argparse.ArgumentParser(prog="trt-sweep table", description="Print and write the table of a sweep.")
    parser.add_argument("folder", type=Path, help="a sweep's folder, or any folder above several")
    options = parser.parse_args(arguments)
    try:
        table = load(options.folder)
        if table.empty and not table.attrs["unreadable"]:
            raise SweepError(f"{options.folder} holds no record: give the folder of a sweep, which has points/ in it")
        show(table)
        written = write(table, options.folder)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {options.folder} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print("written:", ", ".join(map(str, written)))
    return 0
