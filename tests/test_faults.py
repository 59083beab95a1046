"""Faults as they happen: real crashes, hangs, kills and full disks, through a real multirun in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import EXAMPLE, Done, without_gpu

from trt_sweep.config.groups import IsolationConfig, MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import free_gpu
from trt_sweep.machine.output import LOG
from trt_sweep.results import table
from trt_sweep.sweep.interrupts import Interrupted, Interrupts
from trt_sweep.sweep.sweep import Sweep
from trt_sweep.workers import child, standby

# One at a time: they kill processes and tell what is timed by the host's clock.
pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]
QUICK = ("backend=eager", "measure.max_s=0.9", "measure.warmup_s=0")
# Says every phase in a line, where a pipe is told of long ones only.
EVERY_PHASE = "import sys; from trt_sweep.app.main import main; from trt_sweep.sweep import progress; "
EVERY_PHASE += "progress.QUIET_S = 0; sys.exit(main())"
BRIEFLY = MeasureConfig(max_s=0.1, warmup_s=0, visits=6)


def processes(folder: Path) -> list[psutil.Process]:
    """What runs for the sweep in this folder: its processes write to its log."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            files = [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
            if str(folder / LOG) in files:
                found.append(process)
    return found


def gone(folder: Path, within_s: float = 5) -> bool:
    end = time.monotonic() + within_s
    while processes(folder) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(folder)


class Running:
    """A sweep under way, line by line."""

    def __init__(self, folder: Path, *arguments: str, resume: bool = False) -> None:
        self.folder, self.said = folder, ""
        how = [f"resume={folder}"] if resume else ["-m", "--config-dir", str(EXAMPLE), f"hydra.sweep.dir={folder}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", EVERY_PHASE, *how, *arguments],
            cwd=folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, *texts: str) -> Running:
        """Wait for a line that holds all of these texts."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if all(text in line for text in texts):
                return self
        raise AssertionError(f"{texts} was never said:\n{self.said}")

    def end(self, *signals: int) -> int:
        """Send these signals and return the exit code."""
        for number in signals:
            os.kill(self.process.pid, number)
            time.sleep(0.3)
        self.said += self.process.communicate(timeout=120)[0]
        return self.process.returncode

    @property
    def rows(self):
        return table.load(self.folder)


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [
        ("exits", "crashed", "the process ended with exit code 3"),
        ("segfaults", "crashed", "the process was killed by SIGSEGV; its last words: Fatal Python error: Segmentation"),
        ("killed", "crashed", "the process was killed by SIGKILL"),
        ("hangs", "timeout", "reference ran into limits.total_s=4"),
        ("devours", "out_of_memory", "tried to allocate 1125899906842624 bytes"),
        ("forks", "ok", None),
    ],
)
def test_the_next_point_is_unaffected(sweep, model, status, reason):
    done = sweep(f"model={model},patient", "limits.total_s=4", *QUICK)
    rows = done.rows.set_index("model")
    assert rows.loc[model, "status"] == status, done.out + done.err
    assert done.code == (0 if status == "ok" else 1)
    if reason is not None:
        assert reason in rows.loc[model, "reason"] and rows.loc[model, "phase"] == "reference"
        assert reason in done.err and rows.loc[model, "python"]
    after = rows.loc["patient"]
    assert after["status"] == "ok" and after["rounds"] >= 24 and after["final"] and after["rel_l2_error"] == 0
    assert 20 < after["latency_ms"] < 25  # what its sleep takes, as alone
    assert gone(done.folder)


def test_builds_in_hand_are_made_again(sweep):
    """A process lost in a later round takes the other points' builds with it; they get all their rounds."""
    done = sweep("model=late_exit,patient", "backend=eager", "measure.max_s=3", "measure.warmup_s=1")
    rows = done.rows.set_index("model")
    assert rows.loc["late_exit", "status"] == "crashed" and rows.loc["late_exit", "phase"] in ("warmup", "timing")
    assert rows.loc["late_exit", "latency_ms"] < 1 and "exit code 4" in rows.loc["late_exit", "reason"]
    assert rows.loc["patient", "status"] == "ok" and rows.loc["patient", "rounds"] >= 24
    assert "1 point to be built again: their process is gone" in done.err


@pytest.mark.parametrize("mode", ["worker", "job", "none"])
def test_isolation(sweep, mode):
    done = sweep("model=patient,scale", f"isolation={mode}", *QUICK)
    assert done.code == 0, done.out + done.err
    rows = done.rows
    assert (rows["status"] == "ok").all() and (rows["rounds"] >= 24).all() and rows["final"].all()
    assert rows["interleaved"].tolist() == [mode != "job"] * 2


def test_a_worker_is_replaced_after_max_jobs(sweep):
    done = sweep("model=patient,scale", "isolation.max_jobs=1", *QUICK)
    assert done.code == 0 and done.rows["interleaved"].tolist() == [False] * 2


