"""Load the weights of a model from a file, as training scripts leave it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trt_sweep.errors import SweepError, one_line

NESTED = ("state_dict", "model_state_dict", "model", "module")  # under which training scripts keep it
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile and Lightning
SAFETENSORS = ".safetensors"


def load(module: torch.nn.Module, file: Path) -> None:
    """Load a state dict from a file of torch.save or safetensors, also from within a checkpoint, also with a prefix.

    Raises SweepError that names what the file holds instead, and what does not fit the module.
    """
    state = _state(_read(file), module)
    if not state:
        raise SweepError(
            f"model.weights={file} holds no state dict, nor one under {', '.join(NESTED)}: "
            "save one with torch.save(module.state_dict(), path)"
        )
    try:
        module.load_state_dict(state)
    except Exception as error:
        raise SweepError(
            f"model.weights={file} is not a state dict of this model ({one_line(error, 200)}): "
            "save one with torch.save(module.state_dict(), path)"
        ) from error


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


def _state(found: Any, module: torch.nn.Module) -> dict[str, Any]:
    """Return the state dict in what a file holds: itself, or one within, without the prefix that wrappers add."""
    if not isinstance(found, Mapping):
        return {}
    names = set(module.state_dict())
    candidates = [found, *(found[key] for key in NESTED if isinstance(found.get(key), Mapping))]
    prefixes = ("", *PREFIXES, *(a + b for a in PREFIXES for b in PREFIXES))
    bare = [
        {name.removeprefix(prefix): value for name, value in state.items() if isinstance(name, str)}
        for state in candidates
        for prefix in prefixes
    ]
    best = max(bare, key=lambda state: len(names & set(state)))
    if names & set(best):
        return best
    return next(({**state} for state in candidates[1:] or candidates if _tensors(state)), {})


def _tensors(state: Mapping[str, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) for value in state.values())
