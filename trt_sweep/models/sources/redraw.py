"""Draw random weights anew where a check of the output would prove nothing.

Only weights that a library has drawn by itself are: what a user's factory brings stays, since its zeros may be pruned.
"""

from __future__ import annotations

import dataclasses

import torch

from trt_sweep.config.model import ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.measure import outputs
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.sources.torchvision import GET_MODEL, WITHOUT_NMS

MIN_OUTPUT_CHANGE = 1e-3  # relative, between two inputs; rounding to FP16 changes an output by half of it


def redraw(module: torch.nn.Module, config: PointConfig) -> None:
    """Draw the weights of torchvision's and Ultralytics' models anew where they are random and prove nothing."""
    if config.model.weights is None and _drawn_by_a_library(config.model):
        _redraw_zero_layers(module)
        _redraw_faded_convolutions(module, config)


def _drawn_by_a_library(model: ModelConfig) -> bool:
    target = str(model.factory.get("_target_"))
    return target in (GET_MODEL, WITHOUT_NMS) or target.startswith("ultralytics.")


def _redraw_zero_layers(module: torch.nn.Module) -> None:
    """Draw new weights for layers that start at zero, as the head of torchvision's ViT: what they give is constant."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and not layer.weight.any():
            layer.reset_parameters()


def _redraw_faded_convolutions(module: torch.nn.Module, config: PointConfig) -> None:
    """Draw new weights for all convolutions where an output hardly depends on the input, or is too small for FP16.

    With random weights the output of torchvision's googlenet is constant, that of its mobilenet_v2 too small, and so
    are the deeper maps of YOLO. The new weights keep the signal's variance from layer to layer (He et al., Delving Deep
    into Rectifiers, 2015, equation 10). Weights that are not to be learned are constants of the model, and stay.
    """
    fixed = dataclasses.replace(config.timed, batch_size=1)
    with torch.no_grad():
        one, two = (example_inputs(fixed, torch.device("cpu"), other) for other in (False, True))
        output, other = module(*one.args, **one.kwargs), module(*two.args, **two.kwargs)
        loud = all(tensor.abs().max() > torch.finfo(torch.float16).tiny for tensor in outputs.tensors(output).values())
        if loud and min(outputs.distance(output, other).values()) > MIN_OUTPUT_CHANGE:
            return
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.weight.requires_grad:
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
