"""The notebook in `docs/` ran, tells nobody where, and says again what it said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell, kind="text/html"):
    return [output["data"].get(kind) for output in cell.outputs if output.output_type == "execute_result"]


def test_it_ran_and_names_no_machine():
    cells = code(nbformat.read(NOTEBOOK, 4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells)
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"[\" ](/(?!script|p)[a-z]+){2,}|[A-Z]:\\\\\\\\|\bnan, nan\b", text)


def test_it_runs_and_says_the_same(tmp_path):
    """Compare what it reads; what it measures here is another figure each time."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "reference").symlink_to(ROOT / "outputs" / "reference")
    stored, notebook = nbformat.read(NOTEBOOK, 4), nbformat.read(NOTEBOOK, 4)
    where = {"metadata": {"path": str(tmp_path / "docs")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    pairs = list(zip(code(stored), code(notebook), strict=True))
    assert "bf16" in shown(pairs[1][1])[0] and "set" in shown(pairs[1][1])[0]
    same = [(shown(before), shown(after)) for before, after in pairs[2:]]
    assert sum(bool(before) for before, _ in same) >= 4
    assert all(before == after for before, after in same), "jupyter execute --inplace docs/notebook.ipynb"
