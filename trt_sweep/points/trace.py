"""Find where the time of a call goes, in a trace of torch.profiler: engines, operators in PyTorch, gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

CALL, ENGINE = "trt_sweep call", "trt_sweep engine"  # how calls and engines are marked
ON_GPU = ("kernel", "gpu_memcpy", "gpu_memset")
LAUNCHES = ("cuda_runtime", "cuda_driver")
Event = dict[str, Any]


@dataclass
class _Part:
    """What a call does for one engine, or for one operator of PyTorch, each time it comes to it."""

    name: str
    start: float
    end: float
    kernels: list[tuple[float, float]] = field(default_factory=list)


def where_time_goes(events: Iterable[Event]) -> dict[str, Any]:
    """Medians over the marked calls, in ms per call, of what the GPU did and for whom; raises ValueError without calls.

    A kernel belongs to the engine, or else to the outermost operator, within which the host launched it. `busy_ms` is
    the time in which anything ran on the GPU, `span_ms` from the first to the last of it, `idle_ms` the gaps between.
    `parts` are those of `order`: an engine or operator each time that a call comes to it, with the time that the GPU
    waits before its first kernel (`gap_before_ms`) and between its own (`idle_ms`), over the calls that have this
    order. The host's times (`enqueue_ms`), and with them the gaps, are longer than without the profiler.
    """
    complete = [event for event in events if event.get("ph") == "X"]
    calls = sorted(_named(complete, CALL), key=lambda event: float(event["ts"]))
    if not calls:
        raise ValueError("the trace holds no marked call")
    kernels = {event["args"].get("correlation"): event for event in complete if event.get("cat") in ON_GPU}
    found = [_parts(call, complete, kernels) for call in calls]
    spans = [_span([kernel for part in parts for kernel in part.kernels]) for parts in found]
    engines, fallback = _by_name(found, engines=True), _by_name(found, engines=False)
    for row in engines:
        row["engine"] = int(row["name"].rpartition(" ")[2])
    return {
        "calls": len(calls),
        "span_ms": median(span for span, _ in spans),
        "busy_ms": median(busy for _, busy in spans),
        "idle_ms": median(span - busy for span, busy in spans),
        "engines": engines,
        "fallback": fallback,
        "order": [_shown(part.name) for part in found[-1] if part.kernels],
        "parts": _in_order(found),
    }


def _named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.get("cat") == "user_annotation" and event["name"].startswith(name)]


def _parts(call: Event, events: list[Event], kernels: dict[Any, Event]) -> list[_Part]:
    """Return the engines and outermost operators of a call in order, with the kernels that each launched."""
    begin, end, thread = call["ts"], call["ts"] + call["dur"], call["tid"]
    within = [event for event in events if event.get("tid") == thread and begin <= event["ts"] < end]
    marked = [event for event in within if event.get("cat") in ("user_annotation", "cpu_op") and event is not call]
    # The longer of two that begin together is around the other.
    marked.sort(key=lambda event: (event["ts"], -event["dur"]))
    engines = [event["ts"] for event in marked if event["name"].startswith(ENGINE)]
    parts: list[_Part] = []
    for event in marked:
        if not event["name"].startswith(ENGINE):
            around = bisect_left(engines, event["ts"]) < bisect_left(engines, event["ts"] + event["dur"])
            if event["cat"] == "user_annotation" or around:
                continue  # the libraries' own marks; torch.compile's region, which is no operator
        if not parts or event["ts"] >= parts[-1].end:
            parts.append(_Part(event["name"], event["ts"], event["ts"] + event["dur"]))
    starts = [part.start for part in parts]
    other = _Part("other", begin, end)
    for event in within:
        kernel = kernels.get(event.get("args", {}).get("correlation")) if event.get("cat") in LAUNCHES else None
        if kernel is None:
            continue
        index = bisect_right(starts, event["ts"]) - 1
        part = parts[index] if index >= 0 and event["ts"] < parts[index].end else other
        part.kernels.append((kernel["ts"], kernel["ts"] + kernel["dur"]))
    return [*parts, other] if other.kernels else parts


def _span(kernels: list[tuple[float, float]]) -> tuple[float, float]:
    """From the first start to the last end, and the time in which at least one ran, in ms of a trace's µs."""
    if not kernels:
        return 0.0, 0.0
    kernels = sorted(kernels)
    busy, reached = 0.0, kernels[0][0]
    for start, end in kernels:
        busy += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return (reached - kernels[0][0]) / 1e3, busy / 1e3


def _by_name(calls: list[list[_Part]], engines: bool) -> list[dict[str, Any]]:
    """Medians over the calls of each engine, or of all that a call does by one operator, in order of appearance."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for parts in calls:
        rows: dict[str, dict[str, float]] = {}
        for part in parts:
            if part.name.startswith(ENGINE) == engines and part.kernels:
                row = rows.setdefault(part.name, {"gpu_ms": 0.0, "kernels": 0, "enqueue_ms": 0.0})
                row["gpu_ms"] += _span(part.kernels)[1]
                row["kernels"] += len(part.kernels)
                row["enqueue_ms"] += (part.end - part.start) / 1e3
        for name, row in rows.items():
            found[name].append(row)
    return [
        {("name" if engines else "op"): _shown(name)}
        | {key: median(row[key] for row in rows) for key in ("gpu_ms", "kernels", "enqueue_ms")}
        for name, rows in found.items()
    ]


def _in_order(calls: list[list[_Part]]) -> list[dict[str, Any]]:
    """Medians of each part of the last call, over the calls of the same parts."""
    working = [[part for part in parts if part.kernels] for parts in calls]
    names = [part.name for part in working[-1]]
    rows = [_alone(parts) for parts in working if [part.name for part in parts] == names]
    return [
        {"name": _shown(name)} | {key: median(row[key] for row in same) for key in same[0]}
        for name, same in zip(names, zip(*rows, strict=True), strict=True)
    ]


def _alone(parts: list[_Part]) -> list[dict[str, float]]:
    """Each part of one call; all gaps together are the call's idle time, as a gap is of the part that ends it."""
    rows = [
        {
            "gpu_ms": _span(part.kernels)[1],
            "kernels": len(part.kernels),
            "enqueue_ms": (part.end - part.start) / 1e3,
            "gap_before_ms": 0.0,
            "idle_ms": 0.0,
        }
        for part in parts
    ]
    timeline = sorted((start, end, number) for number, part in enumerate(parts) for start, end in part.kernels)
    reached, last = (timeline[0][0], timeline[0][2]) if timeline else (0.0, 0)
    for start, end, number in timeline:
        rows[number]["idle_ms" if number == last else "gap_before_ms"] += max(start - reached, 0.0) / 1e3
        reached, last = max(reached, end), number
    return rows


def _shown(name: str) -> str:
    return name.removeprefix("trt_sweep ")
