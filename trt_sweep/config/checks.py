"""Refuse values that are not allowed, each in one line that says what is."""

from __future__ import annotations

from typing import Any

from trt_sweep.errors import require

Range = tuple[int, int, int]  # min, opt, max of a dynamic dimension


def require_choice(name: str, value: object, choices: tuple[str, ...], optional: bool = False) -> None:
    """Raise SweepError where a setting is none of these; null is the library's default where it is `optional`."""
    ok = value in choices or (optional and value is None)
    require(ok, name, value, "one of " + ", ".join(choices) + (", or null for the library's default" * optional))


def require_target(name: str, value: dict[str, Any]) -> None:
    """Raise SweepError where a setting does not say what Hydra is to make of it; empty is for nothing."""
    ok = not value or isinstance(value.get("_target_"), str)
    require(ok, name, value, f"{name}._target_=module.function and its arguments, or {{}} for none")


def require_size(name: str, size: object, value: object) -> None:
    """Raise SweepError where a size is no whole number, nor three: a range. `value` is what was given."""
    sizes: list[Any] = size if isinstance(size, list) else [size]
    whole = all(isinstance(item, int) and not isinstance(item, bool) and item >= 1 for item in sizes)
    right = len(sizes) == 3 if isinstance(size, list) else True
    require(whole and right, name, value, "integers of at least 1, or [min,opt,max] for a dynamic dimension")
    if isinstance(size, list):
        low, opt, high = sizes
        require(low <= opt <= high and low < high, name, value, "min <= opt <= max with min < max")
