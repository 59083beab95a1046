"""`python -m trt_sweep.bench timing`"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trt_sweep.errors import SweepError


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that is named; exit code 1 with one line where it cannot."""
    parser = argparse.ArgumentParser(prog="python -m trt_sweep.bench", description="Check the instrument itself.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    timing = benchmarks.add_parser("timing", help="how repeatable each clock is, and what the ranks claim")
    timing.add_argument("--folder", type=Path, default=Path("outputs/bench/timing"), help="where the results go")
    timing.add_argument("--repeats", type=int, default=12, help="how often other ways time as well")
    timing.add_argument("--windows", type=int, default=102, help="windows of each model, by each clock")
    timing.add_argument("--points", type=int, default=20, help="builds of one engine for the A/A test")
    options = parser.parse_args(arguments)
    least = {"repeats": 2, "windows": 10, "points": 4}
    try:
        for name, value in least.items():
            if getattr(options, name) < value:
                raise SweepError(
                    f"--{name}={getattr(options, name)} is not allowed: use an integer of at least {value}"
                )
        if options.repeats > options.windows:
            raise SweepError(f"--repeats={options.repeats} is not allowed: use at most --windows={options.windows}")
        from trt_sweep.bench.timing import run

        run(options.folder, options.repeats, options.windows, options.points)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
