"""Make what a point is built from and compared with: the model, its FP32 outputs, the quantized model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from trt_sweep.config.point import PointConfig
from trt_sweep.errors import NO_MEMORY, SweepError, one_line
from trt_sweep.machine import locks
from trt_sweep.measure import accuracy
from trt_sweep.models import checkpoints, factory, in_memory, inputs, patterns, probe, quantization, reference
from trt_sweep.models.cache import ProcessCache
from trt_sweep.models.inputs import example_inputs
from trt_sweep.models.model import DTYPE, Model, autocast, float32_mode
from trt_sweep.results import columns, measured

MOST_BATCHES = 64  # of samples that the user has, whose outputs are kept
MOST_ALONE = 64  # samples of a batch that the reference is called with alone
INVALID = re.compile(r"index|offset|out of (range|bounds)|device-side assert", re.IGNORECASE)


@dataclass(frozen=True)
class PreparedModel:
    """Make each part once for all points that have it in common, and keep it in `cache`.

    `enter` is told of the phase that an answer is wanted in, where that had to wait for the GPU.
    """

    config: PointConfig
    device: torch.device
    cache: ProcessCache
    enter: Callable[[str], None] = lambda phase: None

    def model(self) -> Model:
        """Return the model in FP32, as nothing has changed it yet; it knows which modules are to stay so.

        Raises SweepError where it cannot be built, or where a pattern matches no module.
        """
        key = ("model", self.config.source_key, str(self.device))
        made = self.cache.get_or_make(key, lambda: factory.build(self.config, self.device, self.cache))
        kept = patterns.within(made.module, self.config.keep_fp32, "keep_fp32")
        patterns.matching(made.module, self.config.accuracy.probe, "accuracy.probe")  # before a build, not behind it
        return dataclasses.replace(made, keep_fp32=frozenset(kept)) if kept else made

    def reference(self, phase: str) -> accuracy.Reference:
        """Return the outputs of the FP32 model at the size that is timed, as the point asks for them.

        Raises SweepError where there is nothing to compare with, or no output of a name that it asks for.
        """
        key = ("reference", self.config.timed.source_key, str(self.device))
        return accuracy.chosen(self.cache.get_or_make(key, lambda: self._reference(phase)), self.config.accuracy)

    def beside_eager(self, phase: str) -> accuracy.Reference:
        """Return the same with the errors of eager in the point's precision, which no engine is blamed for."""
        found, precision = self.reference(phase), self.config.precision
        if precision == "fp32" or self.config.quantized:
            return found
        key = (
            "eager",
            precision,
            *self.config.keep_fp32,
            self.config.timed.source_key,
            *self.config.accuracy.outputs,
            str(self.device),
        )
        return dataclasses.replace(found, eager=self.cache.get_or_make(key, lambda: self._eager(found, phase)))

    def _reference(self, phase: str) -> accuracy.Reference:
        """Call the FP32 model; one that comes in half and does not run in FP32 is called as it comes."""
        model = self.model()  # what type it comes in is known from here on
        config, device, size = self.config.timed, self.device, self.config.timed.batch_size
        samples, one = inputs.samples_given(config), dataclasses.replace(config, batch_size=1)
        given, other = (example_inputs(config, device, other) for other in (0, 1))
        batched = size > 1 and any(spec.batched for spec in config.model.tensors)
        alone = [part for part, _ in inputs.split_batches(given, one, MOST_ALONE)] if batched else []
        starts = range(size, min(samples or 0, MOST_BATCHES * size), size)
        notes = list[str]()
        if samples is not None and samples < size:
            notes.append(f"a batch of {size} is made of the {samples} samples that are given, over and over")
        if samples is not None and samples > MOST_BATCHES * size:
            notes.append(f"of the {samples} samples that are given the first {MOST_BATCHES * size} are judged")

        def call(module: torch.nn.Module, precise: torch.dtype) -> accuracy.Reference:
            own, others = given.to(precise), other.to(precise)
            parts = [each.to(precise) for each in alone]
            more = (example_inputs(config, device, first=start).to(precise) for start in starts)
            return reference.make(module, own, others, alone=parts, further=more, batch=size if batched else 1)

        with float32_mode("fp32"), locks.build_lock(self.device, self.enter, phase):
            try:
                found = call(model.module, torch.float32)
            except (IndexError, RuntimeError, ValueError) as error:
                if NO_MEMORY.search(str(error)):
                    raise
                if model.as_given is None:
                    self._require_valid(error)
                    raise
                why = one_line(error, 200)
                notes.append(f"the reference is the model as it comes, since its FP32 copy fails: {why}")
                found = call(model.as_given, given.own)
        notes += checkpoints.notes(model.module if model.as_given is None else model.as_given)
        return dataclasses.replace(found, notes=(*found.notes, *notes), samples=samples)

    def _require_valid(self, error: Exception) -> None:
        """Raise SweepError for the error of a call whose integers are random, and may not be valid."""
        drawn = in_memory.find(self.config.model) is None and any(spec.drawn for spec in self.config.model.tensors)
        if drawn and INVALID.search(str(error)):
            raise SweepError(
                f"{one_line(error, 300)}: model.inputs are drawn at random, and not every integer need be valid; give "
                "your own by model.inputs.file or model.inputs.factory"
            ) from error

    def _eager(self, found: accuracy.Reference, phase: str) -> dict[str, float]:
        model = dataclasses.replace(self.model(), inputs=example_inputs(self.config.timed, self.device))
        precision = self.config.precision
        with (
            float32_mode(precision),
            autocast(precision, self.device),
            locks.build_lock(self.device, self.enter, phase),
        ):
            return reference.errors(model, DTYPE[precision], found)

    def probed(self, phase: str) -> list[probe.Probed]:
        """Return what the modules that `accuracy.probe` names give in the point's precision, in eager.

        Raises SweepError for a pattern that matches no module.
        """
        config, model = self.config, self.model()
        names = patterns.matching(model.module, config.accuracy.probe, "accuracy.probe")
        model = dataclasses.replace(model, inputs=example_inputs(config.timed, self.device))

        def run() -> list[probe.Probed]:
            with locks.build_lock(self.device, self.enter, phase):
                return probe.probe(model, config.precision, self.device, names)

        key = ("probed", config.precision, *config.keep_fp32, config.timed.source_key, *names, str(self.device))
        return self.cache.get_or_make(key, run)

    def quantized(self, phase: str) -> tuple[Model, columns.Quantization]:
        """Return the quantized model and what its own outputs are worth, so that no engine is blamed for them.

        Raises what `quantization.quantize_cached` raises.
        """
        model, facts = quantization.quantize_cached(self.model(), self.config, self.device, self.cache)
        which = (self.config.quantized_key, self.config.timed.source_key, *self.config.accuracy.outputs)
        key = ("fake_quant", *which, str(self.device))
        found = self.cache.get_or_make(key, lambda: self._fake_quantized(model, phase))
        facts = dataclasses.replace(facts, fake_quant_finite=found.finite, fake_quant_rel_l2_error=found.rel_l2_error)
        return model, facts

    def _fake_quantized(self, model: Model, phase: str) -> measured.Accuracy:
        config = self.config
        found = self.reference(phase)
        own = example_inputs(config.timed, self.device).to(DTYPE[config.base_precision])
        with float32_mode("fp32"), locks.build_lock(self.device, self.enter, phase):
            outputs = model.module(*own.args, **own.kwargs)
        return accuracy.check(outputs, found, config.accuracy.rel_l2[config.precision])[0]
