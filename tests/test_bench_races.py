"""Race with several seeds beside a full grid, with a model that sleeps unless it is traced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import without_gpu

from trt_sweep.app import bench
from trt_sweep.benchmarks import races
from trt_sweep.results import table

EXAMPLE = Path(__file__).parent / "example"
BRIEF = ("measure.warmup_s=0", "measure.warmup_max_s=0.1", "measure.settle_s=0")
ASKED = ("model=patient", "backend=eager,jit", "precision=fp32", *BRIEF, "--config-dir", str(EXAMPLE))


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    out = tmp_path_factory.mktemp("races") / "out"
    assert bench.main(["tune", *ASKED, "--max-error=1%", "--seeds=2", "--budget=90s", f"--out={out}"]) == 0
    return out


@without_gpu
def test_each_race_stands_beside_the_grid(raced):
    found = json.loads((raced / "races.json").read_text())
    summary = found["summary"]
    assert (summary["races"], summary["points_of_grid"], summary["as_good_as_its_best"]) == (2, 2, 1)
    assert summary["winner_as_good_percent"] == 100 and summary["slower_at_most_percent"] == 0
    assert [(row["seed"], row["winner"]) for row in found["races"]] == [(0, "backend=jit"), (1, "backend=jit")]
    for seed in (0, 1):
        took_s = json.loads((raced / f"race{seed}" / "race.json").read_text())["took_s"]
        assert took_s <= found["races"][seed]["seconds"]
    assert {*table.load(raced / "grid")["backend"]} == {"eager", "jit"}


@without_gpu
def test_what_has_ended_is_not_made_again(raced):
    """A race that was begun is, and what is judged takes up the seconds of those before."""
    kept = json.loads((raced / races.KEPT).read_text())
    shutil.rmtree(raced / "race1" / "points")
    ended = {name: (raced / name / "race.json").stat().st_mtime for name in ("race0", "race1")}
    del kept["seconds"]["race1"]
    (raced / races.KEPT).write_text(json.dumps(kept))
    before = json.loads((raced / "races.json").read_text())
    assert bench.main(["tune", *ASKED, "--max-error=1%", "--seeds=2", "--budget=90s", f"--out={raced}"]) == 0
    after = json.loads((raced / "races.json").read_text())
    assert after["summary"]["races"] == 2 and after["summary"]["grid_s"] == before["summary"]["grid_s"]
    assert after["races"][0] == before["races"][0] and (raced / "race1" / "points").is_dir()
    assert [(raced / name / "race.json").stat().st_mtime == ended[name] for name in ended] == [True, False]


@without_gpu
def test_a_winner_that_is_worse_is_told(raced):
    content = json.loads((raced / "race0" / "race.json").read_text())
    grid = table.load(raced / "grid")
    (eager,) = (row for row in grid.to_dict("records") if row["backend"] == "eager")
    found = races._judged(grid, [content | {"winner": eager, "wall_s": 5.0}], 20.0)
    assert found["summary"]["winner_as_good_percent"] == 0 and found["summary"]["slower_at_most_percent"] > 20
    assert found["summary"]["of_grid_percent"] == 25


@without_gpu
def test_what_cannot_be_raced_is_said_in_one_line(raced, tmp_path, capsys):
    assert bench.main(["tune", *ASKED, f"--out={raced}"]) == 1
    assert "holds the races of `model=patient" in capsys.readouterr().err
    (tmp_path / "mine.txt").touch()
    assert bench.main(["tune", *ASKED, f"--out={tmp_path}"]) == 1
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "mine.txt").unlink()
    assert bench.main(["tune", *ASKED, "--max-error=2", f"--out={tmp_path}"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "failed: --max-error=2 is not allowed" in last
