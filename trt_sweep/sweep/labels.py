"""TODO."""

from __future__ import annotations

from trt_sweep.results.record import Record


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _outcome(record: Record) -> str:
    if record.latency_ms is not None:
        interval = f"[{record.latency_ms_ci_low:.4g}, {record.latency_ms_ci_high:.4g}]"
        return f"{record.status}  {record.latency_ms:.4g} ms {interval}"
    if record.status == "dryrun" and record.engines is None:
        return "dryrun"
    if record.status == "dryrun":
        operators = f"{record.ops_supported}/{record.ops_total} operators"
        return f"dryrun  {operators} in {_count(record.engines or 0, 'engine')} {record.engine_ops}"
    return f"{record.status}  {record.reason}"
