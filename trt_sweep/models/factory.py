"""Build the module and the inputs that a configuration describes."""

from __future__ import annotations

from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch.nn.parameter import is_lazy

from trt_sweep.config.checks import Range
from trt_sweep.config.model import ModelConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.models import checkpoints, dtypes, in_memory, sources
from trt_sweep.models.arguments import structured
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.inputs import example_inputs, structure
from trt_sweep.models.model import Model, cast, copied
from trt_sweep.models.sources import torchvision
from trt_sweep.models.sources.redraw import redraw


def resolve(model: ModelConfig) -> ModelConfig:
    """Return a model as its source describes it, see `trt_sweep.models.sources`.

    Raises SweepError for a name or weights that are wrong, before anything is built.
    """
    model = sources.resolve(model)
    if model.factory.get("_target_") in (torchvision.GET_MODEL, torchvision.WITHOUT_NMS):
        return torchvision.resolve(model)
    if model.weights is not None and not Path(model.weights).is_file():
        raise SweepError(
            f"model.weights={model.weights} is not a file: give the path of a state dict saved with torch.save"
        )
    of_file = ["model.strict=false"] * (not model.strict) + ["model.weights_key"] * (model.weights_key is not None)
    if of_file and not (model.weights is not None and Path(model.weights).is_file()):
        raise SweepError(f"{' and '.join(of_file)} is for weights from a file: add model.weights=FILE, or leave it out")
    return model


def build(config: PointConfig, device: torch.device, cache: ProcessCache | None = None) -> Model:
    """Return the module in FP32 and eval mode, with its inputs, on `device`; beside it the module as it came in half.

    The same seed gives the same weights and inputs on any device. In `cache` one module serves all batch sizes. Raises
    SweepError where the factory, the weights or the inputs do not work.
    """
    key_of_module = ("module", config.unsized.source_key, str(device))
    module, as_given = (cache or ProcessCache()).get_or_make(
        key_of_module, lambda: _in_fp32(_seeded(config).to(device))
    )
    inputs = example_inputs(config.usual, device)
    keys = [*range(len(inputs.args)), *inputs.kwargs]
    dynamic: dict[int | str, dict[int, Range]] = {}
    for key, spec in zip(keys, config.model.tensors, strict=True):
        shape = [config.batch_size, *spec.shape] if spec.batched else spec.shape
        ranges = {axis: found for axis, size in enumerate(shape) if (found := config.range_of(size)) is not None}
        if ranges:
            dynamic[key] = ranges
    form = structure(config)
    own = None if as_given is None else structured(as_given, form)
    return Model(structured(module, form), inputs, dynamic, as_given=own)


def _in_fp32(module: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    """Return a module in FP32; beside it the one that was given, where part of that is in FP16 or BF16."""
    return (cast(copied(module), torch.float32), module) if dtypes.in_half(module) else (module.float(), None)


def _seeded(config: PointConfig) -> torch.nn.Module:
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        module = _materialized(_module(model).eval(), config)
        dtypes.keep(model, module)
        redraw(module, config)
    return module


def _materialized(module: torch.nn.Module, config: PointConfig) -> torch.nn.Module:
    """Return a module whose lazy layers have got their sizes, as its first call would give them."""
    if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        inputs = example_inputs(config.timed, torch.device("cpu"))
        with torch.no_grad():
            structured(module, structure(config))(*inputs.args, **inputs.kwargs)
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
        checkpoints.load(module, file, strict=model.strict, key=model.weights_key)
    return module
