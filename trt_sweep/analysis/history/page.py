"""Write the page of trends: one HTML file that needs nothing else. Names and folders are untrusted text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from trt_sweep.analysis.compare import matching
from trt_sweep.analysis.compare.nights import Night
from trt_sweep.analysis.compare.output import clean, describe
from trt_sweep.analysis.history.history import ALONE, FEWEST, Series, Shift, Value

WIDTH, HEIGHT, MARGIN = 720, 180, 30  # of a chart, in its own units
WIDEST = 50.0  # of a bar, as a logarithm
STYLE = """
:root { color-scheme: light dark; --line: #0b62a8; --shift: #b3430b; --faint: #777 }
@media (prefers-color-scheme: dark) { :root { --line: #6fb6f2; --shift: #f59a5b; --faint: #999 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; margin: 2rem 0 0 }
svg { width: 100%; height: auto } text { fill: currentColor; font-size: 13px }
@media (max-width: 40rem) { text { font-size: 24px } }
circle { fill: var(--line) } circle.left-out { fill: none; stroke: var(--faint) }
.spread { stroke: var(--line); opacity: .5 } .level { stroke: var(--line); stroke-width: 2 }
.shift { stroke: var(--shift); stroke-dasharray: 4 3 } .faint { color: var(--faint) }
"""


def words(series: Sequence[Series], nights: Sequence[Night], notes: Sequence[str] = ()) -> list[str]:
    """Say what was found, one sentence each, and then the notes."""
    count = sum(len(each.shifts) for each in series)
    found = [f"{count} level shift{'s' * (count != 1)} in {len(nights)} nights, {len(series)} series"]
    if len(nights) < FEWEST:
        found.append(f"{len(nights)} nights cannot show a shift, which takes {FEWEST}; compare tells two nights apart")
    machines = {machine for night in nights for machine in matching.machines_of(night.rows)}
    if len(machines) > 1:
        found.append(f"nights of {len(machines)} machines stand in one series: a level may be that of a machine")
    for each in series:
        name = each.label + f", {_clock(each)}"
        found += [f"{name}: {_sentence(shift, nights)}" for shift in each.shifts]
        last = each.values[-1]
        if last.left_out == ALONE:
            level = f", {each.levels[-1][-1].ms:.4g} ms the night before" if any(each.levels) else ""
            found.append(
                f"{name}: {last.ms:.4g} ms in the last night stands alone{level}; compare tells what is proved"
            )
    return [clean(line) for line in [*found, *notes]]


def _clock(series: Series) -> str:
    return f"{series.clock} ({series.method})" if series.method else series.clock


def _sentence(shift: Shift, nights: Sequence[Night]) -> str:
    changed = describe(shift.changed) or "nothing that the records know"
    interval = f"[{shift.low:.3f}, {shift.high:.3f}]"
    return (
        f"{shift.before_ms:.4g} to {shift.after_ms:.4g} ms, {shift.ratio:.3f}× {interval}, from "
        f"{nights[shift.night].created[:16]} on ({nights[shift.night].folder}); changed that night: {changed}"
    )


def html(series: Sequence[Series], nights: Sequence[Night], notes: Sequence[str] = ()) -> str:
    """Return the page: what was found in words, then a chart for each series, those with shifts first."""
    first, *rest = (escape(line) for line in words(series, nights, notes))
    charts = [
        f"<h2>{escape(clean(each.label))}, {escape(_clock(each))}</h2>\n{_chart(each, nights)}" for each in series
    ]
    items = "\n".join(f"<li>{line}</li>" for line in rest)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>trt_sweep: {len(nights)} nights</title>\n<style>{STYLE}</style>\n<h1>{first}</h1>\n"
        f"<ul>\n{items}\n</ul>\n"
        '<p class="faint">A point is a night, its bar where another run is expected (95 %). A hollow one is left out: '
        "not healthy, or alone. Lines are levels; a dashed one marks a shift.</p>\n" + "\n".join(charts) + "\n</html>\n"
    )


def _chart(series: Series, nights: Sequence[Night]) -> str:
    bars = [(value, math.exp(min(1.96 * value.spread, WIDEST))) for value in series.values]
    low, high = min(value.ms / reach for value, reach in bars), max(value.ms * reach for value, reach in bars)

    def x(night: float) -> str:
        return f"{MARGIN + night * (WIDTH - 2 * MARGIN) / max(len(nights) - 1, 1):.1f}"

    def y(ms: float) -> str:
        share = math.log(high / ms) / (math.log(high / low) or 1.0)
        return f"{MARGIN + share * (HEIGHT - 2 * MARGIN):.1f}"

    parts = []
    for value, reach in bars:
        ends = f'y1="{y(value.ms / reach)}" y2="{y(value.ms * reach)}"'
        parts.append(f'<line class="spread" x1="{x(value.night)}" x2="{x(value.night)}" {ends}/>')
        left_out = ' class="left-out"' if value.left_out else ""
        title = f"<title>{escape(_title(value, nights))}</title>"
        parts.append(f'<circle{left_out} cx="{x(value.night)}" cy="{y(value.ms)}" r="4">{title}</circle>')
    for level in series.levels:
        if level:
            middle = y(math.exp(sum(math.log(value.ms) for value in level) / len(level)))
            ends = f'x1="{x(level[0].night)}" x2="{x(level[-1].night)}"'
            parts.append(f'<line class="level" {ends} y1="{middle}" y2="{middle}"/>')
    for shift in series.shifts:
        place = x(shift.night - 0.5)
        parts.append(f'<line class="shift" x1="{place}" x2="{place}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}"/>')
    parts.append(f'<text x="{MARGIN}" y="{MARGIN - 6}">{high:.4g} ms</text>')
    parts.append(f'<text x="{MARGIN}" y="{HEIGHT - 6}">{low:.4g} ms, {escape(nights[0].created[:10])}</text>')
    last = escape(nights[-1].created[:10])
    parts.append(f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 6}" text-anchor="end">{last}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n' + "\n".join(parts) + "\n</svg>"


def _title(value: Value, nights: Sequence[Night]) -> str:
    left_out = f", left out: {value.left_out}" if value.left_out else ""
    return clean(f"{nights[value.night].created[:16]}: {value.ms:.4g} ms{left_out}")
