"""Convert values of the command line to what Torch-TensorRT's annotations ask for."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import torch

from trt_sweep.errors import SweepError, require


def constant(node: ast.expr) -> Any:
    """Return the value of a literal, or of literals in an expression such as `1 << 25`; raise ValueError for others."""
    plain = (ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)
    if all(isinstance(part, plain) for part in ast.walk(node)):
        return eval(compile(ast.Expression(node), "default", "eval"), {"__builtins__": {}})
    return ast.literal_eval(node)


def converted(name: str, value: Any, annotation: str) -> Any:
    """Return a value of the command line as the annotation asks for it; raise SweepError where it does not fit."""
    optional = re.fullmatch(r"Optional\[(.*)\]", annotation)
    if optional and value is None:
        return None
    wanted = optional[1] if optional else annotation
    for pattern, (accepts, allowed, convert) in _KINDS.items():
        if re.fullmatch(pattern, wanted):
            require(accepts(value), name, value, allowed + ", or null" * bool(optional))
            return convert(name, value)
    raise SweepError(f"{name} is of type {annotation}, which cannot be written on the command line: leave it out")


def _same(_: str, value: Any) -> Any:
    return value


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _operators(name: str, value: list[str]) -> set[Any]:
    """Return operators by their names: aten.relu.default, or aten.relu for every overload; `torch.ops.` may precede."""
    found: set[Any] = set()
    for item in value:
        operator: Any = torch.ops
        try:
            for part in item.removeprefix("torch.ops.").split("."):
                operator = getattr(operator, part)
        except (AttributeError, RuntimeError) as error:
            raise SweepError(f"{name}: {item} is no operator of torch: use names like aten.relu.default") from error
        if isinstance(operator, torch._ops.OpOverloadPacket):
            found |= {getattr(operator, overload) for overload in operator.overloads()}
        elif isinstance(operator, torch._ops.OpOverload):
            found.add(operator)
        else:
            raise SweepError(f"{name}: {item} is no operator of torch: use names like aten.relu.default")
    return found


def _dtype(_: str, value: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, value)
    return found


_Kind = tuple[Callable[[Any], bool], str, Callable[[str, Any], Any]]


# How an annotation is read: which values fit, how they are described, and what is made of them.
_KINDS: dict[str, _Kind] = {
    r"bool": (lambda value: isinstance(value, bool), "true or false", _same),
    r"int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "an integer", _same),
    r"float": (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number", _same),
    r"str": (lambda value: isinstance(value, str), "a string", _same),
    r"(Collection|List|Set|Sequence)\[str\]": (_strings, "a list of strings", _same),
    r"(Collection|List|Set|Sequence)\[Target\]": (_strings, "a list of operators, [aten.relu.default]", _operators),
    r"Union\[torch\.dtype, dtype\]|dtype": (
        lambda value: isinstance(value, str) and isinstance(getattr(torch, value, None), torch.dtype),
        "a type of torch, float16 or bfloat16",
        _dtype,
    ),
}
