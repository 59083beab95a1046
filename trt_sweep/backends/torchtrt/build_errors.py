"""Raise Unsupported in the builder's own words where Torch-TensorRT or TensorRT refuses a program."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

from trt_sweep.backends.torchtrt import installed
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import NO_MEMORY, Refused, Unsupported, one_line

# What a CUDA call says that fails, or finds no GPU: no refusal.
NO_GPU = re.compile(r"cuda (error|driver|gpu|failure)|cudaerror|nvidia driver", re.IGNORECASE)


class _Errors(logging.Handler):
    """Collect what TensorRT logs as an error: its builder returns None, and says why nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def what(config: PointConfig) -> str:
    """Return the setting of a point that a refusal is to be put down to."""
    how = config.quantization.method
    return f"quantization.method={how}" if config.quantized else f"backend={config.backend}"


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise Unsupported, in the library's own words, where a converter or the builder refuses a network.

    A converter's refusal names the operator. One of PyTorch's own may be refused for its shape, and can be left to
    PyTorch; another, as those that quantize, is Refused at any size.
    """
    logger = logging.getLogger("torch_tensorrt [TensorRT Conversion Context]")
    errors = _Errors()
    logger.addHandler(errors)
    try:
        yield
    except Exception as error:
        # torch.fx says which node was being converted; the builder gives None, which the library asserts or raises.
        reason, converting, node = str(error).partition("While executing")
        builder = "build_serialized_network" in reason or (isinstance(error, AssertionError) and bool(errors.said))
        said = errors.said[-1] if errors.said else reason
        if not (converting or builder) or NO_GPU.search(said) or NO_MEMORY.search(f"{said} {error}"):
            raise
        found = re.search(r"target=(?:torch\.ops\.)?([\w.]+)", node)
        where, kind = f", converting {found[1]}" if found else "", Refused if converting else Unsupported
        if found and found[1].startswith("aten."):
            where += f"; '+compile.torch_executed_ops=[{found[1]}]' leaves it to PyTorch"
            kind = Unsupported
        words = one_line(Unsupported(said), 400 - len(where))
        raise kind(f"{what}: {installed.torch_tensorrt().name} refuses it: {words}{where}") from error
    finally:
        logger.removeHandler(errors)
