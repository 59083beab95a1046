"""Refuse values that are not allowed, each in one line that says what is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, NamedTuple

from trt_sweep.errors import SweepError, require


class Range(NamedTuple):
    """Hold the smallest, the usual and the largest size of a dynamic dimension; one name is one dimension."""

    min: int
    opt: int
    max: int
    name: str


def later(default: Any) -> Any:
    """Return a field that the digests leave out at its default, since it came after digests were kept."""
    if isinstance(default, bool | int):
        return field(default=default, metadata={"later": True})
    return field(default_factory=lambda: copy.copy(default), metadata={"later": True})


def flat(given: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the items of a nested dict by their names, joined with dots."""
    for name, value in given.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{rest}", inner) for rest, inner in flat(value))
        else:
            yield str(name), value


def require_choice(name: str, value: object, choices: tuple[str, ...], optional: bool = False) -> None:
    """Raise SweepError where a setting is none of these; null is the library's default where it is `optional`."""
    ok = value in choices or (optional and value is None)
    require(ok, name, value, "one of " + ", ".join(choices) + (", or null for the library's default" * optional))


def require_target(name: str, value: dict[str, Any]) -> None:
    """Raise SweepError where a setting does not say what Hydra is to make of it; empty is for nothing."""
    ok = not value or isinstance(value.get("_target_"), str)
    require(ok, name, value, f"{name}._target_=module.function and its arguments, or {{}} for none")


def require_size(name: str, size: object, value: object, *, by_name: bool = False) -> None:
    """Raise SweepError where a size is no whole number, nor three: a range. `value` is what was given.

    A range may have a name, as in {seq: [1, 128, 512]}. Where `by_name` is true, the name alone stands for a range that
    is given elsewhere.
    """
    if by_name and isinstance(size, str) and size.isidentifier():
        return
    if isinstance(size, Mapping):
        named = len(size) == 1 and all(isinstance(key, str) and key.isidentifier() for key in size)
        one = "one name and its range, as in {seq: [1,128,512]}"
        require(named and isinstance(next(iter(size.values())), list), name, value, one)
        (size,) = size.values()
    sizes: list[Any] = size if isinstance(size, list) else [size]
    whole = all(isinstance(item, int) and not isinstance(item, bool) and item >= 1 for item in sizes)
    right = len(sizes) == 3 if isinstance(size, list) else True
    require(whole and right, name, value, "integers of at least 1, or [min,opt,max] for a dynamic dimension")
    if isinstance(size, list):
        low, opt, high = sizes
        require(low <= opt <= high and low < high, name, value, "min <= opt <= max with min < max")


def named_range(size: object, known: Mapping[str, Range], unnamed: str) -> Range | None:
    """Return the range that a size stands for, None for a whole number; one without a name gets `unnamed`."""
    if isinstance(size, str):
        if size not in known:
            raise SweepError(
                f"model.inputs.shape has {size} and no range of that name: give it one, {{{size}: [1,8,32]}}"
            )
        return known[size]
    if isinstance(size, Mapping):
        ((name, found),) = size.items()
        return Range(found[0], found[1], found[2], name)
    return Range(size[0], size[1], size[2], unnamed) if isinstance(size, list) else None
