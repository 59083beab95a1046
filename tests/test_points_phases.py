"""The table of phases: it knows each phase that the code enters, and each limit that a user may set."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from trt_sweep.config.groups import LimitsConfig
from trt_sweep.config.options import FAILURES
from trt_sweep.points import phases
from trt_sweep.points.phases import PHASES

PACKAGE = Path(phases.__file__).parents[1]


def entered() -> set[str]:
    """Return the phases that the code names where it enters one."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                if name in ("phase", "enter", "_enter") and node.args and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
    return {name for name in found if isinstance(name, str)}


def test_every_phase_that_is_entered_is_in_the_table():
    assert {"export", "build", "timing"} <= entered() <= PHASES.keys()


def test_every_limit_belongs_to_a_phase():
    limits = {item.name for item in dataclasses.fields(LimitsConfig)}
    assert {phase.limit for phase in PHASES.values() if phase.limit} == limits - {"total_s"}


def test_a_point_that_ends_in_a_phase_has_a_status_that_can_be_retried():
    assert {phase.status for phase in PHASES.values() if phase.status} <= set(FAILURES)


@pytest.mark.parametrize(
    ("phase", "limit", "quiet"),
    [
        ("timing", "timing_s", True),
        ("export", "export_s", False),
        ("waiting for another sweep", None, False),
        (None, None, False),
    ],
)
def test_what_is_asked_of_the_table(phase, limit, quiet):
    assert phases.limit(phase) == limit and phases.quiet(phase or "") is quiet
