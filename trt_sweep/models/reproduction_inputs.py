"""Write the Python lines that make a point's inputs again, without trt_sweep. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trt_sweep.config.model import UNSET, WHOLE

UNKNOWN = ["args, kwargs = (), {}  # put your own inputs here: a tuple by position, and a dict by name"]
IMAGE = "torchvision.io.decode_image"
READERS = {
    ".npy": "torch.from_numpy(numpy.load({file}))",
    ".npz": "torch.from_numpy(numpy.load({file}){key})",
    ".safetensors": "safetensors.torch.load_file({file}){key}",
}
SAMPLES = "samples = lambda x, n: x[torch.arange(n) % len(x)]  # over and over, where there are fewer"


def lines(
    specs: list[dict[str, Any]], batch: Any, where: str, imports: set[str], call: Callable[..., str]
) -> list[str]:
    """Return lines that make `args` and `kwargs` as in the sweep; `where` has the device and the type of floats.

    `call` writes a call in Hydra's form; the modules that the lines need go into `imports`. Raises ValueError for what
    has no Python form.
    """
    sizes = [batch, *(size for spec in _flat(specs) for size in spec.get("shape", []))]
    ranges = {"batch": batch, **{name: size for each in sizes for name, size in _named(each)}}

    def fixed(size: Any) -> int:
        found = ranges[size] if isinstance(size, str) else next(iter(size.values())) if isinstance(size, dict) else size
        # A range is exported at the size that it is optimized for: an example of size 1 would fix the dimension.
        return int(found[1]) if isinstance(found, list) else int(found)

    def one(spec: dict[str, Any]) -> str:
        items = spec.get("items")
        if isinstance(items, Mapping):
            return "{" + ", ".join(f"{key!r}: {one(part)}" for key, part in items.items()) + "}"
        if items is not None:
            return "[" + ", ".join(map(one, items)) + "]"
        if spec.get("value", UNSET) != UNSET:
            return repr(spec["value"])
        batched = spec.get("batched", True)
        if spec.get("file") or spec.get("factory"):
            found = call(dict(spec["factory"]), imports) if spec.get("factory") else _file(spec, imports)
            kind = spec.get("dtype", "float")
            placed = f"{found}.to({where if kind == 'float' else where.partition(', ')[0]})"
            shape = ", ".join(map(str, spec["shape"]))
            return f"samples({placed}.reshape(-1, {shape}), {fixed(batch)})" if batched else placed
        return _random([fixed(size) for size in [*([batch] if batched else []), *spec["shape"]]], spec, where)

    made = [(spec.get("name"), one(spec)) for spec in specs]
    if any(name is not None and not str(name).isidentifier() for name, _ in made):
        return UNKNOWN  # those of a module in memory, taken apart
    args = [text for name, text in made if name is None]
    kwargs = [f"{str(name)!r}: {text}" for name, text in made if name is not None]
    own = [SAMPLES] * any("samples(" in text for _, text in made)
    return [*own, f"args = ({', '.join(args)}{',' if len(args) == 1 else ''})", f"kwargs = {{{', '.join(kwargs)}}}"]


def shapes(specs: list[dict[str, Any]], batch: Any) -> list[str]:
    """Return lines that make `shapes`, which says where `args` and `kwargs` have which range; empty without one."""
    ranges: dict[str, list[int]] = {}
    found: list[str] = []

    def named(size: Any) -> str | None:
        if isinstance(size, str):
            return size
        if not isinstance(size, list | dict):
            return None
        unnamed = "batch" if size is batch else f"size_{len(ranges)}"
        name, numbers = _named(size)[0] if isinstance(size, dict) else (unnamed, size)
        known = [other for other, each in ranges.items() if each == numbers]
        name = known[0] if known and isinstance(size, list) else name
        ranges[name] = numbers
        return name

    def one(spec: dict[str, Any], place: str) -> None:
        items = spec.get("items") or []
        for key, part in items.items() if isinstance(items, Mapping) else enumerate(items):
            one(part, f"{place}[{key!r}]")
        if not items and spec.get("value", UNSET) == UNSET:
            sizes = [*([batch] if spec.get("batched", True) else []), *spec.get("shape", [])]
            axes = [f"{axis}: {name}" for axis, size in enumerate(sizes) if (name := named(size)) is not None]
            found.extend([f"shapes[{place}] = {{{', '.join(axes)}}}"] if axes else [])

    position = 0
    for spec in specs:
        name = spec.get("name")
        one(spec, f"args[{position}]" if name is None else f"kwargs[{str(name)!r}]")
        position += name is None
    dims = [f"{name} = torch.export.Dim({name!r}, min={size[0]}, max={size[2]})" for name, size in ranges.items()]
    return [*dims, "shapes = torch.export.ShapesCollection()", *found] if found else []


def _flat(specs: Any) -> list[dict[str, Any]]:
    parts = specs.values() if isinstance(specs, Mapping) else specs
    return [tensor for spec in parts for tensor in (_flat(spec["items"]) if spec.get("items") else [spec])]


def _named(size: Any) -> list[tuple[str, Any]]:
    return [*size.items()] if isinstance(size, Mapping) else []


def _file(spec: dict[str, Any], imports: set[str]) -> str:
    file, kind, key = repr(str(spec["file"])), Path(str(spec["file"])).suffix.lower(), spec.get("key")
    if kind in READERS:
        imports.add("numpy" if kind.startswith(".np") else "safetensors.torch")
        return READERS[kind].format(file=file, key="" if key is None else f"[{key!r}]")
    if kind in (".pt", ".pth"):
        return f"torch.load({file})" + ("" if key is None else f"[{key!r}]")
    imports.add("torchvision")
    return f"({IMAGE}({file}, 'RGB')[None]{' / 255' if spec.get('dtype', 'float') in ('float',) else ''})"


def _random(shape: list[int], spec: dict[str, Any], where: str) -> str:
    kind, low, high = str(spec.get("dtype", "float")), spec.get("low"), spec.get("high")
    if not kind.isidentifier():
        raise ValueError(kind)
    size = ", ".join(map(str, shape))
    device = where.partition(", ")[0]
    to = where if kind == "float" else f"{device}, dtype=torch.{kind}"
    if kind == "bool":
        return f"torch.randint(0, 2, ({size},), {device}).bool()"
    if low is None or high is None:
        return f"torch.randn({size}).to({to})"
    if kind in WHOLE:
        return f"torch.randint({int(low)}, {int(high)}, ({size},)).to({to})"
    return f"(torch.rand({size}) * {float(high) - float(low)} + {float(low)}).to({to})"
