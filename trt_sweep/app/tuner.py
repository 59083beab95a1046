"""Race settings for one model, and hold what came of it: for the verb `tune`, and for Python."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from trt_sweep.analysis import race as analysis
from trt_sweep.analysis.report.recommend import Row
from trt_sweep.app import answer, frame, report
from trt_sweep.app.arguments import UsageError, write_text
from trt_sweep.backends import reproduction
from trt_sweep.backends.engine_store import PRIVATE
from trt_sweep.config import hydra
from trt_sweep.config.model import IN_MEMORY
from trt_sweep.config.point import PointConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, printable
from trt_sweep.machine import versions
from trt_sweep.results import table
from trt_sweep.results.console import Console
from trt_sweep.results.race import Goal
from trt_sweep.sweep import search
from trt_sweep.sweep.batch_sizes import AXIS, SEARCH, BatchSearch
from trt_sweep.sweep.interrupts import Interrupted
from trt_sweep.sweep.labels import place
from trt_sweep.sweep.search import Search, Settings
from trt_sweep.sweep.sweep import Sweep
from trt_sweep.sweep.tuning import FILE, Tuning

if TYPE_CHECKING:  # it imports torch, which the process of a race on the command line does without
    from trt_sweep.app.compiled import CompiledModule

CODE = "tuned.py"
NOT_HERE = {
    **dict.fromkeys(("plan", "dryrun", "resume"), "a race builds and times what it tries, from the start"),
    **dict.fromkeys(("retry", "allow_changed"), "it goes with resume, and a race cannot be resumed"),
    "objective": "tune has an option of that name",
    "hydra": "it goes with -m; tune has options of its own",
}
LISTED = ("model", "device")  # what a race has one of


@dataclasses.dataclass(frozen=True)
class Result:
    """Hold what a race came to: its `rows`, what it left in `folder`, and the point to use."""

    folder: Path
    rows: pd.DataFrame
    content: analysis.Content
    winner: Row
    config: PointConfig

    @property
    def table(self) -> pd.DataFrame:
        """Return the records as `trt_sweep.load` gives them."""
        return frame.arranged(self.rows, self.folder)

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings to use, by the names of the command line."""
        (fate,) = (fate for fate in self.content["road"] if fate["point_id"] == self.winner["point_id"])
        return dict(part.split("=", 1) for part in fate["settings"].split(" "))

    @property
    def lines(self) -> list[str]:
        """Return the answer in three lines."""
        return analysis.lines(self.rows, self.content)

    @property
    def report(self) -> Path:
        """Return the report, as a page."""
        return self.folder / report.HTML

    def compile(self) -> CompiledModule:
        """Return the module that was given, compiled with these settings: built anew, and ready to call."""
        from trt_sweep.app.compiled import CompiledModule

        if self.config.model.factory.get("_target_") != IN_MEMORY:
            raise SweepError(f"{self.config.model.name} is no module in memory: run the code in {self.folder / CODE}")
        return CompiledModule(self.config)

    @property
    def code(self) -> str:
        """Return the code that compiles the model with these settings."""
        return reproduction.source(self.winner, self.folder / str(self.winner["folder"]))


def searches_batch(fixed: dict[str, Any], listed: dict[str, list[str]], objective: str, *, unasked: bool) -> bool:
    """Return whether the batch size is searched, and take `batch_size=search` out of what is given.

    It is searched where that is asked for, and `unasked` for throughput where no size is given. Raises UsageError where
    the objective is no figure per sample.
    """
    asked = "search" in (fixed.get(AXIS), *listed.get(AXIS, []))
    if not asked:
        return unasked and objective == "throughput" and AXIS not in fixed | listed
    if objective != "throughput":
        raise UsageError(f"{AXIS}=search is not allowed with objective={objective}: it goes with objective=throughput")
    if listed.pop(AXIS, [SEARCH]) != [SEARCH]:
        raise UsageError(f"{AXIS} has sizes and search: give sizes to try, or search alone")
    fixed.pop(AXIS, None)
    return True


