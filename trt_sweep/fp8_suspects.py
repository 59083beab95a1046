"""`python -m trt_sweep.fp8_suspects`: which layers and scales an FP8 engine computes as the fake-quantized model does.

Each suspect is a layer or two with one thing special in them. Where engines of whole models give NaN, the first row
that is not finite names the cause. Without a GPU engines are built and not run.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from trt_sweep import accuracy, backends, gpu, models, plan, quantization
from trt_sweep.config import SweepConfig
from trt_sweep.errors import SweepError, Unsupported, one_line
from trt_sweep.groups import InputConfig, ModelConfig, QuantizationConfig
from trt_sweep.models import Inputs, Model
from trt_sweep.progress import LOG, captured

E4M3_MAX = 448.0  # the largest number; a scale is the range over it
FP16_NORMAL = 2**-14  # the smallest normal number
BATCH = 8


class Residual(nn.Module):
    """What a block of a resnet ends with: a sum, whose operands come from two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.two(torch.relu(self.one(x) + x))
        return made


@dataclass(frozen=True)
class Suspect:
    """Layers in FP8, and what is special in them.

    Quantizers that match `off` are disabled. Inputs have the largest value `range`, for which their scale is made, and
    the layer is called with `beyond` times them. Weights are multiplied by what gives the first of them the scale
    `weight_scale`; `uniform` makes all weights and inputs equal, so that sums are as large as they can be.
    """

    name: str
    layers: Callable[[], nn.Module]
    shape: tuple[int, ...]
    off: str = ""
    range: float = 4.0
    beyond: float = 1.0
    weight_scale: float | None = None
    uniform: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of a suspect.

    `error` is the relative L2 error of its engine against the fake-quantized layers in PyTorch, NaN where the engine's
    outputs are not finite, null where nothing ran; `reason` is why. `seconds` are for all of it.
    """

    suspect: Suspect
    scales: list[float]
    error: float | None = None
    reason: str | None = None
    seconds: float = 0.0


def _linear(inputs: int = 256) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(inputs, 64))


def _convolution(channels: int, kernel: int = 3, stride: int = 1) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(channels, 64, kernel, stride, kernel // 2))


def _pooled() -> nn.Module:
    return nn.Sequential(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 64))


def _normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(64, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))


ROW, IMAGE = (256,), (64, 14, 14)
SUSPECTS = [
    Suspect("linear", _linear(), ROW),
    Suspect("linear, weights alone", _linear(), ROW, off="*input_quantizer"),
    Suspect("linear, activations alone", _linear(), ROW, off="*weight_quantizer"),
    # E4M3 ends at 448, and what rounds to more, above 464, is NaN unless the cast saturates.
    *(Suspect(f"linear, inputs {by:g} × the range", _linear(), ROW, beyond=by) for by in (1.03, 1.05, 4.0)),
    # FP16 has 65504 as its largest number: a sum of products of E4M3's numbers is far above, before it is scaled.
    Suspect("linear, sums of 448 × 448 × 256", _linear(), ROW, uniform=True),
    # The converter gives scales in FP32; in FP16 the second of these is subnormal, and the last is zero.
    *(
        Suspect(f"linear, weights' scale {scale:.1e}", _linear(), ROW, weight_scale=scale)
        for scale in (2 * FP16_NORMAL, 0.8 * FP16_NORMAL, 1e-6, 1e-8)
    ),
    *(
        Suspect(f"linear, inputs' scale {scale:.1e}", _linear(), ROW, range=scale * E4M3_MAX)
        for scale in (2 * FP16_NORMAL, 0.8 * FP16_NORMAL, 1e-6)  # below, FP16's inputs would be zero
    ),
    Suspect("linear, zero weights", _linear(), ROW, weight_scale=0.0),
    Suspect("linear, zero inputs", _linear(), ROW, range=0.0),
    Suspect("convolution", _convolution(64), IMAGE),
    Suspect("convolution, weights alone", _convolution(64), IMAGE, off="*input_quantizer"),
    Suspect("convolution, activations alone", _convolution(64), IMAGE, off="*weight_quantizer"),
    Suspect("convolution, inputs 1.05 × the range", _convolution(64), IMAGE, beyond=1.05),
    # Kernels take channels by 16: what fills them up must not be read.
    Suspect("convolution, 3 channels, 7 × 7 / 2", _convolution(3, 7, 2), (3, 64, 64)),
    Suspect("convolution, 1 × 1", _convolution(64, 1), IMAGE),
    Suspect("convolution, norm, maximum", _normed, IMAGE),
    Suspect("convolution, mean, linear", _pooled, IMAGE),
    Suspect("convolution, sum, convolution", lambda: Residual(64), IMAGE),
]


def point(suspect: Suspect) -> SweepConfig:
    """The configuration that a suspect's layers are built by."""
    model = ModelConfig(suspect.name, {"_target_": __name__}, inputs=[InputConfig([*suspect.shape])])
    how = QuantizationConfig("modelopt_fp8_default")
    made = SweepConfig(model, "dynamo", "fp8", BATCH, min_block_size=1, quantization=how)
    (found,) = plan.effective(made)
    return found


