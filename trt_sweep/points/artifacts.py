"""Write the files that a point leaves beside its record, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trt_sweep.measure.measurement import Measurement
from trt_sweep.measure.outputs import Leaf
from trt_sweep.results import store
from trt_sweep.results.record import SAMPLES

OUTPUTS = "outputs.json"  # how each leaf of the outputs compares


def write_outputs(folder: Path, outputs: Sequence[Leaf]) -> None:
    """Write how each leaf of the outputs compares; what is not finite is null."""
    store.write_json(folder / OUTPUTS, [store.finite(vars(leaf)) for leaf in outputs])


def write_samples(folder: Path, measurement: Measurement) -> None:
    """Write all samples."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{SAMPLES}"
    np.savez_compressed(temporary.open("wb"), allow_pickle=False, **measurement.samples())
    temporary.replace(folder / SAMPLES)
