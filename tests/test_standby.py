"""The process for the points: what it imports, how it goes on to the next sweep, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import EXAMPLE, without_gpu
from running import QUICK, processes

from trt_sweep.config.groups import IsolationConfig, MeasureConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.machine import free_gpu
from trt_sweep.machine.output import LOG
from trt_sweep.results import table
from trt_sweep.sweep.sweep import Sweep
from trt_sweep.workers import child, standby

# One at a time: they kill processes and tell what is timed by the host's clock.
pytestmark = [without_gpu, pytest.mark.xdist_group("faults")]
BRIEFLY = MeasureConfig(max_s=0.1, warmup_s=0, visits=6)


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

    monkeypatch.setattr(standby, "KEPT_S", 600.0)
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
    monkeypatch.setattr(standby, "KEPT_S", 600.0)
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
        monkeypatch.setattr(standby, "KEPT_S", 0.1)
        with Sweep({0: config}, tmp_path / "third", one_of_many=True) as sweep:
            sweep.run()
        end = time.monotonic() + 120
        while free() != "GPU-a":
            assert time.monotonic() < end
            time.sleep(0.1)
        assert not psutil.pid_exists(kept.child.pid) and not standby._kept
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
    main.wait(timeout=600)
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
