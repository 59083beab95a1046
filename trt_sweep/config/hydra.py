"""Make the schema known to Hydra, and make checked dataclasses of what Hydra composed."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError

SCHEMA = "trt_sweep_schema"


def register() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml asks for."""
    ConfigStore.instance().store(name=SCHEMA, node=SweepConfig)


def quoted(text: str) -> str:
    """Return any text as a value of an override."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def from_hydra(composed: Any) -> SweepConfig:
    """Return the composed configuration as checked dataclasses; raise SweepError for what is not allowed."""
    # A configuration replayed from a job's .hydra folder comes without the schema; elsewhere this changes nothing.
    composed = OmegaConf.merge(OmegaConf.structured(SweepConfig), composed)
    missing = [key for key in ("name", "factory", "inputs") if OmegaConf.is_missing(composed.model, key)]
    if missing:
        raise SweepError(
            f"model.{missing[0]} is not set: choose a model (model=resnet18), name one of its source's "
            "(model=timm model.name=convnext_tiny) or set it in your own model/<name>.yaml"
        )
    config = OmegaConf.to_object(composed)
    assert isinstance(config, SweepConfig)
    return config
