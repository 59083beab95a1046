"""Run the same sweep night after night, each in a process of its own, with a model made slower if asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from trt_sweep.errors import SweepError
from trt_sweep.machine import versions

MODELS = 6
BLOCKS = 33  # in each model, so that one more adds 3 % of work
SLOWER = "slower.json"
# On a shared CPU threads wait for each other and for other processes, and a warm-up never settles.
ON_CPU = {"OMP_NUM_THREADS": "1"}, ["measure.max_s=1", "measure.warmup_max_s=1"]
MODULE = f'''
import json
from pathlib import Path

import torch

SLOWER = Path(__file__).with_name("{SLOWER}")  # blocks to add, by model: no part of a point's identity


class Block(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.work = torch.nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + 0.1 * torch.relu(self.work(x))


class Tower(torch.nn.Module):
    def __init__(self, name, channels):
        super().__init__()
        more = json.loads(SLOWER.read_text()).get(name, 0)
        self.blocks = torch.nn.Sequential(*(Block(channels) for _ in range({BLOCKS} + more)))

    def forward(self, x):
        return self.blocks(x)
'''


class Nights:
    """Run the same sweep of six models as often as asked for, each time into a folder below `folder`.

    On a GPU each model is run by one backend, and by eager in two precisions. Raises SweepError where a sweep fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._config = folder, folder / "conf"
        on_gpu = torch.cuda.is_available()
        backends = "jit" if not on_gpu else "dynamo" if versions.flavor() else "inductor"
        self._axes = [f"backend={backends}", f"precision={'fp16' if on_gpu else 'fp32'}"]
        more, settings = ({}, []) if on_gpu else ON_CPU
        self._axes += settings
        self._environment = os.environ | more
        size = 56 if on_gpu else 12
        (self._config / "model").mkdir(parents=True, exist_ok=True)
        (self._config / "towers.py").write_text(MODULE)
        self.models = [f"tower{number}" for number in range(MODELS)]
        self.slowed = self.models[MODELS // 2]
        for number, name in enumerate(self.models):
            channels = 8 * (number + 1) * (4 if on_gpu else 1)
            factory = f"factory: {{_target_: towers.Tower, name: {name}, channels: {channels}}}"
            inputs = f"inputs: [{{shape: [{channels}, {size}, {size}]}}]"
            (self._config / "model" / f"{name}.yaml").write_text(f"name: {name}\n{factory}\n{inputs}\n")

    def run(self, name: str, slower: dict[str, float] | None = None) -> Path:
        """Run one sweep into the folder `name`; `slower` gives the share of work that is added, by model."""
        more = {model: round(share * BLOCKS) for model, share in (slower or {}).items()}
        (self._config / SLOWER).write_text(json.dumps(more))
        place = self.folder / name
        command = [sys.executable, "-m", "trt_sweep", "--config-dir", str(self._config), "-m", *self._axes]
        command += [f"model={','.join(self.models)}", f"hydra.sweep.dir={place}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)
        if done.returncode:
            raise SweepError(f"the sweep in {place} failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        return place
