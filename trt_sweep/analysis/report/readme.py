"""Renew the section of a page that is made from records, between two markers: docs/findings.md has one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trt_sweep.analysis.report import assembly, markdown
from trt_sweep.analysis.report.document import Heading
from trt_sweep.analysis.report.tables import versions_grid
from trt_sweep.errors import SweepError

BEGIN, END = "<!-- answers: made by trt-sweep report, do not edit -->", "<!-- end of answers -->"


def renewed(text: str, rows: pd.DataFrame, delta: float = assembly.DELTA) -> str:
    """Return the text with the section between the markers made anew; raise SweepError where it lacks a marker."""
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SweepError(f"no section to renew: put {BEGIN} and {END} where it belongs")
    heading = Heading("With which versions did points run?", 4)
    section = markdown.render([*assembly.answers(rows, delta), heading, versions_grid(rows)])
    return f"{before}{BEGIN}\n\n{section}\n{END}{after}"


def renew(path: Path, rows: pd.DataFrame, delta: float) -> None:
    """Write the file with its section made anew. Raises SweepError where that cannot be."""
    try:
        text = path.read_text(encoding="utf-8")
        new = renewed(text, rows, delta)
        path.write_text(new, encoding="utf-8")
    except OSError as error:
        raise SweepError(f"--readme={path} cannot be read and written: {error.strerror}") from error
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error
