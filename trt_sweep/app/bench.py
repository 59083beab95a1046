"""`trt-sweep bench NAME`: `timing`, `sweep`, `profile`, `compare`, `overhead` and `report`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trt_sweep.errors import SweepError

LEAST = {"repeats": 2, "windows": 10, "points": 4, "build_workers": 1, "nights": 2, "simulated": 1}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark that is named; exit code 1 with one line where it cannot."""
    parser = argparse.ArgumentParser(prog="trt-sweep bench", description="Check the instrument itself.")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    timing = benchmarks.add_parser("timing", help="how repeatable each clock is, and what the ranks claim")
    timing.add_argument("--folder", type=Path, default=Path("outputs/bench/timing"), help="where the results go")
    timing.add_argument("--repeats", type=int, default=12, help="how often other ways time as well")
    timing.add_argument("--windows", type=int, default=102, help="windows of each model, by each clock")
    timing.add_argument("--points", type=int, default=20, help="builds of one engine for the A/A test")
    sweep = benchmarks.add_parser("sweep", help="what a sweep costs beside a loop over perf_run.py")
    sweep.add_argument("--folder", type=Path, default=Path("outputs/bench/sweep"), help="where the parts are kept")
    sweep.add_argument(
        "--part", help="some of perf_run,sweep,again,no_reuse,brief,ahead,partitions,one_gpu,two_gpus; or report"
    )
    sweep.add_argument("--perf-run", type=Path, help="tools/perf/perf_run.py of a checkout of Torch-TensorRT")
    sweep.add_argument("--build-workers", type=int, default=2, help="processes that build ahead")
    profile = benchmarks.add_parser("profile", help="whether looking into engines disturbs, and what it shows")
    profile.add_argument("--folder", type=Path, default=Path("outputs/bench/profile"), help="where the parts are kept")
    profile.add_argument("--part", help="some of without,with,again,large,onnx,verbosity; or report")
    overhead = benchmarks.add_parser("overhead", help="what trivial points and large tables cost; needs no GPU")
    overhead.add_argument("--folder", type=Path, default=Path("outputs/bench/overhead"), help="a new one")
    overhead.add_argument("--plans", type=int, nargs="+", default=[10, 100, 1000], help="points of a sweep")
    overhead.add_argument("--records", type=int, nargs="+", default=[1000, 100_000], help="records of a table")
    report = benchmarks.add_parser("report", help="what a report of many records costs; needs no GPU")
    report.add_argument("--folder", type=Path, default=Path("outputs/bench/report"), help="a new one")
    report.add_argument(
        "--records-of", type=Path, default=Path("outputs/reference"), help="real ones to make others of"
    )
    report.add_argument("--records", type=int, nargs="+", default=[1000, 10_000], help="records of a report")
    compare = benchmarks.add_parser("compare", help="alarms between nights with nothing changed, and one with")
    compare.add_argument("--folder", type=Path, default=Path("outputs/bench/compare"), help="where the nights are kept")
    compare.add_argument("--nights", type=int, default=6, help="nights in which nothing changes; each pair is compared")
    compare.add_argument("--slower", type=float, metavar="SHARE", help="of one model's work, added in the last night")
    compare.add_argument("--simulated", type=int, default=1000, help="simulated pairs of nights")
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
        from trt_sweep.benchmarks import sweep

        sweep.run(options.folder, options.part, options.perf_run, options.build_workers)
    elif options.benchmark == "profile":
        from trt_sweep.benchmarks import profile

        profile.run(options.folder, options.part)
    elif options.benchmark == "overhead":
        from trt_sweep.benchmarks import overhead

        _require_counts(options, "plans", "records")
        overhead.run(options.folder, options.plans, options.records)
    elif options.benchmark == "report":
        from trt_sweep.benchmarks import report

        _require_counts(options, "records")
        report.run(options.folder, options.records_of, options.records)
    elif options.benchmark == "compare":
        if options.slower is not None and not options.slower > 0:
            raise SweepError(f"--slower={options.slower} is not allowed: use a share above 0, such as 0.03")
        from trt_sweep.benchmarks import compare

        compare.run(options.folder, options.nights, options.slower, options.simulated)
    else:
        if options.repeats > options.windows:
            raise SweepError(f"--repeats={options.repeats} is not allowed: use at most --windows={options.windows}")
        from trt_sweep.benchmarks import timing

        timing.run(options.folder, options.repeats, options.windows, options.points)


def _require_counts(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        least = min(getattr(options, name))
        if least < 1:
            raise SweepError(f"--{name}={least} is not allowed: use integers of at least 1")
