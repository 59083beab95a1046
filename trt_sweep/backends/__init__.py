"""Find the compile paths by name; each is one file. To add one, add its file and conf/backend/<name>.yaml.

A backend is a module of this package with
- `AXES`: the axes that it uses; the others are unset in its rows, and points that differ in them alone are one
- `TENSORRT`: whether it needs a GPU to run, so that a point without one is planned instead of timed
- `DYNAMIC`: whether it builds once for a range of sizes; otherwise each size is a point of its own
- `AUTOCAST`: whether it takes precision=autocast_fp16 and autocast_bf16; it may be left out
- `STORED`: whether its engines are kept in `BuildContext.store`, so that they may be built ahead
- `effective(config)`: the configuration with the library's defaults filled in
- `compile(model, context)`: a `Compiled`, or Unsupported with the reason
- `plan(model, context)`: a `Compiled` that binds nothing; only where TENSORRT
- `dry_runs(model, context)`: Torch-TensorRT's partition by `min_block_size`; only where it can be asked for
- `REPRODUCTION`: the lines of Python that do the same without trt_sweep, see `reproduction`; it may be left out
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

from trt_sweep.backends import paths
from trt_sweep.errors import SweepError

if TYPE_CHECKING:  # it imports torch, which the process of a sweep does without
    from trt_sweep.backends.base import Backend


def names() -> list[str]:
    """Return the names of all backends."""
    return sorted(module.name for module in pkgutil.iter_modules(paths.__path__) if not module.name.startswith("_"))


def get(name: str) -> Backend:
    """Return the backend of that name; raise SweepError where there is none."""
    if name not in names():
        raise SweepError(f"backend={name} is not known: use one of {', '.join(names())}")
    return cast("Backend", importlib.import_module(f"{paths.__name__}.{name}"))
