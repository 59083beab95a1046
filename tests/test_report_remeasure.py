"""What is recommended is measured again, by the real command; what it then says, and what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import EXAMPLE, without_gpu
from test_points_run import eager
from test_ranking import TIMED
from test_report_recommend import DEFAULTS, advised
from test_table import put

from trt_sweep.analysis.report import recommend, remeasure, sentences
from trt_sweep.app.report import main
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import devices, free_gpu
from trt_sweep.results import table


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A sweep of one small model at two batch sizes, with which a call's time hardly grows."""
    folder = tmp_path_factory.mktemp("first") / "s"
    command = [sys.executable, "-m", "trt_sweep", "-m", "--config-dir", str(EXAMPLE), "model=scale", "backend=eager"]
    command += ["device=cpu", "batch_size=1,4096", "measure.visits=24", "measure.max_s=1.2"]
    command += ["measure.warmup_s=0.05", f"hydra.sweep.dir={folder}"]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def report(folder: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trt_sweep", "report", str(folder), "--remeasure", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def changed(folder: Path, batch_size: int, **values) -> None:
    for path in folder.glob("points/*/record.json"):
        content = json.loads(path.read_text())
        if content["batch_size"] == batch_size:
            path.write_text(json.dumps(content | values))


def test_a_winner_that_stays(first, tmp_path):
    folder = shutil.copytree(first, tmp_path / "s")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = report(folder, tmp_path, "--objective", "throughput", "--out", "out")
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "out/report.md").read_text()
    assert "batch_size=4096 has the most throughput" in said
    assert "Measured again, interleaved with 1 other: " in said and "confirmed, and proved to be better" in said
    (place,) = (tmp_path / "out").glob("s-remeasured-*")
    old, new = table.load(folder).set_index("point_id"), table.load(place).set_index("point_id")
    assert set(old.index) == set(new.index) and (new["sweep_id"] == place.name).all() and new["interleaved"].all()
    assert (new["created_utc"] > old["created_utc"].max()).all() and (new["rounds"] == 24).all()
    for row in (*old.to_dict("records"), *new.to_dict("records")):  # both figures of both points
        assert f"| {row['throughput_per_s']:.4g} \\[" in said
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_winner_that_does_not_stay(first, tmp_path):
    """A record that was a freak: batch 1 as good as the other, by chance."""
    folder = shutil.copytree(first, tmp_path / "s")
    (good,) = table.load(folder).query("batch_size == 4096").to_dict("records")
    latency = 0.9 * good["latency_ms"] / 4096
    freak = {"latency_ms": latency, "latency_ms_ci_low": latency / 2, "latency_ms_ci_high": latency * 2}
    freak["latency_ms_visits"] = [latency * (0.8 + 0.05 * number) for number in range(12)]
    freak |= {"throughput_per_s": 1e3 / latency, "item_ms_visits": freak["latency_ms_visits"]}
    freak |= {"throughput_per_s_ci_low": 5e2 / latency, "throughput_per_s_ci_high": 2e3 / latency}
    changed(folder, 1, **freak, latency_ms_between_rounds=0.3)
    done = report(folder, tmp_path, "--objective", "throughput")
    assert done.returncode == 0, done.stderr
    said = (folder / "report.md").read_text()
    assert "not confirmed by a second measurement; eager fp32 batch_size=1 had the most throughput at first" in said
    assert "Instead, use eager fp32 batch_size=4096." in said and "another is proved to be better" in said
    assert "the second figure is not where the first had it expected" in said
    assert "torch.randn(4096, 8" in said and "torch.randn(1, 8" not in said  # the code is the other's
    assert len(list(tmp_path.glob("s-remeasured-*"))) == 1  # beside the sweep, which stays as it was
    assert len(table.load(folder)) == 2


