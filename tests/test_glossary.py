"""Every column is explained: on the command line, in the report's table, and on a page that the code writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trt_sweep.analysis.report import html, sections, tables
from trt_sweep.analysis.report.document import Column, Points
from trt_sweep.app import table as app_table
from trt_sweep.results import cells, glossary, table
from trt_sweep.results.thresholds import MIN_EFFECT

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "outputs" / "reference" / "h200" / "settings"


def test_every_column_of_a_table_is_explained(tmp_path):
    columns = glossary.columns()
    assert list(columns) == list(table.load(tmp_path))
    for column in columns.values():
        assert re.match(r"[A-Z\d]|rel_l2_error|gpu_ms|layers_ms|engine_id|point_id|‖", column.meaning), column.name
        assert column.meaning.endswith(".") and not column.null.endswith("."), column.name
        sentences = re.split(r"(?<=[.:]) ", column.meaning)
        assert len(sentences) <= 4 and max(len(each.split()) for each in sentences) <= 32, column.name
        assert "likewise" not in column.meaning, column.name


def test_the_page_is_what_the_code_gives(tmp_path, capsys):
    assert app_table.main(["--explain", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'columns.md'}\n"
    page = (tmp_path / "columns.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "columns.md").read_text(encoding="utf-8") == page, "trt-sweep table --explain --out docs"
    assert all(f"| `{name}`" in page for name in glossary.columns())


@pytest.mark.parametrize("column", cells.COLUMNS, ids=lambda column: column.name)
def test_heads_of_the_table_are_explained(column, capsys):
    """As they are printed, with a blank that needs no quotes."""
    assert app_table.main(["--explain", *column.name.split()]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert re.match(rf"{column.source}\b.*: .*\b{column.name}\b", first) and rest


def test_columns_are_explained_without_a_folder(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert app_table.main(["--explain", "gpu_ms,vs eager"]) == 0
    out = capsys.readouterr().out
    assert (
        "gpu_ms (ms), in the printed table: gpu\n" in out and "speedup (ratio)" in out and "latency_ms " not in out[:99]
    )
    assert max(map(len, out.splitlines())) <= 60
    assert app_table.main(["--explain", "rank", "error"]) == 0
    assert re.search(r"^latency_rank\b(.|\n)*^rel_l2_error\b", capsys.readouterr().out, re.MULTILINE)
    assert app_table.main(["--explain"]) == 0
    every = capsys.readouterr().out
    assert all(re.search(rf"^{name}\b", every, re.MULTILINE) for name in glossary.columns())
    assert "\nTiming\n──────\n" in every


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explain", "latncy"], ["--explain latncy is not known", "latency, latency_ms"]),
        (["--explain", "§"], ["use a column such as latency, vs eager, rank"]),
        (["--explain", "gpu", "--out", "x"], ["--out is not allowed beside --explain gpu", "drop one"]),
        ([], ["FOLDER"]),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    assert app_table.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(word in error for word in words), error


def test_heads_of_the_report_carry_the_explanation():
    rows = table.load(SETTINGS)
    place = next(iter(sections.split(rows, MIN_EFFECT)))
    found = html._table_data(tables.points(place, Path(), "", "latency"))["columns"]
    titles = {column["name"]: column["title"] for column in found}
    assert all(titles.values()), [name for name, title in titles.items() if not title]
    assert titles["gpu ms [95 %]"] == glossary.columns()["gpu_ms"].text
    page = html.render([Points([Column("vs eager", ["1"])], ["x"], [0])])
    assert "How many times faster than eager PyTorch" in page and "heading.title = column.title" in page
