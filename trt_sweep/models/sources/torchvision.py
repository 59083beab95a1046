"""Models of torchvision: classification and segmentation as they are, detection apart from NMS."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import torch

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.errors import SweepError
from trt_sweep.models.sources import Described, image, unknown

GET_MODEL = "torchvision.models.get_model"
WITHOUT_NMS = f"{__name__}.without_nms"
REGIONS = 1000  # that the second stage of a detector looks at in each image, torchvision's default


def describe(name: str, image_size: int | list[int] | None = None, **settings: Any) -> Described:
    """Describe a detector apart from NMS, see `without_nms`. Images are normalized, of 800 x 800 pixels as a rule."""
    from torchvision.models import detection, list_models

    detectors = list_models(module=detection)
    if name not in detectors:
        raise unknown(name, "a detector of torchvision", detectors, "use one of " + ", ".join(detectors))
    own = 320 if "320" in name else 300 if "300" in name else 800
    inputs = [image(3, image_size or own)]
    if "rcnn" in name:
        inputs.append(InputConfig(shape=[REGIONS, 256, 7, 7], low=0, high=1))
    return Described(name, {"_target_": WITHOUT_NMS, "name": name, **settings}, inputs)


def without_nms(name: str, weights: str | None = None, **settings: Any) -> torch.nn.Module:
    """Build a detector's backbone and heads; anchors, the decoding of boxes and NMS are left out."""
    from torchvision.models import get_model

    settings = {**_no_download(name, weights), **settings}
    return WithoutNMS(get_model(name, weights=weights, **settings))


class WithoutNMS(torch.nn.Module):
    """Call the backbone and the heads of a detector of torchvision; its state dict is the detector's.

    A detector of two stages looks for regions, cuts them from the features, and classifies them. Which regions depends
    on the data, so that features of regions are an input here: of shape (batch, regions, channels, height, width).
    Heads for masks and keypoints are not called.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        for name in ("head", "rpn", "roi_heads"):
            if hasattr(detector, name):
                self.add_module(name, getattr(detector, name))

    def forward(self, images: torch.Tensor, regions: torch.Tensor | None = None) -> dict[str, Any]:
        features = self.backbone(images)
        features = [features] if isinstance(features, torch.Tensor) else list(features.values())
        parts: Any = self
        if regions is None:
            return dict(parts.head(features))
        objectness, deltas = parts.rpn.head(features)
        logits, boxes = parts.roi_heads.box_predictor(parts.roi_heads.box_head(regions.flatten(0, 1)))
        return {"objectness": objectness, "deltas": deltas, "logits": logits, "boxes": boxes}


def resolve(model: ModelConfig) -> ModelConfig:
    """Return a model of `get_model` or `without_nms`, checked, such that only weights by name are downloaded.

    Raises SweepError for an unknown name or unknown weights.
    """
    from torchvision.models import get_model_weights, list_models

    name = str(model.factory.get("name"))
    if name not in list_models():
        listed = "python -c 'import torchvision; print(torchvision.models.list_models())' lists them"
        raise unknown(name, "a model of torchvision", list_models(), listed)
    known = list(get_model_weights(name).__members__)  # DEFAULT among them
    if model.weights is not None and model.weights not in known and not Path(model.weights).is_file():
        raise SweepError(
            f"model.weights={model.weights} is neither a file nor weights of torchvision's {name}: use "
            + ", ".join(known)
            + " or the path of a state dict"
        )
    if model.factory["_target_"] != GET_MODEL or model.weights in known:
        return model
    return dataclasses.replace(model, factory=model.factory | _no_download(name, None) | model.factory)


def _no_download(name: str, weights: str | None) -> dict[str, None]:
    """Return the setting without which a model that is to have random weights loads those of its backbone."""
    from torchvision.models import get_model_builder

    takes = "weights_backbone" in inspect.signature(get_model_builder(name)).parameters
    return {"weights_backbone": None} if takes and weights is None else {}
