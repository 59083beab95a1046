"""Models by name, from where people get them: one module for each source.

A group of conf/model/ names a source's `describe` as `model.factory._target_`. It is called with the other settings of
`model.factory`. What it returns, the library's own call and the model's inputs, is what the point then has.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from hydra.utils import get_method

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.errors import SweepError, one_line


@dataclasses.dataclass(frozen=True)
class Described:
    """Hold a model as its source describes it: effective name, the call that builds it, in Hydra's form, and inputs.

    Where nothing is known of the inputs, they are a sentence that says why.
    """

    name: str
    factory: dict[str, Any]
    inputs: list[InputConfig] | str


def resolve(model: ModelConfig) -> ModelConfig:
    """Return a model with the call and the inputs that its source describes; one of no source as it is.

    Inputs that the user gave stay, and so does a name that is not the source's. Raises SweepError for a name that the
    source does not know, for a package that is missing, and where there are no inputs.
    """
    given: list[InputConfig] | None = model.inputs
    target = str(model.factory.get("_target_"))
    if not (target.startswith(f"{__name__}.") and target.endswith(".describe")):
        if given is None:
            raise _no_inputs(f"nothing says what {target} takes")
        return model
    found = _described(target, model)
    inputs = found.inputs if given is None else given
    if isinstance(inputs, str):
        raise _no_inputs(inputs)
    name = found.name if model.name == model.factory.get("name") else model.name
    return dataclasses.replace(model, name=name, factory=found.factory, inputs=inputs)


def _described(target: str, model: ModelConfig) -> Described:
    describe = get_method(target)
    settings = {name: value for name, value in model.factory.items() if name != "_target_"}
    parameters = inspect.signature(describe).parameters
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        require_settings(settings, parameters, "model.factory", target.split(".")[-2])
    try:
        found: Described = describe(**settings)
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(f"model.factory does not describe a model ({one_line(error)})") from error
    return found


def _no_inputs(why: str) -> SweepError:
    return SweepError(f"model.inputs=null is not allowed: {why}; give them, as in model.inputs=[{{shape:[3,224,224]}}]")


def require_package(name: str) -> Any:
    """Import the package of a source; raise SweepError that names the extra where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise missing_package(name) from None
        raise SweepError(f"model={name} cannot be used: {one_line(error)}") from error


def missing_package(name: str) -> SweepError:
    """Return the error for a package that is not installed."""
    return SweepError(f"model={name} needs the package {name}: pip install -e '.[{name}]'")


def unknown(name: str, of: str, names: Iterable[str], otherwise: str) -> SweepError:
    """Return the error for a name that its source does not know: with the nearest names, or else what to do."""
    known = {each.lower(): each for each in sorted(names)}
    near = [known[each] for each in get_close_matches(name.lower(), known, 3)]
    return SweepError(
        f"model.name={name} is not {of}: " + (f"did you mean {' or '.join(near)}?" if near else otherwise)
    )


def require_settings(settings: Iterable[str], known: Iterable[str], where: str, owner: str) -> None:
    """Raise SweepError for a setting that its owner does not have; libraries ignore some of these without a word."""
    known = sorted(known)
    for setting in settings:
        if setting not in known:
            near = get_close_matches(setting, known, 3) or known
            raise SweepError(f"{where}.{setting} is not a setting of {owner}: use {', '.join(near)}")


def image(channels: int, size: int | list[int] | tuple[int, ...], name: str | None = None) -> InputConfig:
    """Return an input for images; one size stands for height and width."""
    return InputConfig(shape=[channels, *([size, size] if isinstance(size, int) else size)], name=name)


def whole(shape: list[int], below: int, name: str) -> InputConfig:
    """Return an input of integers from 0 up to and without a bound."""
    return InputConfig(shape=shape, dtype="int64", low=0, high=below, name=name)
