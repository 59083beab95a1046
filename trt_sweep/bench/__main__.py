"""`python -m trt_sweep.bench timing` and `python -m trt_sweep.bench sweep`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trt_sweep.errors import SweepError

LEAST = {"repeats": 2, "windows": 10, "points": 4, "build_workers": 1}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that is named; exit code 1 with one line where it cannot."""
    parser = argparse.ArgumentParser(prog="python -m trt_sweep.bench", description="Check the instrument itself.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    timing = benchmarks.add_parser("timing", help="how repeatable each clock is, and what the ranks claim")
    timing.add_argument("--folder", type=Path, default=Path("outputs/bench/timing"), help="where the results go")
    timing.add_argument("--repeats", type=int, default=12, help="how often other ways time as well")
    timing.add_argument("--windows", type=int, default=102, help="windows of each model, by each clock")
    timing.add_argument("--points", type=int, default=20, help="builds of one engine for the A/A test")
    sweep = benchmarks.add_parser("sweep", help="what a sweep costs, and whether building ahead shows in the times")
    sweep.add_argument("--folder", type=Path, default=Path("outputs/bench/sweep"), help="a new one for the results")
    sweep.add_argument("--build-workers", type=int, default=2, help="processes that build ahead")
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    for name, value in vars(options).items():
        if name in LEAST and value < LEAST[name]:
            option = "--" + name.replace("_", "-")
            raise SweepError(f"{option}={value} is not allowed: use an integer of at least {LEAST[name]}")
    if options.benchmark == "sweep":
        from trt_sweep.bench import sweep

        sweep.run(options.folder, options.build_workers)
        return
    if options.repeats > options.windows:
        raise SweepError(f"--repeats={options.repeats} is not allowed: use at most --windows={options.windows}")
    from trt_sweep.bench import timing

    timing.run(options.folder, options.repeats, options.windows, options.points)


if __name__ == "__main__":
    sys.exit(main())
