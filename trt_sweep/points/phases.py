"""TODO."""

from __future__ import annotations

import errno

# While these last nothing else of ours runs on the machine.
QUIET = ("accuracy", "warmup", "timing", "profile")


# Which limit a phase counts against; all count against the total.
LIMITED = {
    "export": "export_s",
    "partition": "export_s",
    "quantization": "build_s",
    "build": "build_s",
    "warmup": "timing_s",
    "timing": "timing_s",
    "profile": "timing_s",
}


WAITING = "waiting"  # how a phase begins that is no work of the point


# A point is not to blame for these, and its row would not find room either.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


# The phases of a point in their order, and the status of a row whose point ends in them.
PHASES = {
    "model": "build_failed",
    "reference": "run_failed",
    "quantization": "build_failed",
    "export": "build_failed",
    "partition": "build_failed",
    "build": "build_failed",
    "accuracy": "run_failed",
    "warmup": "run_failed",
    "timing": "run_failed",
}


START, RECORDING, HARNESS = "start", "record", "harness"  # a process comes up; a row is written; all else
