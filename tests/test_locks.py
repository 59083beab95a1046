"""The lock around a timed window, between real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest
import torch
from filelock import FileLock

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
    print("held", flush=True)
    sys.stdin.readline()
    print("left", time.monotonic(), flush=True)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    """As /tmp: it has the sticky bit."""
    folder = tmp_path / "locks"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(locks_module, "LOCKS", folder)
    monkeypatch.setattr(locks_module, "OWN", tmp_path / "own")
    return folder


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock until it is told to leave, and wait until it does."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], text=True, **pipes)
    assert other.stdout.readline() == "held\n"
    return other


def test_one_after_the_other_and_the_wait_is_told(locks):
    first = holder(locks)
    heard: list[str] = []

    def on_wait(text: str) -> None:
        heard.append(text)
        print("leave", file=first.stdin, flush=True)

    with device_lock(CPU, on_wait):
        entered = time.monotonic()
    left = float(first.communicate()[0].split()[1])
    assert entered >= left and heard == ["waiting for another sweep to leave cpu"]


def test_a_dead_holder_never_blocks(locks):
    dead = holder(locks)
    dead.kill()
    dead.wait()
    heard: list[str] = []
    with device_lock(CPU, heard.append):
        assert not heard  # not even a moment


def test_all_users_may_take_it(locks):
    before = os.umask(0o077)
    try:
        with device_lock(CPU):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((locks / "trt_sweep-cpu.lock").stat().st_mode) == 0o666


@pytest.mark.skipif(os.getuid() != 0, reason="another user can only be tried by root")
def test_another_user_takes_a_lock_that_is_there(locks):
    for parent in locks.parents[:4]:
        parent.chmod(parent.stat().st_mode | 0o055)
    with device_lock(CPU):
        pass
    os.chown(locks / "trt_sweep-cpu.lock", 65534, 65534)
    child = os.fork()
    if child == 0:
        os.setuid(12345)
        try:
            with device_lock(CPU):
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not (locks.parent / "own").exists()  # all in the one folder


def plant(path: Path, what: str) -> None:
    if what == "link":
        (path.parent.parent / "precious").write_text("text")
        path.symlink_to(path.parent.parent / "precious")
    elif what == "dangling":
        path.symlink_to(path.parent.parent / "new")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("what", ["folder", "link", "dangling", "pipe"])
def test_what_is_no_file_is_refused_and_no_link_is_followed(locks, what):
    plant(locks / "trt_sweep-cpu.lock", what)
    with pytest.raises(SweepError, match=r"^\S+cpu\.lock cannot be opened \([^)]+\): let all"), device_lock(CPU):
        pass
    assert what != "link" or (locks.parent / "precious").read_text() == "text"
    assert not (locks.parent / "new").exists()


def test_a_file_that_is_linked_twice_keeps_its_content(locks):
    (locks.parent / "precious").write_text("text")
    os.link(locks.parent / "precious", locks / "trt_sweep-cpu.lock")
    mode = (locks.parent / "precious").stat().st_mode
    with device_lock(CPU):
        pass
    assert (locks.parent / "precious").read_text() == "text" and (locks.parent / "precious").stat().st_mode == mode


def spoil(folder: Path, how: str) -> None:
    if how == "not sticky":
        folder.chmod(0o777)
    elif how == "another's":
        os.chown(folder, 12345, 12345)
    else:
        folder.rename(folder.parent / "elsewhere")
        folder.symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("how", ["not sticky", "another's", "a link"])
def test_a_folder_that_is_not_safe_is_not_used(locks, how, caplog):
    if how == "another's" and os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    spoil(locks, how)
    with device_lock(CPU):
        assert (locks.parent / "own" / "trt_sweep-cpu.lock").exists() and not list(locks.iterdir())
        with pytest.raises(BlockingIOError), locks_module.file_lock("cpu"):
            pass
    assert stat.S_IMODE((locks.parent / "own").stat().st_mode) == 0o700
    assert f"{locks} is not safe for locks" in caplog.text and str(locks.parent / "own") in caplog.text


def test_a_folder_of_ones_own_need_not_be_sticky(locks):
    locks.chmod(0o700)
    with device_lock(CPU):
        assert (locks / "trt_sweep-cpu.lock").exists()


def test_a_copy_of_the_process_does_not_keep_the_lock(locks):
    with device_lock(CPU):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with locks_module.file_lock("cpu"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_holds_a_lock_can_be_asked_without_a_trace(locks):
    path = locks / "trt_sweep-cpu.lock"
    assert not locks_module.is_locked(path) and not path.exists()
    other = holder(locks)
    assert locks_module.is_locked(path)
    other.kill()
    other.wait()
    assert not locks_module.is_locked(path)
    with FileLock(path):
        assert locks_module.is_locked(path)


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
