"""Sweep Torch-TensorRT settings and find out what each of them buys.

From Python: `tune` finds the best settings for a module that is in memory, `run` sweeps one, `load` reads the records
below folders into a table, `summary` shows such a table at a glance, and what a user can mend is a `SweepError`.
Importing the package imports nothing else: each comes when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_sweep.app.frame import load
    from trt_sweep.app.notebook import run
    from trt_sweep.app.summary import summary
    from trt_sweep.app.tuned import tune
    from trt_sweep.errors import SweepError

__version__ = "0.1.0"
__all__ = ["SweepError", "__version__", "load", "run", "summary", "tune"]

_MODULES = {
    "SweepError": "errors",
    "load": "app.frame",
    "run": "app.notebook",
    "summary": "app.summary",
    "tune": "app.tuned",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"trt_sweep.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
