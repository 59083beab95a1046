"""Models of timm: `model=timm model.name=convnext_tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trt_sweep.errors import SweepError, one_line
from trt_sweep.models.sources import Described, image, require_package, unknown

HUB = "hf-hub:"


def describe(name: str, image_size: int | list[int] | None = None, **settings: Any) -> Described:
    """Describe a model by its name in `timm.list_models()`, with random weights.

    A folder that timm's `save_for_hf` wrote, or `hf-hub:OWNER/NAME`, comes with its weights. `settings` go to
    `timm.create_model`. The images have `image_size`, else `img_size` of the settings, else the size that timm's
    configuration of the model says.
    """
    timm = require_package("timm")
    given = dict(settings)
    if Path(name).is_dir() or name.startswith(HUB):
        config, settings = _saved(name), {"pretrained": True, **settings}
        model_name = name if name.startswith(HUB) else f"local-dir:{Path(name).absolute()}"
    elif timm.is_model(name):
        config, model_name = timm.get_pretrained_cfg(name).to_dict(), name
    else:
        raise unknown(name, "a model of timm", timm.list_models(), "timm.list_models() lists them")
    channels, *size = config.get("input_size", (3, 224, 224))
    factory = {"_target_": "timm.create_model", "model_name": model_name, **settings}
    inputs = [image(given.get("in_chans", channels), image_size or given.get("img_size") or size)]
    return Described(name, factory, inputs)


def _saved(name: str) -> dict[str, Any]:
    """Return timm's configuration of a saved model."""
    from timm.models import _hub

    try:
        if name.startswith(HUB):
            return dict(_hub.load_model_config_from_hf(name.removeprefix(HUB))[0])
        return dict(_hub.load_model_config_from_path(name)[0])
    except Exception as error:
        raise SweepError(f"model.name={name} holds no model of timm: {one_line(error, 200)}") from error
