"""Write a comparison in words, as a table, Markdown, JSON and JUnit XML. Names and reasons are untrusted text."""

from __future__ import annotations

import html
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

from rich import box
from rich.table import Table
from rich.text import Text

from trt_sweep.analysis.compare.compare import ALARMS, FAILING, FINE, NOT_APART, REGRESSED, Comparison, Judged
from trt_sweep.analysis.compare.matching import known
from trt_sweep.analysis.compare.times import Times
from trt_sweep.errors import printable
from trt_sweep.results.stats.visits import LEVEL

SHOWN = {"code_id": "trt_sweep's code", "engine_id": "engine", "partition_id": "partition", "python": "Python"}
OUTCOMES = {0: "no alarm", 1: "alarm", 2: "not comparable"}


def words(comparison: Comparison) -> list[str]:
    """Return the verdict, then what led to it, one sentence each."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    found = [f"{OUTCOMES[comparison.exit_code]}: {counts or 'nothing was compared'}"]
    found += _machine(comparison)
    found += [f"{point.label}: {sentence(point)}" for point in comparison.points if point.verdict in ALARMS]
    found += [f"{point.label}: {sentence(point)}" for point in comparison.points if point.verdict == "improved"]
    found += comparison.problems
    if comparison.common:
        found.append(f"changed for every point: {describe(comparison.common)}")
    blind = [point for point in comparison.points if point.blind]
    if blind and not comparison.problems:
        most = max(blind, key=_moved)
        move = f" ({most.times[0].ratio:.3f} times as long)" if most.times else ""
        found.append(
            f"{len(blind)} of {len(comparison.points)} points could not have shown a change of "
            f"{comparison.min_effect:.0%}; of these {most.label} moved most{move}: {most.blind}"
        )
    calls = [item for point in comparison.points for item in point.times if item.clock == "latency_ms"]
    if calls and not any(math.isfinite(item.high) for item in calls):
        found.append("latency is shown, and not judged: that takes three or more earlier nights, by --history")
    return [clean(line) for line in found + comparison.notes]


def _machine(comparison: Comparison) -> list[str]:
    """Say by how much the GPU's work of all points changed, where that is more than chance."""
    if comparison.machine is None or not comparison.machine.side():
        return []
    value, low, high = map(math.expm1, (comparison.machine.value, *comparison.machine.interval()))
    how = "slower" if value > 0 else "faster"
    said = f"the points are {abs(value):.1%} {how} alike [{low:+.1%}, {high:+.1%}] by gpu_ms, the GPU's own work"
    if abs(comparison.machine.value) < math.log1p(comparison.min_effect):
        return [f"{said}: that is taken for the machine's, and out of the ratios below"]
    return [f"{said}: by more than --min-effect, so it stays in the ratios below"]


def _moved(point: Judged) -> float:
    return abs(math.log(point.times[0].ratio)) if point.times else 0.0


def sentence(point: Judged) -> str:
    """Say what became of a point, with the numbers behind it."""
    parts = [point.verdict]
    if point.verdict == FAILING and point.new is not None:
        parts.append(f"{point.new['status']} in {point.new['phase']}: {point.new['reason']}")
    parts += [_time(item) for item in point.times]
    if point.changed:
        parts.append(f"changed: {describe(point.changed)}")
    return clean("; ".join(parts))


def _time(item: Times) -> str:
    method = f" ({item.method})" if item.method else ""
    proved = "" if item.side or item.within else ", not proved"
    return f"{item.clock}{method} {item.old_ms:.4g} to {item.new_ms:.4g} ms, {_ratio(item)}{proved}"


def _ratio(item: Times) -> str:
    interval = f" [{item.low:.3f}, {item.high:.3f}]" if math.isfinite(item.high) else ""
    return f"{item.ratio:.3f}×{interval}"


def describe(changed: dict[str, tuple[object, object]]) -> str:
    """Say what is different, with both values."""
    shown = []
    for name, (old, new) in changed.items():
        if name.endswith("_id"):
            shown.append(f"{SHOWN[name]} ({str(old)[:6]} to {str(new)[:6]})")
        elif name.endswith("_bytes"):
            shown.append(f"{name} {old / 2**20:.4g} to {new / 2**20:.4g} MiB")  # type: ignore[operator]
        elif isinstance(old, float) and isinstance(new, float):
            shown.append(f"{name} {old:.3g} to {new:.3g}")
        else:
            shown.append(f"{SHOWN.get(name, name)} {old} to {new}")
    return ", ".join(shown)


def clean(text: str) -> str:
    """Return text on one line, without what a terminal or a parser would take for more than text."""
    return printable(" ".join(text.split()))


