"""Make the schema known to Hydra, and make checked dataclasses of what Hydra composed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError

SCHEMA = "trt_sweep_schema"


def register() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml asks for."""
    ConfigStore.instance().store(name=SCHEMA, node=SweepConfig)


def not_known(name: str) -> str:
    """Return the line for a setting that there is none of, with those that are like it."""
    known = list(_settings(OmegaConf.structured(SweepConfig)))
    groups = sorted({setting.partition(".")[0] for setting in known if "." in setting})
    near = get_close_matches(name, [*known, *groups], 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(known)}"
    return f"{name} is not known: {hint}"


def _settings(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the names of all settings below a node."""
    for name, inner in _inside(node):
        yield from [f"{prefix}{name}"] if inner is None else _settings(inner, f"{prefix}{name}.")


def _added(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield the names that the schema does not have: Hydra takes any with a plus before it."""
    schema = OmegaConf.get_type(node)
    for name, inner in _inside(node):
        if is_dataclass(schema) and name not in {field.name for field in fields(schema)}:
            yield f"{prefix}{name}"
        elif inner is not None:
            yield from _added(inner, f"{prefix}{name}.")


def _inside(node: DictConfig) -> Iterator[tuple[str, DictConfig | None]]:
    """Yield the names in a node, each with the node that it holds, None for a value."""
    for name in map(str, node):
        child: Any = node._get_node(name)
        group = isinstance(child, DictConfig) and not child._is_missing() and not child._is_none()
        yield name, child if group else None


def quoted(text: str) -> str:
    """Return any text as a value of an override."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def from_hydra(composed: Any) -> SweepConfig:
    """Return the composed configuration as checked dataclasses; raise SweepError for what is not allowed."""
    # A configuration replayed from a job's .hydra folder comes without the schema; elsewhere this changes nothing.
    composed = OmegaConf.merge(OmegaConf.structured(SweepConfig), composed)
    if unknown := next(_added(composed), None):
        raise SweepError(not_known(unknown))
    missing = [key for key in ("name", "factory", "inputs") if OmegaConf.is_missing(composed.model, key)]
    if missing:
        raise SweepError(
            f"model.{missing[0]} is not set: choose a model (model=resnet18), name one of its source's "
            "(model=timm model.name=convnext_tiny) or set it in your own model/<name>.yaml"
        )
    config = OmegaConf.to_object(composed)
    assert isinstance(config, SweepConfig)
    return config
