"""Say which values a setting takes, where one is of another type; imports no torch."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf.errors import ValidationError

from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import not_allowed

ALLOWED = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def line(error: BaseException, message: str) -> str | None:
    """Return the line for OmegaConf's error, null for another; `message` is Hydra's, which may name the override."""
    if not isinstance(error, ValidationError) or not error.full_key:
        return None
    name = str(error.full_key)
    # Of an input of a model OmegaConf tells the last key only.
    own = dataclasses.is_dataclass(error.object_type) and "." not in name
    hint = _hint(error.object_type if own else SweepConfig, name)
    if hint is None:
        return None
    override = re.search(r"override '?\+*([\w.]+)", message)
    if override and name.partition(".")[0].partition("[")[0] != override[1].partition(".")[0]:
        name = f"{override[1]}.{name}"
    null = ", or null" * (type(None) in get_args(hint))
    return not_allowed(name, error.value, _allowed(name, _given(hint)) + null)


def _hint(owner: Any, name: str) -> Any:
    """Return the type of what `name` leads to in a dataclass: a field, an item of a list, a key of a dict."""
    hint = owner
    for part in re.findall(r"\w+", name):
        hint = _given(hint)
        hint = get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else (get_args(hint) or (None,))[-1]
    return hint


def _given(hint: Any) -> Any:
    """Return the type that an optional value has where it is given."""
    arguments = get_args(hint)
    return next(item for item in arguments if item is not type(None)) if type(None) in arguments else hint


def _allowed(name: str, hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "its settings: " + ", ".join(f"{name}.{item.name}" for item in dataclasses.fields(hint))
    if get_origin(hint) is list:
        noun = ALLOWED.get(get_args(hint)[0], "an item").rpartition(" ")[2]
        return f"a list of {noun}s in brackets, [a,b]"
    return ALLOWED.get(hint, f"{name}.NAME=VALUE")
