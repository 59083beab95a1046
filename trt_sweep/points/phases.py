"""The phases of a point: which limit each counts against, what a point that ends in it is called, who must be quiet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """One phase.

    `limit` is the field of `LimitsConfig` that its seconds count against, beside the total. `status` is that of a point
    that ends in it. While a `quiet` phase lasts nothing else of the sweep may run on the machine.
    """

    name: str
    limit: str | None = None
    status: str | None = None
    quiet: bool = False


# In the order in which a point goes through them.
PHASES = {
    phase.name: phase
    for phase in (
        Phase("model", status="build_failed"),
        Phase("reference", status="run_failed"),
        Phase("quantization", "build_s", "build_failed"),
        Phase("export", "export_s", "build_failed"),
        Phase("partition", "export_s", "build_failed"),
        Phase("build", "build_s", "build_failed"),
        Phase("accuracy", status="run_failed", quiet=True),
        Phase("warmup", "timing_s", "run_failed", quiet=True),
        Phase("timing", "timing_s", "run_failed", quiet=True),
        Phase("profile", "timing_s", quiet=True),
        Phase("record"),
    )
}
RECORDING = "record"  # a record is on its way
START, HARNESS = "start", "harness"  # of the sweep: a process comes up; all that belongs to no phase
WAITING = "waiting"  # how the name of a phase begins that is no work of the point


def limit(phase: str | None) -> str | None:
    """Return the name of the limit that a phase counts against, None where there is none but the total."""
    return PHASES[phase].limit if phase in PHASES else None


def quiet(phase: str) -> bool:
    """Return whether nothing else of the sweep may run on the machine meanwhile."""
    return phase in PHASES and PHASES[phase].quiet
