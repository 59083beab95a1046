"""The table of verbs: `trt-sweep VERB …`, each a module of this package with a `main`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

from trt_sweep.app.arguments import UsageError


class Verb(NamedTuple):
    """A verb, what it does, and how it is called."""

    name: str
    meaning: str
    example: str


VERBS = (
    Verb("tune", "find the best settings within limits and a budget", "tune model=resnet50 --max-error 0.01"),
    Verb("report", "write a report: what to set, and what each setting did", "report outputs --out report"),
    Verb("table", "print the table of one or several sweeps", "table outputs"),
    Verb("compare", "compare a sweep with an earlier run of it, point by point", "compare OLD NEW --out compare"),
    Verb("history", "find when times shifted, over many runs of one sweep", "history nights --out nights"),
    Verb("layers", "show the layers inside the engines of a point", "layers SWEEP/points/POINT_ID"),
    Verb("partition", "tell what would go into engines, without building", "partition model=googlenet"),
    Verb("sensitivity", "find what a low precision damages, layer by layer", "sensitivity precision=fp16"),
    Verb("export", "save a point to deploy, with a loader", "export SWEEP/points/POINT_ID --out model"),
    Verb("pack", "copy sweeps into two files each, to keep", "pack outputs --out kept"),
    Verb("bench", "measure trt_sweep itself: how well it times, what it costs", "bench timing"),
)


def is_verb(arguments: list[str]) -> bool:
    """Return whether the first argument is a word, and so no option or override of Hydra's."""
    return bool(arguments) and not arguments[0].startswith(("-", "~")) and "=" not in arguments[0]


def call(name: str, arguments: list[str]) -> int:
    """Run a verb, whose module is imported only now; raise UsageError for a word that is none."""
    names = [verb.name for verb in VERBS]
    if name not in names:
        near = get_close_matches(name, names, 2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names)}."
        raise UsageError(f"{name or repr(name)} is not a verb: {hint} A setting is written NAME=VALUE; see --help")
    return int(import_module(f"trt_sweep.app.{name}").main(arguments))
