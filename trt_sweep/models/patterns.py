"""Find the modules of a model that patterns name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch

from trt_sweep.errors import SweepError
from trt_sweep.models.arguments import Structured


def prefix(module: torch.nn.Module) -> str:
    """Return what stands before the names that the user knows: a model with nested inputs is wrapped."""
    return "module." if isinstance(module, Structured) else ""


def names(module: torch.nn.Module) -> list[str]:
    """Return the names of all modules inside, as the user knows them."""
    start = prefix(module)
    return [name.removeprefix(start) for name, _ in module.named_modules() if name and f"{name}." != start]


def matching(module: torch.nn.Module, patterns: Iterable[str], setting: str) -> list[str]:
    """Return the names of the modules that match a pattern of this setting, in the model's order.

    Raises SweepError for a pattern that matches nothing.
    """
    start = prefix(module)
    known = [name for name, _ in module.named_modules() if name]
    found: set[str] = set()
    for pattern in patterns:
        matched = [name for name in known if fnmatchcase(name.removeprefix(start), pattern)]
        if not matched:
            raise no_match(module, setting, pattern)
        found.update(matched)
    return [name for name in known if name in found]


def within(module: torch.nn.Module, patterns: Iterable[str], setting: str) -> set[str]:
    """Return these names, and those of the modules inside; raise what `matching` raises."""
    outer = matching(module, patterns, setting)
    return {name for name, _ in module.named_modules() for one in outer if name == one or name.startswith(f"{one}.")}


def no_match(module: torch.nn.Module, setting: str, pattern: str) -> SweepError:
    """Return the error for a pattern of a setting that matches no module: it gives the nearest names."""
    known = names(module)
    near = get_close_matches(pattern, known, 3, 0.3) or known[:3]
    return SweepError(f"{setting}={pattern} matches no module: there are {', '.join(near)} and others")
