"""Define models that end, block or starve their process, each in its own way; the tests sweep over them."""

import ctypes
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar

import torch


class Exits(torch.nn.Module):
    """End the process without a word."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os._exit(3)


class Tells(torch.nn.Module):
    """Raise an error that tells the folder and a variable of the environment."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"TOLD={os.environ.get('TOLD')} in {Path.cwd()}")


class Segfaults(torch.nn.Module):
    """Read from address 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ctypes.string_at(0)
        return x


class Killed(torch.nn.Module):
    """Kill the process, as the kernel does where memory runs out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x


class Hangs(torch.nn.Module):
    """Sleep in native code and hold the interpreter's lock, so that no Python thread runs either."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ctypes.PyDLL(None).pause()
        return x


class HangsBeside(torch.nn.Module):
    """Never return from a call that is made while another thread calls."""

    calling = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        HangsBeside.calling += 1
        time.sleep(0.02 if HangsBeside.calling == 1 else 600)
        HangsBeside.calling -= 1
        return x * 2


class Devours(torch.nn.Module):
    """Ask for a petabyte."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.empty(2**48).sum()


class Forks(torch.nn.Module):
    """Leave a process behind, and a copy of its own process that returns from the call as well."""

    done = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not Forks.done:
            Forks.done = True
            if os.fork() == 0 and os.fork() == 0:
                time.sleep(600)
        return x * 2


class LateExit(torch.nn.Module):
    """End the process in a second round: at the first call after another size or model, once a size was timed."""

    latest: ClassVar[tuple[torch.nn.Module, int] | None] = None  # what was called last in this process

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[int] = Counter()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The first visit makes more calls than that, and no others come between them.
        if self.calls[len(x)] > 100 and LateExit.latest != (self, len(x)):
            os._exit(4)
        self.calls[len(x)] += 1
        LateExit.latest = self, len(x)
        return x * 2


class Patient(torch.nn.Module):
    """Take 20 ms for each call, so that a test can reach the sweep while it works."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        LateExit.latest = None
        time.sleep(0.02)
        return x * 2


class Gluttons(torch.nn.Module):
    """Take memory as long as there is any."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        held = []
        while True:
            held.append(torch.empty(2**28))


class TakesAll(torch.nn.Module):
    """Ask for more memory than any GPU has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.empty(2**40, device=x.device).sum()


class Oversteps(torch.nn.Module):
    """Read beyond the end of a tensor, which leaves a GPU's context unusable."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        beyond = torch.full((8,), 2**40, dtype=torch.int64, device=x.device)
        return x.flatten()[beyond].reshape(1, 8) + x


class Waits(torch.nn.Module):
    """Keep the GPU busy for a minute and more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(60):
            torch.cuda._sleep(2_000_000_000)
        return x + x.sum().item()
