"""YOLO and RT-DETR of Ultralytics: `model=ultralytics model.name=yolo11n`.

Their yaml files are read without importing the package, which sets OMP_NUM_THREADS for every process started later.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from trt_sweep.errors import SweepError, not_allowed
from trt_sweep.models.sources import Described, image, missing_package, unknown

# The class of ultralytics.nn.tasks that goes with the last layer of a model.
CLASSES = {
    "Detect": "DetectionModel",
    "v10Detect": "DetectionModel",
    "Segment": "SegmentationModel",
    "Segment26": "SegmentationModel",
    "Pose": "PoseModel",
    "Pose26": "PoseModel",
    "OBB": "OBBModel",
    "OBB26": "OBBModel",
    "Classify": "ClassificationModel",
    "RTDETRDecoder": "RTDETRDetectionModel",
}


def describe(name: str, image_size: int | list[int] | None = None, **settings: Any) -> Described:
    """Describe a network by the name of Ultralytics' yaml file, with the letter of its scale; weights are random.

    Its outputs are what stands before NMS: the decoded predictions, and the maps that they are made of. `settings` go
    to the class, as in `nc=20`. Images have 640 x 640 pixels, those of classifiers 224 x 224.
    """
    files = _files()
    if name not in files:
        raise unknown(name, "a model of ultralytics", files, "ultralytics/cfg/models holds their yaml files")
    content: Any = OmegaConf.load(files[name])
    head = str(content["head"][-1][2])
    if head not in CLASSES:
        allowed = "a model that ends in one of " + ", ".join(CLASSES)
        raise SweepError(not_allowed("model.name", name, f"{allowed}; this one ends in {head}"))
    factory = {"_target_": f"ultralytics.nn.tasks.{CLASSES[head]}", "cfg": f"{name}.yaml", "verbose": False, **settings}
    size = image_size or (224 if head == "Classify" else 640)
    return Described(name, factory, [image(int(settings.get("ch", 3)), size)])


@functools.cache
def _files() -> dict[str, Path]:
    """Return the package's yaml files by the names of their models: yolo11-seg.yaml is that of yolo11n-seg, too."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise missing_package("ultralytics")
    found: dict[str, Path] = {}
    for file in Path(spec.origin).parent.glob("cfg/models/*/*.yaml"):
        content: Any = OmegaConf.load(file)
        number = re.match(r"yolov?\d+(?=-|$)", file.stem)
        if number and content.get("scales"):
            rest = file.stem[number.end() :]
            found |= {f"{number[0]}{scale}{rest}": file for scale in content["scales"]}
        else:
            found[file.stem] = file
    return found