def test_memory_under_a_limit(tmp_path):
    """The limit is the operating system's, on the address space of all processes of the sweep."""
    folder = tmp_path / "sweep"
    arguments = f"-m --config-dir {EXAMPLE} hydra.sweep.dir={folder} model=gluttons,scale {' '.join(QUICK)}"
    command = f"ulimit -v 16000000; exec {sys.executable} -m trt_sweep {arguments}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    rows = table.load(folder).set_index("model")
    assert rows["status"].to_dict() == {"gluttons": "out_of_memory", "scale": "ok"}, done.stderr


def test_one_interrupt_finishes_the_point(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient,scale", "batch_size=1,2", "backend=eager", "measure.max_s=3")
    run.until("[2/4]", "timing")
    assert run.end(signal.SIGINT) == 130
    assert "SIGINT: finishing the point at work" in run.said and "vs eager" in run.said
    assert "0 of 4 points are complete; python -m trt_sweep resume=" in run.said
    assert run.rows["status"].tolist() == ["ok"] * 2 and not run.rows["final"].any()
    assert gone(run.folder)
    again = Running(run.folder, resume=True)
    assert again.end() == 0, again.said
    assert "4 points to do" in again.said and again.rows["final"].all() and len(again.rows) == 4


@pytest.mark.parametrize(("numbers", "code"), [((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)])
def test_other_ends(tmp_path, numbers, code):
    run = Running(tmp_path / "sweep", "model=patient", "batch_size=1,2,3", "backend=eager", "measure.max_s=48")
    run.until("[2/3]", "timing")
    assert run.end(*numbers) == code
    finished = run.rows[run.rows["status"] == "ok"]
    assert len(finished) == (1 if len(numbers) == 2 else 2)
    assert gone(run.folder) and not list(run.folder.rglob("**/.*.json.*"))


def test_a_killed_parent_leaves_nothing_running(tmp_path):
    """Not even a child that hangs in native code and cannot notice by itself."""
    run = Running(tmp_path / "sweep", "model=hangs", "backend=eager")
    run.until("[1/1]", "reference")
    assert len(processes(run.folder)) >= 1
    assert run.end(signal.SIGKILL) == -signal.SIGKILL
    assert gone(run.folder)


@pytest.fixture
def done_once(sweep) -> Done:
    done = sweep("model=scale,exits", *QUICK)
    assert done.code == 1
    return done


def resumed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trt_sweep", f"resume={folder}", *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=120)


def test_resume_does_what_is_left_and_what_is_to_be_tried_again(done_once):
    folder = done_once.folder
    path = next(folder.glob("points/*/record.json"))
    path.write_text(path.read_text()[:100])  # truncated: it is done again, whichever of the two it is
    first = resumed(folder)
    assert "1 point to do" in first.stderr and f"{path} cannot be read" in first.stderr, first.stderr
    assert sorted(table.load(folder)["status"]) == ["crashed", "ok"]
    second = resumed(folder)
    assert "0 points to do" in second.stderr and "vs eager" in second.stdout and second.returncode == 1
    third = resumed(folder, "retry=[crashed]", "limits.total_s=60")
    assert "1 point to do" in third.stderr and "exits" in third.stderr


def test_resume_refuses_what_changed(done_once):
    folder = done_once.folder
    for path in folder.glob("points/*/record.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"torch": "1.0", "final": True}))
    refused = resumed(folder)
    assert refused.returncode == 1 and "is refused: torch was 1.0 and is " in refused.stderr
    assert "allow_changed=true" in refused.stderr and "Traceback" not in refused.stderr
    mixed = resumed(folder, "allow_changed=true")
    assert "0 points to do" in mixed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resume=nowhere"], "is not the folder of a sweep"),
        (["resume={folder}", "batch_size=2"], "batch_size=2 is not allowed beside resume"),
        (["resume={folder}", "retry=[slow]"], "retry=slow is not allowed: use one of"),
        (["limits.build_s=0"], "limits.build_s=0.0 is not allowed: use seconds above 0"),
        (["isolation.max_jobs=0"], "isolation.max_jobs=0 is not allowed"),
        (["isolation=thread"], "isolation=thread is not known: use one of job, none, worker"),
    ],
)
def test_what_is_refused(tmp_path, arguments, said):
    (tmp_path / "command.json").write_text(json.dumps({"arguments": [], "folder": str(tmp_path)}))
    command = [sys.executable, "-m", "trt_sweep", *(one.format(folder=tmp_path) for one in arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_two_sweeps_in_one_folder(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient", "backend=eager", "measure.max_s=60").until("[1/1]", "model")
    refused = resumed(run.folder)
    assert refused.returncode == 1 and "belongs to a sweep that is running" in refused.stderr
    run.end(signal.SIGTERM)


def test_a_folder_deleted_under_way(tmp_path):
    run = Running(tmp_path / "sweep", "model=patient,scale", "backend=eager", "measure.max_s=3")
    run.until("[2/2]", "timing")
    shutil.rmtree(tmp_path / "sweep" / "points")
    assert run.end() == 0, run.said
    assert run.rows["status"].tolist() == ["ok"] * 2 and run.rows["final"].all()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[str], Path]]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(how: str) -> Path:
        done = subprocess.run(["mount", *how.split(), str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def test_a_full_disk(small_disk):
    disk = small_disk("-t tmpfs -o size=2m tmpfs")
    run = Running(disk / "sweep", "model=patient,scale", "batch_size=1,2", "backend=eager", "measure.max_s=3")
    run.until("[2/4]", "timing")
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(filler, b"0" * 4096)
    os.close(filler)
    assert run.end() == 3  # no verdict on any point
    assert "No space left on device" in run.said and "Traceback" not in run.said, run.said
    before = run.rows
    assert before["status"].tolist()[0] == "ok" and not before.attrs["unreadable"]
    (disk / "filler").unlink()
    again = Running(disk / "sweep", resume=True)
    assert again.end() == 0, again.said
    assert again.rows["final"].all() and len(again.rows) == 4


def test_a_read_only_disk(small_disk):
    disk = small_disk("-t tmpfs -o ro,size=2m tmpfs")
    run = Running(disk / "sweep", "model=scale", "backend=eager")
    assert run.end() == 1
    assert "Read-only file system" in run.said and "Traceback" not in run.said, run.said


def test_the_process_of_the_sweep_imports_no_torch(tmp_path):
    """So it touches no GPU, and what breaks torch cannot break it."""
    code = "import sys; from trt_sweep.app import main; from trt_sweep.sweep import sweep; "
    code += "from trt_sweep.workers import host; from trt_sweep.workers.protocol import Assignment; "
    code += (
        "from trt_sweep.config.point import PointConfig; from trt_sweep.config.model import InputConfig, ModelConfig; "
    )
    code += "from pathlib import Path; "
    code += "from trt_sweep.config.options import SweepOptions; "
    code += "child = host.start(Assignment(Path(sys.argv[1]), SweepOptions(), print, print), {}); "
    code += "inputs = [InputConfig(shape=[4])]; factory = {'_target_': 'torch.nn.Identity'}; "
    code += "model = ModelConfig(name='m', factory=factory, inputs=inputs); "
    code += "plan = child.plan({0: PointConfig(model=model, backend='eager')}); child.end(); "
    code += "print(len(plan.builds), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "1 False\n", done.stderr


def test_points_run_where_hydra_has_gone(sweep):
    """Though their process began before Hydra did."""
    hydra = ("hydra.job.chdir=true", "+hydra.job.env_set.TOLD=yes")
    done = sweep("model=tells", "backend=eager", "baselines=false", *hydra, multirun=False)
    assert f"TOLD=yes in {done.folder}" in done.err


def test_a_process_goes_on_to_the_next_sweep(tmp_path, monkeypatch):
    """Unless that one gives it other surroundings, it has died meanwhile, or a point has taken it along."""

    def swept(name: str, target: str = "torch.nn.Identity", **more: object) -> int | None:
        model = ModelConfig(name=name, factory={"_target_": target}, inputs=[InputConfig(shape=[4])])
        config = SweepConfig(model=model, backend="eager", device="cpu", baselines=False, measure=BRIEFLY, **more)
        with Sweep({0: config}, tmp_path / name, one_of_many=True) as sweep:
            sweep.run()
        (row,) = table.load(tmp_path / name).to_dict("records")
        assert row["status"] == ("ok" if target == "torch.nn.Identity" else "crashed")
        return standby._kept[0].child.pid if standby._kept else None

    try:
        first = swept("first")
        assert first is not None and swept("second") == first
        monkeypatch.setenv("TOLD", "other")
        third = swept("third")
        assert third is not None and third != first and not psutil.pid_exists(first)
        os.kill(third, signal.SIGKILL)
        fourth = swept("fourth")
        assert fourth is not None and fourth != third
        assert swept("fifth", "os.abort") is None and not psutil.pid_exists(fourth)
        sixth = swept("sixth")
        assert sixth is not None and psutil.pid_exists(sixth)
        assert swept("seventh", isolation=IsolationConfig(mode="none")) is None and not psutil.pid_exists(sixth)
        eighth = swept("eighth")
        assert eighth is not None
        os.kill(eighth, signal.SIGSTOP)
        monkeypatch.setattr(child, "MOVE_S", 0.5)
        ninth = swept("ninth")
        assert ninth is not None and ninth != eighth and not psutil.pid_exists(eighth)
        (tmp_path / "tenth" / LOG).mkdir(parents=True)
        with pytest.raises(IsADirectoryError):
            swept("tenth")
        assert not psutil.pid_exists(ninth) and not standby._kept
    finally:
        standby.end_idle()


def test_a_process_that_no_sweep_comes_for_lets_go_of_its_gpu(tmp_path, monkeypatch):
    """Until then the GPU is not free for others, and another sweep of this process has it."""
    monkeypatch.setattr(free_gpu, "visible_gpus", lambda: ["GPU-a", "GPU-b"])
    monkeypatch.setattr(standby, "KEPT_S", 3.0)
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig(shape=[4])])
    config = SweepConfig(model=model, backend="eager", device="auto", baselines=False, measure=BRIEFLY)

    def free() -> str:
        with free_gpu.claim_free_gpu() as found:
            return found[free_gpu.VISIBLE]

    try:
        for name in ("first", "second"):
            with Sweep({0: config}, tmp_path / name, one_of_many=True) as sweep:
                sweep.run()
            (kept,) = standby._kept
            assert kept.child.environment == {free_gpu.VISIBLE: "GPU-a"} and free() == "GPU-b"
        end = time.monotonic() + 20
        while standby._kept or free() != "GPU-a":
            assert time.monotonic() < end
            time.sleep(0.1)
        assert not psutil.pid_exists(kept.child.pid)
    finally:
        standby.end_idle()


@pytest.mark.parametrize("killed", [True, False])
def test_the_end_of_a_joblib_sweep_leaves_nothing_running(tmp_path, killed):
    """Its jobs are processes of joblib's. Those that are killed with their parent would never end by themselves."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    model = "hangs" if killed else "scale"
    command = [sys.executable, "-m", "trt_sweep", "-m", "--config-dir", str(EXAMPLE), f"hydra.sweep.dir={tmp_path}/s"]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"model={model}", "batch_size=1,2", *QUICK]
    main = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    jobs = [tmp_path / "s" / number for number in "01"]
    while not all(any(job.glob("points/*/config.json")) for job in jobs):
        assert main.poll() is None
        time.sleep(0.1)
    started = psutil.Process(main.pid).children(recursive=True)
    if killed:
        assert all(processes(job) for job in jobs)
        main.kill()
    main.wait()
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left and not any(processes(job) for job in jobs)


def test_what_an_earlier_sweep_did_to_its_process_costs_the_next_no_point(tmp_path):
    """It ends while the next sweep is planned, and that one goes on in a fresh one."""
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig(shape=[4])])
    config = SweepConfig(model=model, backend="eager", device="cpu", baselines=False, measure=BRIEFLY)
    try:
        with Sweep({0: config}, tmp_path / "first", one_of_many=True) as sweep:
            sweep.run()
        (kept,) = standby._kept
        move = kept.child.move
        kept.child.move = lambda *given: (move(*given), os.kill(kept.child.pid, signal.SIGKILL))[0]
        with Sweep({0: config}, tmp_path / "second", one_of_many=True) as sweep:
            sweep.run()
        assert table.load(tmp_path / "second")["status"].tolist() == ["ok"]
    finally:
        standby.end_idle()


@pytest.mark.parametrize("arguments", [["modell=x"], ["--help"], ["isolation=worker"], ["precision=fp17", "-m"]])
def test_a_process_that_nobody_comes_for_is_ended(tmp_path, arguments):
    code = "import sys; from trt_sweep.app import main as app; from trt_sweep.workers import spawn; import psutil; "
    code += "begun = spawn.prepare; "
    code += "said = []; spawn.prepare = lambda: (begun(), said.extend(psutil.Process().children()))\n"
    code += "try: app.main()\nexcept SystemExit: pass\n"
    code += "print(); print(len(said), len(psutil.Process().children()))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    begun = 2 if set(arguments) & {"modell=x", "precision=fp17"} else 0  # and what guards it
    assert done.stdout.endswith(f"\n{begun} 0\n"), done.stdout + done.stderr


def test_points_that_crash_late_one_after_the_other_leave_the_third_whole(sweep):
    done = sweep("model=late_exit,patient", "batch_size=1,2", "backend=eager", "measure.max_s=3")
    rows = done.rows
    assert rows["status"].value_counts().to_dict() == {"crashed": 2, "ok": 2}, done.out + done.err
    assert rows["final"].all() and (rows[rows["status"] == "ok"]["rounds"] >= 24).all()


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupts.signal is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupts.signal == signal.SIGTERM
            with pytest.raises(Interrupted) as ended:
                os.kill(os.getpid(), signal.SIGINT)
            assert ended.value.exit_code == 130
    finally:
        signal.signal(signal.SIGHUP, before)
