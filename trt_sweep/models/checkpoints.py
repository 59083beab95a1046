"""Load the weights of a model from a file, as training scripts leave it."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.parameter import is_lazy

from trt_sweep.errors import SweepError, one_line
from trt_sweep.models.arguments import Structured

log = logging.getLogger(__name__)
NESTED = ("state_dict", "model_state_dict", "model", "module")  # under which training scripts keep it, the best first
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile and Lightning
SAFETENSORS = ".safetensors"
FEW = 3  # names that a note has of each kind
_notes: WeakKeyDictionary[torch.nn.Module, list[str]] = WeakKeyDictionary()


def load(module: torch.nn.Module, file: Path, *, strict: bool = True, key: str | None = None) -> None:
    """Load a state dict from a file of torch.save or safetensors, also from within a checkpoint, also with a prefix.

    `key` names the part of a checkpoint to take. Without `strict` what fits is loaded, and `notes` say what did not.
    Raises SweepError that names what the file holds instead, and what does not fit the module.
    """
    found = _read(file)
    parts = _parts(found)
    if key is not None:
        if key not in parts:
            where = f"they are under {', '.join(parts)}" if parts else "they are under no key: leave it out"
            raise SweepError(f"model.weights_key={key} is not where {file} has weights: {where}")
        found = found[key]
    own = module.state_dict(keep_vars=True)
    state, equal = _state(found, own)
    if not state:
        raise SweepError(
            f"model.weights={file} holds no state dict, nor one under {', '.join(NESTED)}: "
            "save one with torch.save(module.state_dict(), path)"
        )
    _tie(state, own)
    said = [] if strict else _leave_what_fits(state, own, file)
    try:
        module.load_state_dict(state, strict=strict)
    except Exception as error:
        ways = ["save one with torch.save(module.state_dict(), path)"]
        ways += [f"choose among {', '.join(parts)} by model.weights_key"] * (len(parts) > 1)
        ways += ["load what fits by model.strict=false, which leaves the rest random"] * strict
        raise SweepError(
            f"model.weights={file} is not a state dict of this model ({one_line(error, 200)}): {', or '.join(ways)}"
        ) from error
    if len(equal) > 1:
        said.append(f"{file.name} has weights under {', '.join(equal)}: {equal[0]} is used; model.weights_key chooses")
    _notes[module] = said


def notes(module: torch.nn.Module) -> list[str]:
    """Return what is to be said of the weights that a module was given by `load`."""
    return _notes.get(module.module if isinstance(module, Structured) else module, [])


def _tie(state: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Give tensors that a module has under two names both, where a file has one of them, as safetensors does."""
    there = {id(tensor): state[name] for name, tensor in own.items() if name in state}
    for name, tensor in own.items():
        if name not in state and id(tensor) in there:
            state[name] = there[id(tensor)]


def _leave_what_fits(state: dict[str, Any], own: Mapping[str, Any], file: Path) -> list[str]:
    """Take out of a state dict what does not fit, and return the note on it; all names are logged.

    Raises SweepError where nothing fits.
    """
    shapes = {
        name: f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and _shaped(value) and _shaped(own[name]) and value.shape != own[name].shape
    }
    kinds = {
        "missing, and random": [name for name in own if name not in state],
        "of another shape, and random": [*shapes.values()],
        "unexpected": [name for name in state if name not in own],
    }
    for name in [*shapes, *kinds["unexpected"]]:
        del state[name]
    if not state:
        raise SweepError(f"model.weights={file} has nothing that fits this model: {_short(kinds)}")
    for kind, names in kinds.items():
        if names:
            log.warning("%s: %d %s: %s", file, len(names), kind, ", ".join(names))
    return (
        [f"of the weights in {file.name} {_short(kinds)}; log.txt of the first such point has all names"]
        if any(kinds.values())
        else []
    )


def _short(kinds: Mapping[str, list[str]]) -> str:
    """Return how many names there are of each kind, and the first few."""
    return ", ".join(
        f"{len(names)} {kind} ({', '.join(names[:FEW])}{', …' * (len(names) > FEW)})"
        for kind, names in kinds.items()
        if names
    )


def _shaped(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not is_lazy(value)


def _read(file: Path) -> Any:
    if file.suffix == SAFETENSORS:
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise SweepError(f"model.weights={file} needs safetensors: pip install safetensors") from None
        try:
            return load_file(file)
        except Exception as error:
            raise SweepError(f"model.weights={file} cannot be read as safetensors: {one_line(error, 200)}") from error
    if _torchscript(file):
        raise SweepError(
            f"model.weights={file} is a TorchScript archive, a program and not its weights: "
            "save torch.jit.load(path).state_dict()"
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        why = one_line(error, 200)
        refused = re.search(r"Unsupported (?:global|class): GLOBAL ([\w.]+)|Unsupported class (\S+)", str(error))
        if refused:
            what = refused[1] or refused[2]
            why = f"it holds a {what}, a whole module perhaps, and reading that would run code from it"
        raise SweepError(
            f"model.weights={file} is not a state dict of this model ({why}): "
            "save one with torch.save(module.state_dict(), path)"
        ) from error


def _torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _parts(found: Any) -> list[str]:
    """Return the keys under which a file holds mappings with tensors, those of `NESTED` first."""
    if not isinstance(found, Mapping):
        return []
    parts = [
        key for key, part in found.items() if isinstance(key, str) and isinstance(part, Mapping) and _tensors(part)
    ]
    return sorted(parts, key=lambda key: NESTED.index(key) if key in NESTED else len(NESTED))


def _state(found: Any, own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the state dict in what a file holds: itself, or one within, without the prefix that wrappers add.

    With it come the keys that fit as well, its own first; none where it was under none.
    """
    if not isinstance(found, Mapping):
        return {}, []
    parts = {key: _bare(found[key], own) for key in _parts(found)}
    fit = {key: len(own.keys() & state.keys()) for key, state in parts.items()}
    most = max(fit.values(), default=0)
    whole = _bare(found, own)
    if len(own.keys() & whole.keys()) > most or (not parts and _tensors(whole)):
        return whole, []
    best = [key for key in parts if fit[key] == most]
    return (parts[best[0]], best) if best else ({}, [])


def _bare(state: Mapping[Any, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict without the prefix of its names with which it fits worse."""
    named = {name: value for name, value in state.items() if isinstance(name, str)}
    prefixes = ("", *PREFIXES, *(a + b for a in PREFIXES for b in PREFIXES))
    tried = ({name.removeprefix(prefix): value for name, value in named.items()} for prefix in prefixes)
    return max(tried, key=lambda bare: len(own.keys() & bare.keys()))


def _tensors(state: Mapping[str, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) for value in state.values())
