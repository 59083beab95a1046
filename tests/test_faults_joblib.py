"""Kill processes of a sweep under joblib, and see what is left of it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import EXAMPLE, without_gpu
from running import VISITS, gone, processes, resumed, serves

from trt_sweep.machine.locks import is_locked
from trt_sweep.results import table

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]
# Two jobs at a time, the longer ones first.
JOBS = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "model=patient,scale", "batch_size=1,2", "baselines=false")
JOBS += ("backend=eager", "measure.max_s=3", "measure.warmup_s=0", f"measure.visits={VISITS}")


def worker_of(folder: Path) -> psutil.Process:
    """The process that times the point of a job."""
    (found,) = (process for process in processes(folder) if serves(process))
    return found


def swept(folder: Path, kill: Callable[[Path], None]) -> tuple[int, str]:
    """Run the jobs, kill once the first is at work, and return the exit code and what was said."""
    command = [sys.executable, "-m", "trt_sweep", "-m", "--config-dir", str(EXAMPLE), f"hydra.sweep.dir={folder}"]
    with (folder.parent / "said").open("w+") as said:
        main = subprocess.Popen([*command, *JOBS], stdout=said, stderr=subprocess.STDOUT, cwd=folder.parent)
        while not list((folder / "0").glob("points/*/record.json")):
            assert main.poll() is None
            time.sleep(0.05)
        kill(folder / "0")
        code = main.wait(timeout=300)
        said.seek(0)
        return code, said.read()


def test_a_killed_worker_leaves_a_row_and_its_neighbour_whole(tmp_path):
    folder = tmp_path / "sweep"
    code, said = swept(folder, lambda job: worker_of(job).kill())
    rows = table.load(folder).set_index("folder")
    status = {name.split("/")[0]: row["status"] for name, row in rows.iterrows()}
    assert status == {"0": "crashed", "1": "ok", "2": "ok", "3": "ok"}, said
    assert rows["final"].all() and (rows.loc[rows["status"] == "ok", "rounds"] == VISITS).all()
    (reason,) = rows.loc[rows["status"] == "crashed", "reason"]
    assert reason.startswith("the process was killed by SIGKILL")
    assert code == 1 and "Traceback" not in said
    assert re.search(
        r"^error: job 0 \(patient eager fp32\): crashed in \w+: the process was killed by SIGKILL", said, re.M
    )


def test_a_killed_process_of_joblib_costs_no_finished_row(tmp_path):
    """Joblib ends all jobs with it, which nothing in a job can prevent; what is missing is done by `resume`."""
    folder, before = tmp_path / "sweep", {}

    def kill(job: Path) -> None:
        while not (folder / "2").exists():  # the jobs in hand are not the first ones any more
            time.sleep(0.05)
        while not list((folder / "3").glob("points/*/config.json")):
            time.sleep(0.05)
        for path in folder.glob("*/points/*/record.json"):
            before[path] = path.read_bytes()
        worker_of(folder / "3").parent().kill()

    code, said = swept(folder, kill)
    final = {path: text for path, text in before.items() if b'"final": true' in text}
    assert len(final) >= 2 and all(path.read_bytes() == text for path, text in final.items())
    assert code == 1 and "Traceback" not in said
    assert f"finished rows are kept; python -m trt_sweep resume={folder} does the rest" in said
    assert all(gone(job) and not is_locked(job / ".lock") for job in folder.iterdir() if job.is_dir())
    assert len(table.load(folder)) < 4 or not table.load(folder)["final"].all()
    again = resumed(folder)
    rows = table.load(folder)
    assert again.returncode == 0 and (rows["status"] == "ok").all() and rows["final"].all() and len(rows) == 4
    assert all(path.read_bytes() == text for path, text in final.items())
