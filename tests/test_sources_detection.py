"""Models that find things in images: detectors without their last step, and segmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from source_models import CPU, build, point, refused

from trt_sweep.measure import outputs as outputs_of
from trt_sweep.models import factory, reproduction
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.sources import torchvision
from trt_sweep.models.sources.redraw import MIN_OUTPUT_CHANGE
from trt_sweep.points import plan


@pytest.fixture
def ultralytics():
    return pytest.importorskip("ultralytics")


@pytest.mark.parametrize(("name", "outputs"), [("yolo11n", {"0": (2, 84, 84)}), ("yolov8n-cls", {"0": (2, 1000)})])
def test_yolo(ultralytics, name, outputs):
    model, found = build("ultralytics", name, "model.factory.image_size=64")
    assert found | outputs == found
    other = example_inputs(point("ultralytics", name, "model.factory.image_size=64"), CPU, other=True)
    with torch.no_grad():
        moved = outputs_of.distance(model(), model.module(*other.args))
    assert min(moved.values()) > MIN_OUTPUT_CHANGE  # as drawn by ultralytics, scores do not depend on the input
    if name == "yolo11n":
        assert model.module.model[-1].dfl.conv.weight.flatten().tolist() == list(range(16))  # a constant of the model


def test_ultralytics_does_not_know_it(ultralytics):
    assert "did you mean yolo11n" in refused("ultralytics", "yolo11nn")
    assert "ends in WorldDetect" in refused("ultralytics", "yolov8s-world")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("retinanet_resnet50_fpn", {"cls_logits", "bbox_regression"}),
        ("fcos_resnet50_fpn", {"cls_logits", "bbox_regression", "bbox_ctrness"}),
        ("ssdlite320_mobilenet_v3_large", {"cls_logits", "bbox_regression"}),
    ],
)
def test_a_detector_apart_from_nms(no_download, name, names):
    _, outputs = build("torchvision_detection", name, "model.factory.image_size=64")
    assert outputs.keys() == names and outputs["bbox_regression"][0] == 2


def test_a_detector_of_two_stages(no_download, monkeypatch, tmp_path):
    from torchvision.models import get_model

    monkeypatch.setattr(torchvision, "REGIONS", 5)
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    whole = get_model(name, weights=None, weights_backbone=None).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    _, outputs = build(
        "torchvision_detection", name, "model.factory.image_size=64", f"model.weights={tmp_path / 'w.pt'}"
    )
    assert (outputs["logits"], outputs["boxes"]) == ((10, 91), (10, 364))
    named = point("torchvision_detection", name, "model.weights=DEFAULT")
    lines = "\n".join(reproduction.lines(named.to_dict(), plan.axes(named) | {"base_precision": None}, "cpu"))
    assert f"without_nms(name='{name}', weights='DEFAULT')" in lines
    config = point("torchvision_detection", name, f"model.weights={tmp_path / 'w.pt'}")
    built = factory.build(dataclasses.replace(config, batch_size=1), CPU).module
    assert torch.equal(built.roi_heads.box_head.fc6.weight, whole.roi_heads.box_head.fc6.weight)
    assert "is not a detector of torchvision" in refused("torchvision_detection", "resnet18")
    assert "COCO_V1, DEFAULT or the path" in refused("torchvision_detection", name, "model.weights=COCO")


def test_segmentation(no_download):
    _, outputs = build("torchvision", "lraspp_mobilenet_v3_large", "model.inputs=[{shape:[3,64,64]}]")
    assert outputs == {"out": (2, 21, 64, 64)}


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Fail a test that downloads weights."""

    def download(*_: object, **__: object) -> None:
        raise AssertionError("weights are downloaded")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    return download
