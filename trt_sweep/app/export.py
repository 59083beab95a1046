"""`trt-sweep export POINT --format … --out DIR`: save a point to deploy, and try it in a process without trt_sweep."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trt_sweep.app.arguments import Parser, UsageError, path, verb, write_json
from trt_sweep.errors import SweepError

if TYPE_CHECKING:
    from trt_sweep.points.export import Saved

FORMATS = ("exported_program", "aot_inductor", "engine")
MANIFEST = "artifact.json"
LIMIT_S = 600  # for a process that loads it and calls it once


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="trt-sweep export",
        description="Build a point again, save it, and load it in a fresh process. Tell how long that takes, and "
        f"whether the output is right. Beside it lie its inputs, a loader that needs no trt_sweep, and {MANIFEST}.",
    )
    parser.add_argument("point", type=path, metavar="POINT", help="the folder of a point: SWEEP/points/POINT_ID")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=f"what to save it as ({FORMATS[0]})")
    parser.add_out("the folder that the files go into")
    options = parser.parse_args(arguments)
    if options.out is None:
        raise UsageError("--out is not set: name the folder that the files go into")
    return options


@verb()
def main(arguments: list[str]) -> int:
    """Save the point and print what it takes; return exit code 1, after one line, where that cannot be."""
    options = _options(arguments)
    from trt_sweep.results import files
    from trt_sweep.results.record import RECORD

    if not files.exists(options.point / RECORD):
        raise SweepError(f"{options.point} is not the folder of a point: give SWEEP/points/POINT_ID")

    from trt_sweep.machine import devices, versions
    from trt_sweep.machine.output import LOG, redirect_output
    from trt_sweep.points import export, plan
    from trt_sweep.sweep import again, command

    config, record = again.configured(options.point, "export")
    sizes = plan.effective(config.point)
    point = next((point for point in sizes if point.timed.batch_size == record.batch_size), sizes[0])
    export.require_possible(point, options.format)
    device = devices.resolve(point.device)
    options.out.mkdir(parents=True, exist_ok=True)
    row = vars(record) | dataclasses.asdict(versions.environment(device))
    with command.surroundings(options.point.parent.parent), redirect_output(options.out / LOG):
        saved = export.save(point, device, options.out, options.format, row)
    found = _tried(saved, options.out, point.accuracy.rel_l2[point.precision])
    size = saved.path.stat().st_size
    about = {"format": options.format, "file": saved.path.name, "point_id": record.point_id} | {
        name: row[name] for name in ("gpu_name", "torch", "torch_tensorrt", "tensorrt", "tensorrt_flavor", "python")
    }
    write_json(options.out / MANIFEST, about | {"save_s": saved.save_s, "artifact_bytes": size} | found)
    _say(saved, options.out, size, found, record.rel_l2_error)
    return 0


def _tried(saved: Saved, out: Path, limit: float) -> dict[str, Any]:
    """Load the file in two fresh processes, the second with the caches that the first has left.

    Return how long loading and the first call took in each, and the error of the output.
    """
    import torch

    from trt_sweep.measure import accuracy
    from trt_sweep.points import export
    from trt_sweep.results import store

    found: dict[str, Any] = {}
    with TemporaryDirectory() as caches:
        for state in ("cold", "warm"):
            took = _loaded(out, caches)
            found |= {"load_s": took["load_s"], f"first_call_ms_{state}": took["first_call_ms"]}
    outputs = export.restored(torch.load(out / export.OUTPUTS), saved.outputs)
    verdict, _ = accuracy.check(outputs, saved.reference, limit)
    found |= {"rel_l2_error": verdict.rel_l2_error, "finite": verdict.finite, "accurate": verdict.accurate}
    (out / export.OUTPUTS).unlink()
    return store.finite(found)


def _loaded(out: Path, caches: str) -> dict[str, float]:
    """Run the loader in a process that has only what is installed, and its caches in a folder of its own."""
    from trt_sweep.points import export

    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TORCHINDUCTOR_CACHE_DIR")}
    command = [sys.executable, export.LOADER]
    try:
        done = subprocess.run(
            command, cwd=out, env=own | {"TMPDIR": caches}, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise SweepError(f"{out / export.LOADER} did not end within {LIMIT_S} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SweepError(f"what was saved does not run in a fresh process: {words}; see {out / export.LOADER}")
    took: dict[str, float] = json.loads(lines[-1])
    return took


def _say(saved: Saved, out: Path, size: int, found: dict[str, Any], error: float | None) -> None:
    from trt_sweep.points.export import LOADER

    print(f"written: {saved.path} ({size / 1e6:.3g} MB, saved in {saved.save_s:.3g} s)")
    calls = ", ".join(f"{found[f'first_call_ms_{state}']:.4g} ms {state}" for state in ("cold", "warm"))
    print(f"in a fresh process: loaded in {found['load_s']:.3g} s, the first call took {calls} (caches)")
    before = "" if error is None else f"; the point's own was {error:.2g}"
    told = "not known" if found["rel_l2_error"] is None else f"{found['rel_l2_error']:.2g}"
    print(f"error after loading: {told}{before}" + "; NOT ACCURATE" * (found["accurate"] is False))
    print(f"to load it: {out / LOADER}")
