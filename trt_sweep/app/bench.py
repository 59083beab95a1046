"""`trt-sweep bench NAME`: check the instrument, and measure what the harness costs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from trt_sweep.app.arguments import Parser, path, verb

Run = Callable[[argparse.Namespace], None]


@verb()
def main(arguments: list[str]) -> int:
    """Run the benchmark that is named; return exit code 1, after one line, where it cannot be."""
    parser = Parser(prog="trt-sweep bench", description="Measure trt_sweep itself.")
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="NAME", required=True)
    for name, (meaning, describe) in BENCHMARKS.items():
        described = benchmarks.add_parser(name, help=meaning, description=f"Show {meaning}.")
        run = describe(described)
        described.set_defaults(run=run)
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


def _timing(parser: Parser) -> Run:
    parser.add_out("where the results go", Path("outputs/bench/timing"))
    parser.add_count("--repeats", "how often each model is timed, by each clock and in each other way", 12, least=2)
    parser.add_count("--sweeps", "how many sweeps the A/A test has; those in the folder are not made again", 10)
    parser.add_count("--names", "how many names one engine has in the A/A test", 20, least=4)
    return lambda options: _module("timing").run(options.out, options.repeats, options.sweeps, options.names)


def _sweep(parser: Parser) -> Run:
    parts = "perf_run, sweep, again, no_reuse, brief, ahead, partitions, one_gpu, two_gpus"
    parser.add_out("where the parts are kept", Path("outputs/bench/sweep"))
    parser.add_argument("--part", metavar="NAME,…", help=f"some of {parts}; or report")
    parser.add_argument(
        "--perf-run",
        type=path,
        metavar="FILE",
        help="tools/perf/perf_run.py of a checkout of Torch-TensorRT",
    )
    parser.add_count("--build-workers", "how many processes build ahead", 2)
    return lambda options: _module("sweep").run(options.out, options.part, options.perf_run, options.build_workers)


def _profile(parser: Parser) -> Run:
    parser.add_out("where the parts are kept", Path("outputs/bench/profile"))
    parser.add_argument(
        "--part", metavar="NAME,…", help="some of without, with, again, large, onnx, verbosity; or report"
    )
    return lambda options: _module("profile").run(options.out, options.part)


def _overhead(parser: Parser) -> Run:
    parser.add_out("a new folder for the results", Path("outputs/bench/overhead"))
    parser.add_count("--plans", "how many points a sweep has", [10, 100, 1000])
    parser.add_count("--records", "how many records a table has", [1000, 100_000])
    return lambda options: _module("overhead").run(options.out, options.plans, options.records)


def _report(parser: Parser) -> Run:
    parser.add_out("a new folder for the results", Path("outputs/bench/report"))
    parser.add_argument(
        "--records-of",
        type=path,
        metavar="FOLDER",
        default=Path("outputs/reference"),
        help="real records to make others of (outputs/reference)",
    )
    parser.add_count("--records", "how many records a report has", [1000, 10_000])
    return lambda options: _module("report").run(options.out, options.records_of, options.records)


def _compare(parser: Parser) -> Run:
    parser.add_out("where the nights are kept", Path("outputs/bench/compare"))
    parser.add_count("--nights", "how many nights nothing changes in; each pair is compared", 6, least=2)
    parser.add_share("--slower", "what is added to one model's work in the last night", above_one=True)
    parser.add_count("--simulated", "how many pairs of nights of each kind are simulated", 400)
    parser.add_argument(
        "--records", type=path, metavar="FOLDER", help="nights that the noise of simulated ones is drawn from"
    )
    return lambda options: _module("compare").run(
        options.out, options.nights, options.slower, options.simulated, options.records
    )


def _tune(parser: Parser) -> Run:
    parser.add_point("model=resnet50; without it races are simulated")
    parser.add_out("where the result goes; for a model, a new folder", Path("outputs/bench/tune"))
    parser.add_argument(
        "--records",
        type=path,
        metavar="FOLDER",
        default=Path("outputs/reference/h200/visits"),
        help="points that were visited in turn (outputs/reference/h200/visits)",
    )
    parser.add_count("--races", "how many races are simulated", 1000, least=10)
    parser.add_count("--seed", "seed of all that is drawn in simulations", 0, least=0)
    parser.add_count("--seeds", "races of a model, each with a seed of its own", 10)
    parser.add_argument("--max-error", metavar="E", help="largest rel_l2_error in races of a model")
    parser.add_argument("--budget", metavar="TIME", default="10m", help="how long a race of a model may take (10m)")

    def run(options: argparse.Namespace) -> None:
        if not options.overrides:
            _module("tune").run(options.records, options.out, options.races, options.seed)
            return
        limit = [] if options.max_error is None else [f"--max-error={options.max_error}"]
        given = options.overrides, options.config_dir, [f"--budget={options.budget}", *limit]
        _module("races").run(options.out, options.seeds, *given)

    return run


def _startup(parser: Parser) -> Run:
    parser.add_out("write startup.json there")
    parser.add_count("--repeats", "how often each command runs", 5)
    return lambda options: _module("startup").run(options.out, options.repeats)


BENCHMARKS: dict[str, tuple[str, Callable[[Parser], Run]]] = {
    "timing": ("how repeatable each clock is, and what the ranks claim", _timing),
    "sweep": ("what a sweep costs, compared with a loop over perf_run.py", _sweep),
    "profile": ("whether profiling disturbs the timing, and what it shows", _profile),
    "compare": ("how often nights raise an alarm, with nothing changed and with something", _compare),
    "tune": ("what races find: simulated ones, or those of a model beside its full grid; needs no GPU", _tune),
    "overhead": ("what trivial points and large tables cost; needs no GPU", _overhead),
    "report": ("what a report of many records costs; needs no GPU", _report),
    "startup": ("how long the commands take that measure nothing; needs no GPU", _startup),
}


def _module(name: str) -> ModuleType:
    """Import a benchmark, which may need torch, only when it is to run."""
    return import_module(f"trt_sweep.benchmarks.{name}")
