"""Sweep Torch-TensorRT settings and find out what each of them buys."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_sweep.app.notebook import run

__version__ = "0.1.0"
__all__ = ["run"]


def __getattr__(name: str) -> Any:
    if name == "run":  # with torch and Hydra behind it, which importing the package does not need
        from trt_sweep.app.notebook import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
