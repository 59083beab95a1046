"""Records that somebody tampered with, output that nobody takes, and text that is to stay text."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from permissions import bound_by_permissions
from test_table import put

from trt_sweep.app.main import main
from trt_sweep.results import files, store, table
from trt_sweep.results.console import Console
from trt_sweep.results.record import Record

RED = "\x1b[31m[bold red]red[/bold red]\x1b]0;title\x07"


@pytest.fixture
def nights(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "night0", tmp_path / "night1"
    for night in found:
        put(night, "good", 1.0, gpu_ms=1.0, gpu_ms_between_rounds=0.004, gpu_ms_method="graph")
    return found


def tamper(night: Path, name: str, values: str) -> Path:
    """Put a record beside the good one; `values` are JSON text, which replaces the text of its columns."""
    put(night, name, 2.0)
    path = night / "points" / name / "record.json"
    content = json.loads(path.read_text())
    for column, value in [item.split("=", 1) for item in values.split(";")]:
        content[column] = f"<{column}>" if value != "drop" else content.pop(column) and None
        if value == "drop":
            del content[column]
    text = json.dumps(content)
    for column, value in [item.split("=", 1) for item in values.split(";")]:
        text = text.replace(f'"<{column}>"', value)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ('status=["ok"]', "status is ['ok']: should be 'ok', 'dryrun'"),
        ('status="fine"', "status is 'fine': should be 'ok'"),
        ("jobs=null", "jobs is null"),
        ("model=3", "model is 3: should be a valid string"),
        ("point_id=null", "point_id is null"),
        ('model={"a": {"b": []}}', "model is {'a': {'b': []}}"),
        ("latency_ms=1e999", "latency_ms is inf: should be a finite number"),
        ("latency_ms=NaN", "latency_ms is nan: should be a finite number"),
        ("build_s=-1", "build_s is -1: should be greater than or equal to 0"),
        ("latency_ms=true", "latency_ms is True: should be a valid number"),
        ("latency_ms_visits=[1.0, 0.0]", "latency_ms_visits is 0.0: should be greater than"),
        ("samples=1e3", "samples is 1000.0: should be a valid integer"),
        (f"samples={2**63}", f"samples is {2**63}: should be less than {2**63}"),
        (f"engine_ops=[{10**30}]", f"engine_ops is {10**30}"),
        ("model=drop;backend=drop", "model is null"),
        ('reason="\\ud800"', ""),
        ("schema_version=drop", "not a record"),
    ],
)
def test_a_tampered_record_is_named_and_costs_no_other(nights, capsys, values, reason):
    path = tamper(nights[0], "bad", values)
    rows = table.load(nights[0])
    assert rows["point_id"].tolist() == ["good"] and list(rows.attrs["unreadable"]) == [str(path)]
    assert rows.attrs["unreadable"][str(path)].startswith(f"ValueError: {reason}")
    out = nights[0].parent / "out"
    pytest.importorskip("ruptures")
    for verb, folders in (("table", nights[:1]), ("report", nights[:1]), ("compare", nights), ("history", nights)):
        assert main([verb, *map(str, folders), f"--out={out}"]) in (0, 2)
        said = capsys.readouterr()
        text = (out / "report.md").read_text().replace("\\", "") if verb == "report" else said.out
        assert said.err == "" and f"unreadable: {path} (ValueError: " in text, verb
        assert "left out, since they cannot be read: 1\n" in text, verb


def test_a_whole_number_keeps_all_its_digits(tmp_path):
    for name, seed in (("a", 2**63 - 1), ("b", None)):
        put(tmp_path, name, 1.0, seed=seed)
    assert table.load(tmp_path)["seed"].tolist() == [2**63 - 1, pd.NA]


def test_a_record_that_is_no_file_is_named(tmp_path):
    put(tmp_path, "good", 1.0)
    points = tmp_path / "points"
    for name in ("fifo", "folder", "dangling", "zero", "circle"):
        (points / name).mkdir()
    os.mkfifo(points / "fifo" / "record.json")
    (points / "folder" / "record.json").mkdir()
    (points / "dangling" / "record.json").symlink_to("nothing")
    (points / "zero" / "record.json").symlink_to("/dev/zero")
    (points / "circle" / "record.json").symlink_to("record.json")
    (points / "lost").symlink_to("nowhere")
    (points / "unfinished").mkdir()
    rows = table.load(tmp_path)
    found = {os.path.relpath(path, points): why for path, why in rows.attrs["unreadable"].items()}
    assert rows["point_id"].tolist() == ["good"]
    assert {path: why.partition(":")[0] for path, why in found.items()} == {
        "fifo/record.json": "ValueError",
        "folder/record.json": "ValueError",
        "dangling/record.json": "FileNotFoundError",
        "zero/record.json": "ValueError",
        "circle/record.json": "OSError",
        "lost": "FileNotFoundError",
    }
    assert "not a file" in found["fifo/record.json"]


def test_links_double_no_row(tmp_path):
    put(tmp_path / "a", "x", 1.0)
    put(tmp_path / "b", "y", 2.0)
    (tmp_path / "a" / "points" / "again").symlink_to("x")
    (tmp_path / "a" / "points" / "self").symlink_to(".")
    (tmp_path / "a" / "points" / "x" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "points" / "z").mkdir()
    (tmp_path / "b" / "points" / "z" / "record.json").symlink_to("../y/record.json")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "points").symlink_to("../a/points")
    (tmp_path / "latest").symlink_to("b")
    rows = table.load(tmp_path)
    assert sorted(rows["folder"]) == ["a/points/x", "b/points/y"] and not rows.attrs["unreadable"]
    assert len(table.load(tmp_path / "c")) == 1  # a sweep whose points lie elsewhere


def test_a_very_deep_folder(tmp_path):
    put(tmp_path, "x", 1.0)
    before = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(3000):
            Path("d").mkdir()
            os.chdir("d")
        rows = table.load(tmp_path)
    finally:
        os.chdir(before)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # too deep for shutil
    assert len(rows) == 1 and [why for why in rows.attrs["unreadable"].values()] == ["OSError: File name too long"]


def test_what_permissions_hide_is_named(tmp_path):
    put(tmp_path, "good", 1.0)
    put(tmp_path, "secret", 1.0)
    put(tmp_path / "hidden", "x", 1.0)
    closed = tmp_path / "points" / "secret", tmp_path / "hidden"
    for folder in closed:
        folder.chmod(0o000)
    with bound_by_permissions():
        rows = table.load(tmp_path)
    for folder in closed:
        folder.chmod(0o755)
    assert list(rows.point_id) == ["good"]
    hidden = {str(closed[1]): "PermissionError: Permission denied"}
    hidden[str(closed[0] / "record.json")] = "PermissionError: Permission denied"
    assert rows.attrs["unreadable"].items() >= hidden.items()


def test_a_path_that_is_no_text(tmp_path, capsys):
    put(tmp_path, "good", 1.0)
    put(tmp_path / os.fsdecode(b"\xff\xfe"), "x", 1.0)
    rows = table.load(tmp_path)
    assert list(rows.attrs["unreadable"].values()) == ["its path is not UTF-8"] and len(rows) == 1
    assert main(["report", str(tmp_path)]) == 0 and "\\xff\\xfe" in (tmp_path / "report.html").read_text()


def test_a_night_without_a_good_record_costs_no_other(tmp_path, capsys):
    pytest.importorskip("ruptures")
    for number in range(3):
        put(tmp_path / f"night{number}", "a", 1.0, gpu_ms=1.0, gpu_ms_between_rounds=0.004, gpu_ms_method="graph")
    path = tmp_path / "night1" / "points" / "a" / "record.json"
    path.write_text("{")
    assert main(["history", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "0 level shifts in 2 nights" in said and f"unreadable: {path} (ValueError: EOF" in said


def test_very_many_visits_do_not_hang(tmp_path):
    visits = [0.5 + 0.001 * (number % 100) for number in range(20_000)]
    for name in "ab":
        put(tmp_path, name, 0.5, latency_ms_visits=visits, visit_group="g", engine_id=name)
    assert table.load(tmp_path)["latency_rank_worst"].tolist() == [2, 2]


def test_text_stays_text(tmp_path, capsys):
    put(tmp_path, "a", 1.0, model=RED, engine_id=RED, jobs=[0, 1])
    put(tmp_path, "b", model="[/]", status="build_failed", phase="build", reason=f"{RED} :smile:")
    assert main(["table", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out and ":smile:" in out and "[/]" in out
    assert out.count("[bold red]red[/bold red]") == 3  # a model, a reason, and the answer for the model
    assert main(["table", str(tmp_path / RED.replace("/", "|"))]) == 1
    err = capsys.readouterr().err
    assert "\x1b" not in err and "[bold red]" in err


def test_a_console_prints_what_it_is_given(capsys):
    console = Console()
    console.print("[red]a[/red]\x1b[1m\ttab\nline :x:", 3)
    assert capsys.readouterr().out == "[red]a[/red]�[1m        tab\nline :x: 3\n"


def test_a_spreadsheet_runs_nothing(tmp_path):
    texts = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "a=1", "'x"]
    for number, text in enumerate(texts):
        put(tmp_path, f"p{number}", -0.0 if number else None, model=text, max_abs_error=-1.5)
    rows = table.load(tmp_path)
    path, parquet = table.write(rows, tmp_path)
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["model"] for row in found] == [*(f"'{text}" for text in texts[:5]), "'\nx", *texts[6:]]
    assert {row["max_abs_error"] for row in found} == {"-1.5"}  # a number stays one
    assert pd.read_parquet(parquet)["model"].tolist() == texts


def command(*arguments: object, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trt_sweep", *map(str, arguments)], text=True, check=False, timeout=120, **how
    )


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("verb", ["compare", "table", "history"])
def test_output_that_nobody_takes_is_no_verdict(nights, verb, buffered):
    pytest.importorskip("ruptures")
    surroundings = os.environ | {"PYTHONUNBUFFERED": buffered}
    with Path("/dev/full").open("w") as full:
        done = command(verb, *nights, stdout=full, stderr=subprocess.PIPE, env=surroundings)
        assert (done.returncode, done.stderr) == (
            3,
            "error: what is printed cannot be written: No space left on device\n",
        )
    read, write = os.pipe()
    os.close(read)
    done = command(verb, *nights, stdout=write, stderr=subprocess.PIPE, env=surroundings)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_that_knows_ascii_only(nights):
    surroundings = os.environ | {"PYTHONIOENCODING": "ascii"}
    put(nights[0], "é", 1.0, model="é")
    for verb in ("compare", "table"):
        done = command(verb, *nights, capture_output=True, env=surroundings)
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr and "?" in done.stdout


def test_a_sweep_whose_output_nobody_takes(tmp_path):
    sweep = ["-m", "model=resnet18", "backend=eager", "dryrun=true", f"hydra.sweep.dir={tmp_path}"]
    with Path("/dev/full").open("w") as full:
        done = command(*sweep, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("verb", ["report", "table", "compare", "history", "layers", "partition", "sensitivity"])
def test_a_mistake_of_our_own_is_no_verdict(nights, verb, capsys, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of ours")

    pytest.importorskip("ruptures")
    from trt_sweep.config import compose
    from trt_sweep.results.layers import profiles

    monkeypatch.setattr(files, "records_below", broken)
    monkeypatch.setattr(profiles, "load", broken)
    monkeypatch.setattr(compose, "composed", broken)
    given = {"partition": ["model=resnet18"], "sensitivity": ["quantization.method=x"], "layers": [str(nights[0])]}
    assert main([verb, *given.get(verb, map(str, nights)), f"--out={nights[0]}"]) == 3
    err = capsys.readouterr().err
    assert err.endswith("error: a mistake of trt_sweep's own, please report it: ZeroDivisionError: of ours\n")
    assert err.startswith("Traceback")


def test_reading_records_imports_no_torch():
    code = "import sys, trt_sweep.results.table; print({'torch', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_all_records_of_the_reference_are_rows():
    reference = Path(__file__).parents[1] / "outputs/reference"
    paths, unreadable = files.records_below([reference])
    rows = table.load(reference)
    assert len(rows) == len(paths) > 400 and not unreadable and not rows.attrs["unreadable"]
    kept = files.read_json(paths[0])
    assert store.read(paths[0]) == Record(
        **{name: value for name, value in kept.items() if name in Record.__dataclass_fields__}
    )
    assert sum(path.stat().st_size for path in reference.rglob("*") if path.is_file()) < 5e6
