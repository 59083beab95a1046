"""Read the tensors that a user has for a model's inputs: from files, or from a function."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.errors import SweepError, one_line

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
KINDS = ", ".join((".pt", ".npy", ".npz", ".safetensors", *IMAGES))


def resolved(model: ModelConfig) -> ModelConfig:
    """Return a model whose inputs from files and functions have shape, type and digest of what those hold.

    Raises SweepError for a file that is missing or holds something else than its input says.
    """
    found = model.changed(lambda spec: _resolved(spec, model.seed) if spec.given else spec)
    counts = {_where(spec): len(read(spec, model.seed)) for spec in found.tensors if spec.given and spec.batched}
    several = {count: where for where, count in counts.items() if count > 1}
    if len(several) > 1:
        said = " and ".join(f"{where} has {count}" for count, where in several.items())
        raise SweepError(f"inputs have different numbers of samples: {said}; give each the same, or one")
    return found


def read(spec: InputConfig, seed: int) -> torch.Tensor:
    """Return the tensor of an input that has a file or a function, on the CPU; its samples first where it is batched.

    Floating-point numbers are FP32 where `dtype` is "float"; those of an image are then from 0 to 1. A function draws
    its random numbers from `seed`. Raises SweepError as `resolved` does.
    """
    if spec.file is not None:
        path = Path(spec.file)
        if not path.is_file():
            raise SweepError(f"model.inputs.file={spec.file} is not a file: give the path of one ({KINDS})")
        stat = path.stat()
        found, _ = _from_file(path.absolute(), spec.key, stat.st_mtime_ns, stat.st_size)
    else:
        found = _from_function(json.dumps(spec.factory, sort_keys=True, default=str), seed)
    if _is_image(spec) and spec.dtype == "float":
        found = found / 255
    if spec.dtype == "float" and found.is_floating_point():
        found = found.float()
    alone = spec.batched and (_is_image(spec) or (bool(spec.shape) and found.dim() == len(spec.shape)))
    return found[None] if alone else found


def _is_image(spec: InputConfig) -> bool:
    """Return whether an input is an image file: one sample, channels first."""
    return spec.file is not None and Path(spec.file).suffix.lower() in IMAGES


def _resolved(spec: InputConfig, seed: int) -> InputConfig:
    found, where = read(spec, seed), _where(spec)
    own = list(found.shape[1:] if spec.batched else found.shape)
    if spec.batched and not found.dim():
        raise SweepError(f"{where} holds one number, which has no batch dimension: give it with batched: false")
    if spec.batched and not len(found):
        raise SweepError(f"{where} holds no sample: its first dimension, the batch, is 0")
    if any(not isinstance(size, int) for size in spec.shape):
        raise SweepError(
            f"model.inputs.shape={spec.shape} is not allowed: {where} has one size, {own}; leave shape out"
        )
    if spec.shape and own != spec.shape:
        wanted = ["batch"] * spec.batched + [str(size) for size in spec.shape]
        raise SweepError(
            f"{where} has shape {list(found.shape)}, and model.inputs.shape asks for [{', '.join(wanted)}]: change one"
        )
    kind = (
        "float" if found.dtype == torch.float32 and spec.dtype == "float" else str(found.dtype).removeprefix("torch.")
    )
    if spec.dtype not in ("float", kind):
        raise SweepError(
            f"{where} is of {kind}, and model.inputs.dtype={spec.dtype}: leave dtype out, or give it {kind}"
        )
    return dataclasses.replace(spec, shape=own, dtype=kind, key=_key(spec), digest=_digest(found))


def _key(spec: InputConfig) -> str | None:
    """Return the name of the tensor in its file, also where it is the only one that has a name."""
    if spec.file is None:
        return None
    path = Path(spec.file)
    stat = path.stat()
    return _from_file(path.absolute(), spec.key, stat.st_mtime_ns, stat.st_size)[1]


def _where(spec: InputConfig) -> str:
    if spec.factory:
        return f"model.inputs.factory={spec.factory['_target_']}"
    return f"model.inputs.file={spec.file}" + (f", key {spec.key}," if spec.key is not None else "")


def _digest(tensor: torch.Tensor) -> str:
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode() + content.tobytes()).hexdigest()[:16]


@functools.lru_cache(maxsize=32)
def _from_function(factory: str, seed: int) -> torch.Tensor:
    made = json.loads(factory)
    shown = f"model.inputs.factory={made['_target_']}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = instantiate(made, _convert_="all")
    except InstantiationException as error:
        raise SweepError(f"{shown} cannot be called: {one_line(error.__cause__ or error)}") from error
    return _tensor(found, shown, f"make {shown} return a tensor")


@functools.lru_cache(maxsize=32)
def _from_file(path: Path, key: str | None, _changed: int, _size: int) -> tuple[torch.Tensor, str | None]:
    """Return a tensor of a file with its name there, if it has one."""
    where = f"model.inputs.file={path}"
    try:
        found = _content(path)
    except SweepError:
        raise
    except Exception as error:
        raise SweepError(f"{where} cannot be read ({one_line(error, 200)}): give one of {KINDS}") from error
    if not isinstance(found, Mapping):
        if key is not None:
            raise SweepError(f"{where} holds one tensor, so that model.inputs.key={key} finds none: leave key out")
        return _tensor(found, where, "save a tensor by torch.save, or an array by numpy.save"), None
    names = ", ".join(map(str, found))
    if key is None and len(found) == 1:
        (key,) = found
    if key is None:
        raise SweepError(f"{where} holds {len(found)} tensors ({names}): choose one by model.inputs.key")
    if key not in found:
        raise SweepError(f"{where} holds no tensor {key}: model.inputs.key may be {names}")
    return _tensor(found[key], f"{where}, key {key},", "choose a tensor by model.inputs.key"), str(key)


def _content(path: Path) -> Any:
    """Return what a file holds: a tensor or an array, or several by name. No code in it is run."""
    kind = path.suffix.lower()
    if kind in IMAGES:
        from torchvision.io import ImageReadMode, decode_image

        return decode_image(str(path), ImageReadMode.RGB)
    if kind == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise SweepError(f"model.inputs.file={path} needs safetensors: pip install safetensors") from None
        return load_file(path)
    if kind in (".npy", ".npz"):
        found = np.load(path, allow_pickle=False)
        return dict(found) if kind == ".npz" else found
    if kind in (".pt", ".pth") or zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    raise SweepError(f"model.inputs.file={path} is of no kind that can be read: give one of {KINDS}")


def _tensor(value: Any, where: str, fix: str) -> torch.Tensor:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        value = torch.from_numpy(np.ascontiguousarray(value)) if value.ndim else torch.tensor(value.item())
    if not isinstance(value, torch.Tensor):
        raise SweepError(f"{where} is a {type(value).__name__} and no tensor: {fix}")
    return value.detach().cpu()
