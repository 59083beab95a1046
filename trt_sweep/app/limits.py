"""Read what a race is for, from the command line or from Python: its objective, its limits and its budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trt_sweep.app.arguments import UsageError, share
from trt_sweep.app.units import seconds, size
from trt_sweep.errors import not_allowed
from trt_sweep.results.axes import PER_ITEM
from trt_sweep.results.limits import Limit
from trt_sweep.results.race import OBJECTIVES, VISITED, Goal


def _percentile(name: str, given: Any) -> float:
    """Return a percentile; raise UsageError for what is none."""
    try:
        value = float(given)
    except (TypeError, ValueError):  # a list, from Python
        value = math.nan
    if not 50 <= value <= 99.9:
        raise UsageError(not_allowed(name, given, "a number from 50 to 99.9"))
    return value


def goal(
    objective: str = "latency",
    *,
    max_latency: Any = None,
    percentile: Any = None,
    max_error: Any = None,
    max_memory: Any = None,
    max_build: Any = None,
    delta: Any = 0.02,
    budget: Any = None,
    dashes: bool = True,
) -> tuple[Goal, float | None]:
    """Return what a race is for, and its budget in seconds.

    Names are said as on the command line, or where there are no `dashes` as in Python. Raises UsageError for what is
    not allowed, and for limits that contradict each other.
    """

    def name(text: str) -> str:
        return f"--{text.replace('_', '-')}" if dashes else text

    if objective not in OBJECTIVES:
        raise UsageError(not_allowed(name("objective"), objective, f"one of {', '.join(OBJECTIVES)}"))
    found = []
    if max_latency is not None:
        calls = None if percentile is None else _percentile(name("percentile"), percentile)
        milliseconds = 1e3 * seconds(name("max_latency"), max_latency)
        found.append(Limit(name("max_latency"), "latency_ms", milliseconds, "ms", calls))
    elif percentile is not None:
        raise UsageError(f"{name('percentile')}={percentile} limits nothing: it goes with {name('max_latency')}")
    if max_error is not None:
        found.append(Limit(name("max_error"), "rel_l2_error", share(name("max_error"), str(max_error))))
    if max_memory is not None:
        found.append(Limit(name("max_memory"), "peak_gpu_bytes", size(name("max_memory"), max_memory), "B"))
    if max_build is not None:
        found.append(Limit(name("max_build"), "build_s", seconds(name("max_build"), max_build), "s"))
    budget_s = None if budget is None else seconds(name("budget"), budget)
    if budget_s is not None and max_build is not None and found[-1].most >= budget_s:
        raise UsageError(
            f"{name('max_build')}={max_build} and {name('budget')}={budget} contradict each other: a single build may "
            "take all of the budget; allow less, or give a longer budget"
        )
    return Goal(objective, tuple(found), share(name("delta"), str(delta))), budget_s


def has_gpu(device: str) -> bool:
    """Return whether this device is a GPU, as far as a glance tells."""
    from trt_sweep.machine import free_gpu

    return device.startswith("cuda") or (device == "auto" and bool(free_gpu.visible_gpus()))


def require_gpu(wanted: Goal, gpu: bool) -> None:
    """Raise UsageError for what only a GPU can tell, where there is none."""
    if gpu:
        return
    if wanted.objective not in VISITED:
        raise UsageError(f"objective={wanted.objective} cannot be judged on a CPU: use one of {', '.join(VISITED)}")
    for limit in wanted.limits:
        if limit.column == "peak_gpu_bytes":
            raise UsageError(f"{limit.flag} cannot be judged on a CPU: leave it out")


def require_comparable(tried: Mapping[str, list[str]], wanted: Goal) -> None:
    """Raise UsageError where several batch sizes, or numbers of streams, are raced by what is no figure per item.

    Likewise where some calls are to copy what others need not.
    """
    if len(tried.get("transfers", [])) > 1:
        raise UsageError("transfers has several values: these are different work; give the one that you will pay for")
    for name in PER_ITEM:
        if len(tried.get(name, [])) > 1 and wanted.objective != "throughput":
            raise UsageError(f"{name} has several values: these are compared by objective=throughput only")