def cells(comparison: Comparison) -> list[dict[str, str]]:
    """Return the table: one row a point, the gravest first; clocks that none has are left out."""
    rows = []
    clocks = list(dict.fromkeys(item.clock for point in comparison.points for item in point.times))
    for point in comparison.points:
        row = {"point": point.label, "verdict": point.verdict}
        by_clock = {item.clock: item for item in point.times}
        for clock in sorted(clocks):
            item, name = by_clock.get(clock), clock.removesuffix("_ms")
            row[f"{name} ms"] = f"{item.old_ms:.4g} → {item.new_ms:.4g}" if item else "–"
            # The interval is of this time alone, the proof of all questions of the night.
            unproved = ", not proved" if item and item.beyond and not item.side else ""
            row[f"{name} × [95 %]"] = _ratio(item) + unproved if item else "–"
        row["build s"] = _both(point, "build_s", ".1f")
        row["rel. error"] = _both(point, "rel_l2_error", ".1e")
        row["changed"] = describe(point.changed) or "–"
        rows.append({name: clean(value) for name, value in row.items()})
    for name in ("build s", "rel. error", "changed"):
        if all(row[name] == "–" for row in rows):
            for row in rows:
                del row[name]
    return rows


def _both(point: Judged, column: str, spec: str) -> str:
    values = [row[column] for row in (point.old, point.new) if row is not None and known(row[column])]
    return " → ".join(dict.fromkeys(format(value, spec) for value in values)) or "–"


def render(comparison: Comparison) -> Table:
    """Return the table for a terminal."""
    rows = cells(comparison)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ():
        shown.add_column(name, justify="left" if name in ("point", "verdict", "changed") else "right")
    for row in rows:
        shown.add_row(*map(Text, row.values()))
    return shown


def markdown(comparison: Comparison) -> str:
    """Return the table as Markdown for a pull request or a job's summary."""
    first, *rest = (_escaped(line) for line in words(comparison))
    rows = [{name: _escaped(value) for name, value in row.items()} for row in cells(comparison)]
    lines = [f"**{first}**", "", *(f"- {line}" for line in rest), ""]
    if rows:
        lines += [" | ".join(["", *rows[0], ""]).strip(), "|---" * len(rows[0]) + "|"]
        lines += [" | ".join(["", *row.values(), ""]).strip() for row in rows]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", html.escape(text, quote=False))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as data; what is not known is null."""
    return {
        "exit_code": comparison.exit_code,
        "counts": comparison.counts,
        "min_effect": comparison.min_effect,
        "level": LEVEL,
        "machine": comparison.machine and math.exp(comparison.machine.value),
        "changed": comparison.common,
        "problems": comparison.problems,
        "notes": comparison.notes,
        "words": words(comparison),
        "points": [
            {
                "label": point.label,
                "verdict": point.verdict,
                "blind": point.blind,
                "point_id_old": point.old and point.old["point_id"],
                "point_id_new": point.new and point.new["point_id"],
                "status_old": point.old and point.old["status"],
                "status_new": point.new and point.new["status"],
                "reason": _number(point.row["reason"]),
                "changed": point.changed,
                "build_s": [_number(row and row["build_s"]) for row in (point.old, point.new)],
                "rel_l2_error": [_number(row and row["rel_l2_error"]) for row in (point.old, point.new)],
                "times": [{name: _number(value) for name, value in vars(item).items()} for item in point.times],
            }
            for point in comparison.points
        ],
    }


def _number(value: Any) -> Any:
    return None if not known(value) or (isinstance(value, float) and not math.isfinite(value)) else value


def junit(comparison: Comparison) -> str:
    """Return JUnit XML: one test case a point, failed where it is an alarm, skipped where nothing could be told.

    What stands in the way of the whole comparison is an error of its own case, so that CI does not take it for success.
    """
    cases = [_case(point) for point in comparison.points]
    if comparison.exit_code not in (FINE, 1):
        case = ET.Element("testcase", classname="trt_sweep_compare", name="comparable", time="0")
        ET.SubElement(case, "error", message=clean("; ".join(comparison.problems)))
        cases.insert(0, case)
    counted = {"tests": str(len(cases))}
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        counted[name] = str(sum(case.find(tag) is not None for case in cases))
    root = ET.Element("testsuites", {"name": "trt_sweep_compare"} | counted)
    suite = ET.SubElement(root, "testsuite", {"name": "trt_sweep_compare", "time": "0"} | counted)
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = "\n".join(words(comparison))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(point: Judged) -> ET.Element:
    model, name = clean(str(point.row["model"])), clean(point.label)
    case = ET.Element("testcase", classname=f"trt_sweep_compare.{model}", name=name, time="0")
    if point.verdict in ALARMS:
        kind = "slower" if point.verdict == REGRESSED else "failing"
        ET.SubElement(case, "failure", type=kind, message=point.verdict).text = sentence(point)
    elif point.verdict == NOT_APART or point.new is None or not point.times:
        ET.SubElement(case, "skipped", message=clean(point.blind or point.verdict))
    ET.SubElement(case, "system-out").text = sentence(point)
    return case
