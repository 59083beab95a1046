"""Python source that makes a point's model and inputs, from the configuration beside its record."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[Hashable, Any]
DTYPES = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}
TORCHVISION = "torchvision.models.get_model"


def comment(value: object) -> str:
    """Text that cannot leave the comment it stands in."""
    return re.sub(r"[^\x20-\x7e]", "?", str(value))


def targets(value: Any) -> Iterator[str]:
    """The dotted names that a factory calls, those inside its arguments and lists too."""
    if isinstance(value, dict):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from targets(item)


def imports(config: dict[str, Any]) -> set[str]:
    """The modules behind the names that the model's factory calls; classes are reached through theirs."""
    found = set()
    for target in targets(config.get("model")):
        parts = target.split(".")[:-1]
        while len(parts) > 1 and parts[-1][:1].isupper():
            parts.pop()
        if parts and all(part.isidentifier() for part in parts):
            found.add(".".join(parts))
    return found


def model(config: dict[str, Any], row: Row, device: str, dtype: str) -> list[str]:
    """Lines that make the module; a comment where no configuration tells how."""
    chosen = config.get("model")
    chosen = chosen if isinstance(chosen, dict) else {}
    end = f".eval().to(device={device!r}, dtype=torch.{dtype})"
    try:
        made = _call(dict(chosen.get("factory") or {}), chosen.get("weights"))
    except (ValueError, TypeError):
        return [f"# model: put your own {comment(row['model'])} here, a torch.nn.Module", f"model = model{end}"]
    weights = chosen.get("weights")
    if weights is None:
        note = ["# random weights here, and in the sweep: give your own"]
    elif "weights" in made:
        note = []
    else:
        note = [f"# and load_state_dict of {comment(weights)}"]
    return [*note, f"torch.manual_seed({int(chosen.get('seed') or 0)})", f"model = {made}{end}"]


def _call(factory: dict[str, Any], weights: str | None) -> str:
    """A call of Hydra's form as Python.

    Raises ValueError where its target is no dotted name, or Hydra is to do more than call it.
    """
    target = factory.pop("_target_", "")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", str(target)):
        raise ValueError(target)
    factory.pop("_convert_", None)  # of OmegaConf's containers, which there are none of here
    positional = [_value(value) for value in factory.pop("_args_", None) or []]
    if weights is not None and target == TORCHVISION and not Path(weights).suffix:
        factory["weights"] = weights
    if {"_partial_", "_recursive_"} & factory.keys():
        raise ValueError(target)
    return f"{target}({', '.join([*positional, *(f'{name(key)}={_value(value)}' for key, value in factory.items())])})"


def _value(value: Any) -> str:
    if isinstance(value, dict) and "_target_" in value:
        return _call(dict(value), None)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def name(text: str) -> str:
    """A text that may stand as a name in Python; raises ValueError for others."""
    if not text.isidentifier():
        raise ValueError(text)
    return text


def precision(wanted: str) -> list[str]:
    """TF32 as the precision asks for it, in PyTorch's own kernels too."""
    if wanted not in ("fp32", "tf32"):
        return []
    allowed = wanted == "tf32"
    return [f"torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = {allowed}"]


def inputs(config: dict[str, Any], row: Row, device: str, dtype: str) -> list[str]:
    """Lines that make `args` and `kwargs`, drawn as in the sweep."""
    specs = config["model"].get("inputs", []) if isinstance(config.get("model"), dict) else []
    if not specs:
        return ["args, kwargs = (), {}  # the model's inputs"]
    made, named = [], []
    for spec in specs:
        # A range is exported at the size that it is optimized for: an example of size 1 would fix the dimension.
        batch = config["batch_size"] if isinstance(config.get("batch_size"), list) else int(row["batch_size"])
        sizes = [batch, *spec["shape"]] if spec.get("batched", True) else list(spec["shape"])
        fixed = [size[1] if isinstance(size, list) else int(size) for size in sizes]
        tensor = _tensor(fixed, spec, device, dtype)
        if spec.get("name") is None:
            made.append(tensor)
        else:
            named.append(f"{str(spec['name'])!r}: {tensor}")
    return [f"args = ({', '.join(made)}{',' if len(made) == 1 else ''})", f"kwargs = {{{', '.join(named)}}}"]


def _tensor(shape: list[int], spec: dict[str, Any], device: str, dtype: str) -> str:
    kind = spec.get("dtype", "float")
    low, high = spec.get("low"), spec.get("high")
    size = ", ".join(map(str, shape))
    to = f"device={device!r}, dtype=torch.{dtype if kind == 'float' else name(str(kind))}"
    if kind == "bool":
        return f"torch.randint(0, 2, ({size},), device={device!r}).bool()"
    if low is None or high is None:
        return f"torch.randn({size}).to({to})"
    if kind.startswith(("int", "uint")):
        return f"torch.randint({int(low)}, {int(high)}, ({size},)).to({to})"
    return f"(torch.rand({size}) * {float(high) - float(low)} + {float(low)}).to({to})"
