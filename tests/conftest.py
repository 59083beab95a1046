"""Run sweeps in a subprocess, as a user starts them; spread tests over processes and skip those that cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import wheels

from trt_sweep.backends.engine_store import Store
from trt_sweep.config.options import SweepOptions
from trt_sweep.machine import free_gpu, versions
from trt_sweep.models.cache import ProcessCache
from trt_sweep.points.group import BuildGroup
from trt_sweep.points.point import Point
from trt_sweep.points.state import GroupContext
from trt_sweep.results import store, table

# Where there are several GPUs, each process of tests has one of its own.
GPUS = free_gpu.visible_gpus()
if "PYTEST_XDIST_WORKER" in os.environ and len(GPUS) > 1:
    os.environ["CUDA_VISIBLE_DEVICES"] = GPUS[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(GPUS)]

# One thread for each process that tests start: threads on a busy core mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

# What is printed is as wide as it is in a pipe: a test that wants a width sets it.
os.environ.pop("COLUMNS", None)
os.unsetenv("COLUMNS")  # readline sets it where os.environ does not see it, and child processes do

EXAMPLE = Path(__file__).parent / "example"


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` starts: one a GPU, but none where tests would share a single one."""
    return (len(GPUS) if len(GPUS) > 1 else 0) if torch.cuda.is_available() else os.cpu_count() or 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reason = None
    if not torch.cuda.is_available():
        reason = "no CUDA device here"
    elif versions.flavor() is None:
        reason = "no Torch-TensorRT installed"
    for item in items:
        if reason and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("slow") and "slow" not in config.getoption("-m"):
            item.add_marker(pytest.mark.skip(reason="takes long: ask for it by -m slow"))


needs_tensorrt = pytest.mark.skipif(
    versions.flavor() is None, reason="no Torch-TensorRT installed: pip install -e '.[rtx,test]'"
)
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="checks what happens without a CUDA device")


@pytest.fixture(scope="session")
def wheel() -> Iterator[wheels.Wheel]:
    """A wheel's InstalledTorchTensorRT, see `wheels.published`."""
    with wheels.published() as found:
        yield found


def build_group(
    points: list[Point],
    folder: Callable[[Point], Path] | Path,
    on_phase: Callable[[str], None] = lambda phase: None,
    *,
    options: SweepOptions | None = None,
    cache: ProcessCache | None = None,
) -> BuildGroup:
    """Return a group by itself, whose records are written into `folder`, or into `folder(point)`."""
    place = folder if callable(folder) else lambda _: folder
    by_id = {point.id: place(point) for point in points}
    context = GroupContext(
        "sweep",
        options or SweepOptions(),
        on_phase,
        lambda record: store.write(by_id[record.point_id], record) and None,
        cache or ProcessCache(),
        Store(),
    )
    return BuildGroup(points, place, context)


class Done:
    """A finished command: exit code, both streams, and the table of the sweep it ran."""

    def __init__(self, done: subprocess.CompletedProcess[str], folder: Path) -> None:
        self.code, self.out, self.err, self.folder = done.returncode, done.stdout, done.stderr, folder

    @property
    def rows(self) -> pd.DataFrame:
        return table.load(self.folder)

    @property
    def ok_rows(self) -> pd.DataFrame:
        """Return the table of a sweep that has succeeded."""
        assert self.code == 0, self.out + self.err
        return self.rows


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Done]:
    """Run `python -m trt_sweep` with these arguments in an empty folder; the example's models are at hand."""

    def run(*arguments: str, multirun: bool = True, example: bool = True) -> Done:
        folder = tmp_path / "sweep"
        key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
        command = [sys.executable, "-m", "trt_sweep", *(["-m"] if multirun else [])]
        command += ["--config-dir", str(EXAMPLE)] if example else []
        if not any(argument.startswith(key) for argument in arguments):
            command.append(f"{key}={folder}")
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
        )
        return Done(done, folder)

    return run
