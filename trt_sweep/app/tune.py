"""`trt-sweep tune model=NAME`: find the best settings within limits and a budget, by a race."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from datetime import datetime
from pathlib import Path

from trt_sweep.app import limits
from trt_sweep.app.arguments import Parser, UsageError, verb
from trt_sweep.results.race import OBJECTIVES


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="trt-sweep tune",
        description="Race settings against each other, and say which to use. Of a list, such as precision=fp32,fp16, "
        "each value is tried; a single value is kept. With --objective throughput the batch size is searched, unless "
        "batch_size is given.",
    )
    parser.add_point("model=resnet50 precision=fp32,fp16")
    parser.add_argument("--objective", default="latency", metavar="NAME", help=f"what is best: {', '.join(OBJECTIVES)}")
    parser.add_argument("--max-latency", metavar="TIME", help="the longest that a call may take, such as 5ms")
    parser.add_argument("--percentile", metavar="P", help="how many of 100 calls must keep --max-latency, such as 99")
    parser.add_argument("--max-error", metavar="E", help="the largest error of the output (rel_l2_error), such as 1%%")
    parser.add_argument(
        "--max-memory", metavar="SIZE", help="the most memory of the GPU (peak_gpu_bytes), such as 4GiB"
    )
    parser.add_argument("--max-build", metavar="TIME", help="the longest that a build may take, such as 60s")
    parser.add_argument("--budget", metavar="TIME", default="10m", help="how long all of it may take (10m)")
    parser.add_argument("--delta", metavar="SHARE", default="2%", help="a difference that does not matter (2%%)")
    parser.add_count("--seed", "seed of the order in which points are visited", 0, least=0)
    parser.add_out("a new folder for the records, the report and the code (below outputs/)")
    return parser.parse_intermixed_args(arguments)


@verb()
def main(arguments: list[str]) -> int:
    """Run the race, print the answer, the road to it and the code; return 0 also without a proved winner."""
    began, options = time.monotonic(), _options(arguments)
    wanted, budget_s = limits.goal(
        **{name: getattr(options, name) for name in ("objective", "max_latency", "percentile", "max_error")},
        **{name: getattr(options, name) for name in ("max_memory", "max_build", "delta", "budget")},
    )
    fixed, listed = _given(options.overrides)
    gpu = limits.has_gpu(fixed.get("device", "auto"))
    limits.require_gpu(wanted, gpu)

    from trt_sweep.app import tuner
    from trt_sweep.config import compose
    from trt_sweep.workers import spawn

    sizes = tuner.searches_batch(fixed, listed, wanted.objective, unasked=True)
    tried = tuner.axes(fixed, listed, gpu=gpu)
    limits.require_comparable(tried, wanted)
    spawn.prepare()
    given = [f"{name}={value}" for name, value in fixed.items()]
    now = datetime.now()
    place = options.out or Path(f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S}-{secrets.token_hex(2)}")
    found = tuner.run(
        lambda settings: compose.composed([*given, *settings], options.config_dir),
        tried,
        wanted,
        place.absolute(),
        budget_s=budget_s,
        given={name.lstrip("+") for name in (*fixed, *listed)},
        sizes=sizes,
        began=began,
        seed=options.seed,
    )
    tuner.show(found)
    return 0


def _given(arguments: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return what the user has fixed, and what the user has listed values of; raise UsageError for other sweeps.

    Of what is given twice the last counts, as with Hydra.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    fixed: dict[str, str] = {}
    listed: dict[str, list[str]] = {}
    for argument in arguments:
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
        except OverrideParseException as error:
            raise UsageError(f"{argument} cannot be read: write NAME=VALUE, or NAME=VALUE,VALUE") from error
        key = str(override.get_key_element())
        if not override.key_or_group:
            raise UsageError(f"{argument} has no name: write NAME=VALUE")
        for earlier in [name for name in (*fixed, *listed) if name.lstrip("+") == key.lstrip("+")]:
            fixed.pop(earlier, None)
            listed.pop(earlier, None)
        if not override.is_sweep_override():
            fixed[key] = str(override.get_value_element_as_str())
        elif override.is_discrete_sweep():
            listed[key] = list(override.sweep_string_iterator())
        else:
            raise UsageError(f"{argument} is not allowed: tune takes lists of values, a=1,2,3")
    return fixed, listed


if __name__ == "__main__":
    sys.exit(main())
