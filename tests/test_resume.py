"""Whose sweep is resumed, and what is run for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXAMPLE, Done
from running import QUICK

from trt_sweep.app.main import main
from trt_sweep.errors import SweepError
from trt_sweep.results import table
from trt_sweep.sweep.command import COMMAND, TRUSTED, require_trusted

OTHER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")


@pytest.fixture
def done(sweep) -> Done:
    found = sweep("model=scale", "baselines=false", *QUICK)
    assert found.code == 0, found.err
    return found


def resumed(folder: Path, trusted: str | None = None, verb: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != TRUSTED}
    environment |= {} if trusted is None else {TRUSTED: trusted}
    command = [sys.executable, "-m", "trt_sweep", *(verb or (f"resume={folder}",))]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False, timeout=300)


@as_root
@pytest.mark.parametrize("what", [".", COMMAND])
def test_the_sweep_of_another_user_is_resumed_only_where_it_is_trusted(done, what):
    os.chown(done.folder / what, OTHER, OTHER)
    refused = resumed(done.folder)
    (line,) = refused.stderr.splitlines()
    path = done.folder / what
    assert refused.returncode == 1 and line.startswith(f"error: resume={done.folder} is refused: {path} belongs to uid")
    assert f"uid {OTHER}, and what it says would run as root (uid 0)" in line
    assert f"set {TRUSTED}={done.folder} in the environment" in line
    assert resumed(done.folder, f"/nowhere:{done.folder}x").stderr == refused.stderr
    for trusted in (f"/nowhere:{done.folder}", str(done.folder.parent)):
        allowed = resumed(done.folder, trusted)
        assert allowed.returncode == 0 and "0 points to do" in allowed.stderr, allowed.stderr


@as_root
def test_what_trusts_a_folder_cannot_come_from_it(done):
    """Not through its command line, nor through a link of ours to it."""
    kept = json.loads((done.folder / COMMAND).read_text())
    kept["arguments"].append(f"hydra.job.env_set.{TRUSTED}=/")
    (done.folder / COMMAND).write_text(json.dumps(kept))
    os.chown(done.folder, OTHER, OTHER)
    link = done.folder.parent / "link"
    link.symlink_to(done.folder)
    for folder in (done.folder, link):
        assert "is refused" in resumed(folder).stderr


@as_root
def test_nothing_of_another_user_is_measured_again(done):
    (path,) = done.folder.glob("points/*/config.json")
    os.chown(path, OTHER, OTHER)
    refused = resumed(done.folder, verb=("report", str(done.folder), "--remeasure"))
    assert refused.returncode == 1 and f"--remeasure is refused: {path} belongs to uid {OTHER}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_whose_folders_are_trusted(monkeypatch, tmp_path):
    os.chown(tmp_path, OTHER, OTHER)
    with pytest.raises(SweepError, match=f"belongs to uid {OTHER}, and what it says would run as root"):
        require_trusted(tmp_path)
    monkeypatch.setenv("SUDO_UID", str(OTHER))  # the user who has become root
    require_trusted(tmp_path)
    monkeypatch.delenv("SUDO_UID")
    monkeypatch.setenv(TRUSTED, "*")
    require_trusted(tmp_path)
    monkeypatch.setenv(TRUSTED, "~nosuchuser/x")
    with pytest.raises(SweepError, match="belongs to uid"):
        require_trusted(tmp_path)
    monkeypatch.delenv(TRUSTED)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    require_trusted(Path("/usr"))  # root's


def test_what_is_resumed_is_said_first(done):
    kept = json.loads((done.folder / COMMAND).read_text())
    kept["arguments"].append("+compile.note='a\x1b[2J b'")
    (done.folder / COMMAND).write_text(json.dumps(kept))
    said = resumed(done.folder).stderr.splitlines()[0]
    assert said.startswith(f"resuming trt-sweep -m --config-dir {EXAMPLE} hydra.sweep.dir={done.folder} model=scale ")
    assert said.endswith(f" in {done.folder.parent}") and "\x1b" not in said and "�[2J" in said
    assert len(table.load(done.folder)) == 1


def test_a_packed_sweep_gets_no_folders_of_jobs_and_points(done, tmp_path):
    kept = tmp_path / "kept"
    assert main(["pack", str(done.folder), "--out", str(kept)]) == 0
    assert "0 points to do" in resumed(kept).stderr and len(table.load(kept)) == 1
    assert [path for path in kept.iterdir() if path.is_dir()] == []
    resumed(done.folder)
    assert {path.name for path in done.folder.iterdir() if path.is_dir()} == {"0", "points"}
    assert (done.folder / "0/.hydra/config.yaml").exists()
