"""Build the module and the inputs that a configuration describes."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch.nn.parameter import is_lazy

from trt_sweep.config.checks import Range
from trt_sweep.config.model import ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.measure import outputs
from trt_sweep.models import checkpoints, in_memory
from trt_sweep.models.arguments import structured
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.inputs import example_inputs, structure
from trt_sweep.models.model import Model, copied

TORCHVISION = "torchvision.models.get_model"
MIN_OUTPUT_CHANGE = 1e-3  # relative, between two inputs; rounding to FP16 changes an output by half of it


def check(model: ModelConfig) -> None:
    """Raise SweepError for a model's name or weights that are wrong, before anything is built."""
    if model.factory.get("_target_") == TORCHVISION:
        from torchvision.models import get_model_weights, list_models

        names = list_models()
        if model.name not in names:
            near = get_close_matches(model.name, names, 3)
            raise SweepError(
                f"model.name={model.name} is not a model of torchvision: "
                + (
                    f"did you mean {' or '.join(near)}?"
                    if near
                    else "python -c 'import torchvision; print(torchvision.models.list_models())' lists them"
                )
            )
        known = list(get_model_weights(model.name).__members__)  # DEFAULT among them
        if model.weights is not None and model.weights not in known and not Path(model.weights).is_file():
            raise SweepError(
                f"model.weights={model.weights} is neither a file nor weights of torchvision's {model.name}: use "
                + ", ".join(known)
                + " or the path of a state dict"
            )
    elif model.weights is not None and not Path(model.weights).is_file():
        raise SweepError(
            f"model.weights={model.weights} is not a file: give the path of a state dict saved with torch.save"
        )


def build(config: PointConfig, device: torch.device, cache: ProcessCache | None = None) -> Model:
    """Return the module in FP32 and eval mode, with its inputs, on `device`.

    The same seed gives the same weights and inputs on any device. In `cache` one module serves all batch sizes. Raises
    SweepError where the factory, the weights or the inputs do not work.
    """
    key_of_module = ("module", config.unsized.source_key, str(device))
    module = (cache or ProcessCache()).get_or_make(key_of_module, lambda: _seeded(config).to(device))
    inputs = example_inputs(config.usual, device)
    keys = [*range(len(inputs.args)), *inputs.kwargs]
    dynamic: dict[int | str, dict[int, Range]] = {}
    for key, spec in zip(keys, config.model.tensors, strict=True):
        shape = [config.batch_size, *spec.shape] if spec.batched else spec.shape
        ranges = {axis: found for axis, size in enumerate(shape) if (found := config.range_of(size)) is not None}
        if ranges:
            dynamic[key] = ranges
    return Model(structured(module, structure(config)), inputs, dynamic)


def _seeded(config: PointConfig) -> torch.nn.Module:
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        module = _materialized(_module(model).eval(), config).float()
        if model.factory.get("_target_") == TORCHVISION and model.weights is None:
            _redraw_faded_convolutions(module, config)
    return module


def _materialized(module: torch.nn.Module, config: PointConfig) -> torch.nn.Module:
    """Return a module whose lazy layers have got their sizes, as its first call would give them."""
    if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        inputs = example_inputs(config.timed, torch.device("cpu"))
        with torch.no_grad():
            module(*inputs.args, **inputs.kwargs)
    return module


def _module(model: ModelConfig) -> torch.nn.Module:
    factory, file = dict(model.factory), None
    if (held := in_memory.find(model)) is not None:
        return copied(held.module)
    if model.weights is not None:
        if Path(model.weights).is_file():
            file = Path(model.weights)
        else:
            factory["weights"] = model.weights
    try:
        module = instantiate(factory, _convert_="all")
    except InstantiationException as error:
        raise SweepError(f"model.factory cannot be built: {one_line(error.__cause__ or error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise SweepError(
            f"model.factory={factory.get('_target_')} gives a {type(module).__name__}: it must give a torch.nn.Module"
        )
    if file is not None:
        checkpoints.load(module, file)
    elif model.weights is None:
        _redraw_zero_layers(module)
    return module


def _redraw_zero_layers(module: torch.nn.Module) -> None:
    """Draw new weights for layers initialised to zero, such as the head of torchvision's ViT.

    Their output is constant, and a check of it would prove nothing.
    """
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if (
            isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
            and isinstance(weight, torch.Tensor)
            and not is_lazy(weight)
            and not weight.any()
        ):
            layer.reset_parameters()


def _redraw_faded_convolutions(module: torch.nn.Module, config: PointConfig) -> None:
    """Draw new weights for all convolutions where the output hardly depends on the input, or is too small for FP16.

    A check of such an output would prove nothing. With random weights that of torchvision's googlenet is constant, and
    that of its mobilenet_v2 too small. The new weights keep the signal's variance from layer to layer (He et al.,
    Delving Deep into Rectifiers, 2015, equation 10).
    """
    fixed = dataclasses.replace(config.timed, batch_size=1)
    with torch.no_grad():
        one, two = (example_inputs(fixed, torch.device("cpu"), other) for other in (0, 1))
        output, other = module(*one.args, **one.kwargs), module(*two.args, **two.kwargs)
        loud = all(tensor.abs().max() > torch.finfo(torch.float16).tiny for tensor in outputs.tensors(output).values())
        if loud and min(outputs.distance(output, other).values()) > MIN_OUTPUT_CHANGE:
            return
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
