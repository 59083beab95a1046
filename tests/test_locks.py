"""The lock around a timed window, between real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time

import pynvml
import pytest
import torch

from trt_sweep.errors import SweepError
from trt_sweep.machine import free_gpu
from trt_sweep.machine import locks as locks_module
from trt_sweep.machine.locks import device_lock

CPU = torch.device("cpu")
HOLD = """
import sys, time, torch
from pathlib import Path
from trt_sweep.machine import locks
locks.LOCKS = Path(sys.argv[1])
with locks.device_lock(torch.device("cpu"), lambda text: print(text, flush=True)):
    print("held", time.monotonic(), flush=True)
    time.sleep(float(sys.argv[2]))
    print("left", time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    """As in /tmp: the folder above has the sticky bit."""
    tmp_path.chmod(0o1777)
    folder = tmp_path / "locks"
    monkeypatch.setattr(locks_module, "LOCKS", folder)
    return folder


def holder(folder, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True)


def test_one_after_the_other_and_the_wait_is_told(locks):
    first = holder(locks, 1.0)
    assert first.stdout.readline().startswith("held")
    heard: list[str] = []
    with device_lock(CPU, heard.append):
        entered = time.monotonic()
    left = float(first.stdout.readline().split()[1])
    assert entered >= left and heard == ["waiting for another sweep to leave cpu"]
    first.wait()


def test_a_dead_holder_never_blocks(locks):
    dead = holder(locks, 600)
    assert dead.stdout.readline().startswith("held")
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    start = time.monotonic()
    with device_lock(CPU):
        assert time.monotonic() - start < 5


def test_all_users_may_take_it(locks):
    before = os.umask(0o077)
    try:
        with device_lock(CPU):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((locks / "cpu.lock").stat().st_mode) == 0o666


@pytest.mark.skipif(os.getuid() != 0, reason="another user can only be tried by root")
def test_another_user_takes_a_lock_that_is_there(locks):
    for parent in locks.parents[:4]:
        parent.chmod(parent.stat().st_mode | 0o055)
    with device_lock(CPU):
        pass
    os.chown(locks / "cpu.lock", 65534, 65534)
    child = os.fork()
    if child == 0:
        os.setuid(12345)
        try:
            with device_lock(CPU):
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_file_that_cannot_be_opened_is_named(locks):
    locks.mkdir()
    (locks / "cpu.lock").mkdir()
    with pytest.raises(SweepError, match=r"cpu\.lock cannot be opened \("), device_lock(CPU):
        pass


def test_each_sweep_claims_a_gpu_of_its_own(monkeypatch):
    """Two GPUs as NVML would list them; a third sweep sees both, and takes turns on them."""
    monkeypatch.setattr(free_gpu, "visible_gpus", lambda: ["GPU-a", "GPU-b"])
    with free_gpu.claim_free_gpu() as first:
        with free_gpu.claim_free_gpu() as second, free_gpu.claim_free_gpu() as third:
            assert [first, second, third] == [{free_gpu.VISIBLE: "GPU-a"}, {free_gpu.VISIBLE: "GPU-b"}, {}]
        with free_gpu.claim_free_gpu() as again:
            assert again == second


def test_a_sweep_that_goes_on_takes_its_gpu_again(monkeypatch):
    monkeypatch.setattr(free_gpu, "visible_gpus", lambda: ["GPU-a", "GPU-b"])
    with free_gpu.claim_free_gpu(["GPU-b"]) as first:
        assert first == {free_gpu.VISIBLE: "GPU-b"}


def test_one_gpu_is_not_claimed(monkeypatch):
    monkeypatch.setattr(free_gpu, "visible_gpus", lambda: ["GPU-a"])
    with free_gpu.claim_free_gpu() as first:
        assert first == {}


@pytest.mark.parametrize(
    ("visible", "found"),
    [(None, ["GPU-a", "GPU-b"]), ("1,0", ["GPU-b", "GPU-a"]), ("GPU-b", ["GPU-b"]), ("MIG-x", []), ("", []), ("7", [])],
)
def test_what_is_visible(monkeypatch, visible, found):
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda index: f"GPU-{'ab'[index]}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda index: "NVIDIA H200")
    if visible is None:
        monkeypatch.delenv(free_gpu.VISIBLE, raising=False)
    else:
        monkeypatch.setenv(free_gpu.VISIBLE, visible)
    assert free_gpu.visible_gpus() == found