def axes(fixed: dict[str, str], listed: dict[str, list[str]], *, gpu: bool) -> dict[str, list[str]]:
    """Return the values to try by axis: those that can matter here, without what the user has fixed or listed.

    Raises UsageError for a list of what a race has one of, and for settings that a race does not heed.
    """
    for name in fixed | listed:
        why = NOT_HERE.get(re.split("[./]", name.lstrip("+"))[0])
        if why is not None:
            raise UsageError(f"{name} is not allowed here: {why}")
    for name in LISTED:
        if name in listed:
            raise UsageError(f"{name}={','.join(listed[name])} is not allowed: a race is of one {name}; give one value")
    given = {name.lstrip("+"): values for name, values in ({key: [fixed[key]] for key in fixed} | listed).items()}
    found = search.axes(gpu=gpu, flavor=versions.flavor(), quantize="quantization.method" not in given)
    if "quantization.method" in given and "precision" not in fixed:
        found["precision"] = ["auto"]
    found = {name: values for name, values in found.items() if name in listed or name.lstrip("+") not in given}
    backends = (found | given)["backend"]
    found = {name: values for name, values in found.items() if any(search.applies(name, one) for one in backends)}
    return found | listed


def run(
    configure: Callable[[list[str]], SweepConfig],
    tried: dict[str, list[str]],
    goal: Goal,
    folder: Path,
    *,
    budget_s: float | None,
    given: set[str],
    sizes: bool = False,
    began: float | None = None,
    seed: int = 0,
) -> Result:
    """Race the values of these axes, and return what came of it.

    `configure` makes a configuration of overrides; `given` names what the user has set: a baseline wins only where that
    leaves it free. The batch size is searched where `sizes` says so. `seed` draws the order of
    visits. The engines that are built are kept until the race ends, so that two ways to run one are one build. Raises
    SweepError where nothing was timed, or nothing keeps the limits.
    """
    further = [] if "cache_dir" in given else [f"cache_dir={hydra.quoted(str(folder / PRIVATE / 'engines'))}"]
    if goal.objective != "memory":
        further.append(f"objective={goal.objective}")

    def configured(settings: Settings) -> SweepConfig:
        return configure([*search.overrides(settings), *further])

    first = configured({name: values[0] for name, values in tried.items()})
    precisions = {*tried.get("precision", [first.precision])}

    def free(baseline: PointConfig) -> bool:
        return "backend" not in given and ("precision" not in given or baseline.precision in precisions)

    began = time.monotonic() if began is None else began
    searched = Search(tried, configured, first.backend)
    if sizes:
        searched = BatchSearch(tried, configured, first.backend, delta=goal.delta)
    state = Tuning(goal, budget_s, began, searched, free=free, seed=seed)
    if (folder / FILE).exists() or (folder / "points").exists():
        raise SweepError(f"{folder} holds another sweep: give a new folder")
    sweep = Sweep({0: first}, folder, race=state)
    try:
        with sweep:
            sweep.run()
    except Interrupted:
        with contextlib.suppress(SweepError):
            show(_result(sweep, state))
        raise
    return _result(sweep, state)


def _result(sweep: Sweep, state: Tuning) -> Result:
    """Write what a race has come to; raise SweepError where nothing was timed, or nothing keeps the limits."""
    state.require_some(sweep.records)
    folder = sweep.folder
    rows, content = table.load(folder), analysis.read(folder)
    assert content is not None
    winner = analysis.winner(rows, content)
    if winner is None:
        raise SweepError(analysis.none(content))
    found = Result(folder, rows, content, winner, sweep.config(str(winner["point_id"])))
    write_text(folder / CODE, found.code)
    report.write(rows, folder)
    return found


def show(found: Result) -> None:
    """Print the road to the answer, the code to paste, and the answer in three lines."""
    written = [found.folder / name for name in (report.HTML, report.MARKDOWN, CODE)]
    road = Table(*analysis.HEAD, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in analysis.road(found.rows, found.content):
        road.add_row(*map(Text, map(printable, row)))
    console = Console(file=sys.stdout)
    console.print(road)
    for settings, why in found.content["refused"].items():
        console.say(f"· {settings} is not possible: {why}")
    print("written:", ", ".join(map(place, written)))
    answer.say(found.lines, found.code)
