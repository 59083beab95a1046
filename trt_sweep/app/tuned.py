"""Tune a module that is in memory, from Python: `trt_sweep.tune`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from trt_sweep.app import limits, notebook, overrides, tuner
from trt_sweep.app.arguments import count
from trt_sweep.app.tuner import Result


def tune(
    model: torch.nn.Module,
    inputs: Any = (),
    axes: Mapping[str, Iterable[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    objective: str = "latency",
    max_latency: str | None = None,
    percentile: float | None = None,
    max_error: float | None = None,
    max_memory: str | None = None,
    max_build: str | None = None,
    budget: str | None = "10m",
    delta: float = 0.02,
    seed: int = 0,
) -> Result:
    """Race settings for a module against each other, and return what to use.

    `model`, `inputs`, `kwargs` and `folder` are as for `trt_sweep.run`. `axes` has values to try instead of those that
    tune would try, `settings` fix an axis, or set what is not tried. The batch size is that of the inputs unless it is
    an axis, or `settings` have `{"batch_size": "search"}`, which goes with `objective="throughput"`. Limits and the
    budget are as on the command line:

        found = trt_sweep.tune(net, x, budget="5m", max_error=0.01)
        net = found.compile()

    The result has `settings`, `lines` (the answer in three), `table`, `report` (a page), `code` to paste, and
    `compile()`. Points run in this process, so that a build that has begun is not ended when the budget is spent.
    Raises SweepError where nothing keeps the limits, and for what can be known to be wrong before.
    """
    began = time.monotonic()
    wanted, budget_s = limits.goal(
        objective,
        max_latency=max_latency,
        percentile=percentile,
        max_error=max_error,
        max_memory=max_memory,
        max_build=max_build,
        delta=delta,
        budget=budget,
        dashes=False,
    )
    seed = count("seed", str(seed), least=0)
    swept, fixed = notebook.checked(axes, settings)
    gpu = torch.cuda.is_available() and fixed["device"] != "cpu"
    limits.require_gpu(wanted, gpu)
    listed: dict[str, list[str]] = {}
    given = {*fixed, *swept}
    sizes = tuner.searches_batch(fixed, swept, objective, unasked=False)
    for name, values in swept.items():
        for value in values:
            key, _, text = overrides.written(name, value).partition("=")
            plain = isinstance(value, str) and re.fullmatch(r"[\w.-]+", value)
            listed.setdefault(key, []).append(value if plain else text)
    tried = tuner.axes({name: str(value) for name, value in fixed.items()}, listed, gpu=gpu)
    limits.require_comparable(tried, wanted)
    return tuner.run(
        notebook.configuring(model, inputs, kwargs, fixed),
        tried,
        wanted,
        notebook.new_folder(folder),
        budget_s=budget_s,
        given=given,
        sizes=sizes,
        began=began,
        seed=seed,
    )
