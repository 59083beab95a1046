"""Check and complete the settings that both backends on Inductor share."""

from __future__ import annotations

import dataclasses

from trt_sweep.config.groups import InductorConfig
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError


def require_cpp_compiler(what: str) -> None:
    """Raise SweepError where torch finds no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        raise SweepError(
            f"{what} needs a C++ compiler, and torch finds none: install g++ (apt-get install g++) or name yours in "
            "the environment variable CXX"
        ) from error


def effective_inductor(config: PointConfig) -> PointConfig:
    """Return the configuration with `inductor.mode` and `cuda_graphs` that agree.

    "reduce-overhead", for instance, is "default" with CUDA graphs. A mode that implies CUDA graphs loses them on a CPU,
    which has none.
    """
    autotune = config.inductor.mode.startswith("max-autotune")
    graphs = config.cuda_graphs
    if graphs is None:
        graphs = config.inductor.mode in ("reduce-overhead", "max-autotune") and config.device != "cpu"
    modes = {
        (False, False): "default",
        (False, True): "reduce-overhead",
        (True, True): "max-autotune",
        (True, False): "max-autotune-no-cudagraphs",
    }
    mode = InductorConfig(modes[autotune, graphs])
    return dataclasses.replace(config, inductor=mode, cuda_graphs=graphs)