def test_other_versions_are_refused(first, tmp_path):
    folder = shutil.copytree(first, tmp_path / "s")
    changed(folder, 4096, torch="1.0")
    done = report(folder, tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: --remeasure is refused: of point ")
    assert "torch was 1.0 and is " in line and "sweep again" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def point(folder: Path, config: SweepConfig, **values) -> Path:
    place = folder / "points" / config.point_id
    put(folder, config.point_id, 1.0, **TIMED, **values)
    (place / "config.json").write_text(json.dumps(config.to_dict()))
    return place


def refused(folder: Path, capsys, *arguments: str, code: int = 1) -> str:
    assert main([str(folder), "--remeasure", *arguments]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not list(folder.parent.glob("*-remeasured-*"))
    return error


@without_gpu
def test_a_gpu_that_is_not_here(tmp_path, capsys):
    config = eager()
    config.device = "cuda:0"
    point(tmp_path / "s", config, gpu_name="NVIDIA H100", gpu_uuid="GPU-1")
    said = (
        "--remeasure is refused: the records are of device=cuda:0, NVIDIA H100 (GPU-1), which is not here; run it where"
    )
    assert said in refused(tmp_path / "s", capsys)


def test_the_gpu_of_the_records_is_taken(tmp_path, monkeypatch, capsys):
    asked = []

    @contextlib.contextmanager
    def claim_free_gpu(preferred):
        asked.append(preferred)
        yield {}

    monkeypatch.setattr(free_gpu, "claim_free_gpu", claim_free_gpu)
    monkeypatch.setattr(devices, "resolve", lambda device: torch.device("cuda", 0))
    config = eager()
    config.device = "cuda:0"
    point(tmp_path / "s", config, gpu_name="NVIDIA H100", gpu_uuid="GPU-b")
    assert main([str(tmp_path / "s"), "--remeasure"]) == 1  # there is none of that name
    assert asked == [["GPU-b"]] and "--remeasure is refused" in capsys.readouterr().err


def test_an_interrupt_is_no_traceback(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    point(tmp_path / "s", eager())
    monkeypatch.setattr(remeasure, "Sweep", interrupted)
    assert main([str(tmp_path / "s"), "--remeasure"]) == 130


def test_configurations_that_do_not_do(tmp_path, capsys):
    file = point(tmp_path / "s", eager()) / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"batch_size": 2}))
    assert "config.json is not of the point beside it" in refused(tmp_path / "s", capsys)
    file.write_text(json.dumps(content | {"batch_size": 0}))
    assert "which cannot be read (batch_size=0 is not allowed" in refused(tmp_path / "s", capsys)
    file.write_text("{")
    assert "which cannot be read (JSONDecodeError" in refused(tmp_path / "s", capsys)
    file.unlink()
    assert f"--remeasure needs {file}, which cannot be read (FileNotFoundError" in refused(tmp_path / "s", capsys)


def test_nothing_to_measure(tmp_path, capsys):
    put(tmp_path / "s", "a", 1.0, **TIMED, rel_l2_error=1.0)
    assert "no point is recommended" in refused(tmp_path / "s", capsys, "--max-error", "10%")
    assert "--remeasure is not allowed beside --readme" in refused(
        tmp_path / "s", capsys, "--readme", "README.md", code=2
    )


@pytest.mark.parametrize(
    ("again", "confirmed", "verdict"),
    [
        ({"fast": 1.0, "tie": 1.3, "defaults": 2.0}, True, "confirmed, and proved to be better than the others."),
        (
            {"fast": 1.0, "tie": 0.999, "defaults": 2.0},
            True,
            "confirmed as one of 2 that nothing measured tells apart.",
        ),
        (
            {"fast": 1.3, "tie": 1.0, "defaults": 2.0},
            False,
            "not confirmed: another is proved to be better; the second",
        ),
        ({"fast": None, "tie": 1.0, "defaults": 2.0}, False, "not confirmed: it ended as run_failed (boom)."),
    ],
)
def test_verdicts(tmp_path, again, confirmed, verdict):
    for name, latency in {"fast": 1.0, "tie": 1.001, "defaults": 2.0}.items():
        axes = DEFAULTS if name == "defaults" else {"min_block_size": len(name)}
        put(tmp_path / "first", name, latency, **TIMED, **axes)
        ended = {} if again[name] else {"status": "run_failed", "reason": "boom"}
        put(tmp_path / "second", name, again[name], **TIMED, **axes, **ended)
    (advice,) = advised(tmp_path / "first")
    second = recommend.judged(table.load(tmp_path / "second"), "latency")
    advice = dataclasses.replace(advice, second=second)
    assert advice.confirmed is confirmed and advice.use["point_id"] == ("fast" if confirmed else "tie")
    assert verdict in sentences.second(advice, "latency")
    headline = sentences.winner(advice, ["min_block_size"], "latency")
    if confirmed:
        assert "min_block_size=4 has the least latency, 1 ms" in headline
    else:
        assert "not confirmed" in headline and headline.endswith("Instead, use min_block_size=3.")
        assert (
            sentences.cost(advice, "latency") is None and sentences.ties(advice, ["min_block_size"], "latency") is None
        )