def quantized(suspect: Suspect, config: SweepConfig, device: torch.device) -> Model:
    """The fake-quantized layers, with the inputs that they are to be called with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = suspect.layers().eval().requires_grad_(False)
    inputs = models.inputs(config, torch.device("cpu")).args[0]
    weight = next(parameter for name, parameter in module.named_parameters() if name.endswith("weight"))
    if suspect.uniform:
        inputs = torch.ones_like(inputs)
        weight.fill_(1.0)
    if suspect.weight_scale is not None:
        weight.mul_(suspect.weight_scale * E4M3_MAX / weight.abs().max())
    given = (inputs * (suspect.range / inputs.abs().max())).to(device)
    model = Model(module.to(device), Inputs((given,), {}))
    method = quantization.get("modelopt_fp8_default")
    made = method.quantize(model, models.DTYPE[config.base_precision], [model.inputs], set())
    for name, child in made.module.named_modules():
        if suspect.off and fnmatchcase(name, suspect.off):
            child.disable()
    called = Inputs((given * suspect.beyond,), {}).to(models.DTYPE[config.base_precision])
    return Model(made.module, called, typed=True, lowering=made.lowering)


def examine(suspect: Suspect, folder: Path) -> Verdict:
    """Build and call one of them; where that fails, the verdict says why."""
    start, config = time.perf_counter(), point(suspect)
    device = gpu.resolve("auto")
    with torch.no_grad(), models.float32_mode("fp32"), contextlib.ExitStack() as stack:
        model = quantized(suspect, config, device)
        named = model.module.named_buffers()
        scales = [float(value) / E4M3_MAX for name, value in named if name.endswith("_amax") and value.numel() == 1]
        settings = backends.Settings(config, device, folder, lambda _: None, lambda _: None, stack)
        backend, error, reason = backends.get("dynamo"), None, None
        try:
            if config.dryrun:
                backend.plan(model, settings)
            else:
                compiled = backend.compile(model, settings)
                assert compiled.bind is not None
                call = compiled.bind(model.inputs)
                with compiled.running():
                    outputs, wanted = call(), model()
                checked = accuracy.check(outputs, wanted, math.inf)
                error = checked.rel_l2_error if checked.finite else math.nan
        except Exception as failure:
            reason = one_line(failure)
    return Verdict(suspect, scales, error, reason, time.perf_counter() - start)


def examined(pattern: str, folder: Path) -> Iterator[Verdict]:
    """Those whose names match; raises SweepError where none does."""
    found = [suspect for suspect in SUSPECTS if fnmatchcase(suspect.name, pattern)]
    if not found:
        names = "; ".join(suspect.name for suspect in SUSPECTS)
        raise SweepError(f"--only={pattern} matches no suspect: give a pattern for some of {names}")
    for index, suspect in enumerate(found):
        own = folder / str(index)
        own.mkdir()
        with captured(own / LOG):
            verdict = examine(suspect, own)
        yield verdict


def line(verdict: Verdict) -> str:
    """What is printed of a verdict."""
    error = "built" if verdict.error is None else "NaN" if math.isnan(verdict.error) else f"{verdict.error:.1e}"
    least = f"{min(verdict.scales):.1e}" if verdict.scales else "–"
    return f"{verdict.suspect.name:<40}{least:>12}  {verdict.reason or error}  ({verdict.seconds:.1f} s)"


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each suspect; exit code 1 with one line where that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m trt_sweep.fp8_suspects",
        description="Set single FP8 layers, as engines, against the same fake-quantized in PyTorch.",
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help="suspects by name: 'convolution*'")
    options = parser.parse_args(arguments)
    try:
        with TemporaryDirectory() as name:
            print(f"{'layers':<40}{'least scale':>12}  error of the engine against PyTorch")
            for verdict in examined(options.only, Path(name)):
                print(line(verdict), flush=True)  # one may take the process down
    except KeyboardInterrupt:
        return 130
    except (SweepError, Unsupported) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
