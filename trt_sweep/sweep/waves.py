"""Plan what a search proposes; settings that cannot be a point here are left out, with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.points.point import Plan, Preview
from trt_sweep.results.limits import BROKEN
from trt_sweep.sweep.batch_sizes import AXIS, SEARCH, BatchSearch, Size
from trt_sweep.sweep.process import SweepWorker
from trt_sweep.sweep.search import Search, overrides
from trt_sweep.sweep.tuning import DROPPED, FAILED, IN, Tuning

ACTIVE = 3  # points that wait until a limit for a share of calls is told, which takes very many visits


def first(worker: SweepWorker, state: Tuning, search: Search) -> Plan:
    """Return the plan of the first wave; raise SweepError where none of it is possible."""

    def preview(config: SweepConfig) -> Preview:
        try:
            found = worker.plan({0: config.point})
        except SweepError:  # the wave will say so
            return Preview("")
        return worker.ready().preview(next(point for point in found.points if point.jobs))

    search.ask(preview)
    found = planned(worker, search.first(), state)
    if isinstance(search, BatchSearch) and any(len(point.jobs) > 1 for point in found.points):
        state.refused[f"{AXIS}={SEARCH}"] = "no input of the model has a batch"
        found = planned(worker, search.keep_size(), state)
    if not found.builds:
        state.require_some({})
    return found


def planned(worker: SweepWorker, configs: Mapping[int, SweepConfig], state: Tuning) -> Plan:
    """Return the plan of the jobs that are possible, and note in `state` which are not."""
    found = Plan([], {})
    for number, config in configs.items():
        try:
            found = merged(found, worker.plan({number: config.point}))
            if isinstance(state.search, BatchSearch) and state.search.doubling:
                found = Plan([build for build in found.builds if build[0].jobs], found.environments)
        except SweepError as error:
            assert state.search is not None
            state.refused[" ".join(overrides(state.search.tried[number]))] = str(error)
    return found


def merged(plan: Plan, more: Plan) -> Plan:
    """Return the plan with the points of another; a point of both has the jobs of both."""
    known = {point.id: point for point in plan.points}
    builds = {build[0].config.build_id: [*build] for build in plan.builds}
    for point in more.points:
        if point.id in known:
            known[point.id].jobs.extend(number for number in point.jobs if number not in known[point.id].jobs)
        else:
            builds.setdefault(point.config.build_id, []).append(point)
    return Plan([*builds.values()], {**plan.environments, **more.environments})


def following(plan: Plan, state: Tuning) -> dict[int, SweepConfig]:
    """Return what is worth a try, now that the race has come so far."""
    if state.search is None:
        return {}
    jobs = {point.id: point.jobs for point in plan.points if point.jobs}
    center = next((key for key in jobs if state.search.is_center(jobs[key])), "")
    out = [job for key in jobs if _no_help(state, key, center) for job in jobs[key]]
    known = {job: _size(state, key) for key in jobs if key in state.fates for job in jobs[key]}
    inside = [key for key in jobs if key in state.seen and state.fates[key].what == IN]
    inside.sort(key=lambda key: state.seen[key].estimate.value)
    fitting = [key for key in inside if known[jobs[key][0]].fits]
    if isinstance(state.search, BatchSearch) and state.over_ms is not None and fitting:
        state.aside = {*inside} - {*fitting[:ACTIVE]}
    least = next(iter(fitting or inside), "")  # where no limit is told yet
    best = jobs.get(state.best or "") or jobs.get(least, [])
    if isinstance(state.search, BatchSearch):
        one, two = (next((state.fates[key] for key in jobs if job in jobs[key]), None) for job in (0, 1))
        if one is not None and two is not None and one.what != FAILED and two.what == FAILED:
            state.refused[f"{AXIS}={SEARCH}"] = f"size 2 fails: {two.why}"
        return state.search.next(best[0] if best else None, out, known)
    if not best and (nearest := state.nearest):  # one step from what breaks a limit, something may keep it
        best = jobs.get(nearest[0], [])
    return state.search.next(best[0] if best else None, out)


def _size(state: Tuning, key: str) -> Size:
    """Return what is known of a point's size: one that may break a limit fits where its figure keeps it."""
    seen = state.seen.get(key)
    if seen is None or state.fates[key].what == FAILED or not seen.estimate.value > 0:
        return Size()
    return Size(seen.estimate, seen.likely, seen.keeps)


def _no_help(state: Tuning, key: str, center: str) -> bool:
    """Return whether a point failed, breaks a limit, or was dropped and took no less than the center of its wave.

    Where the center itself fails or breaks a limit, the cause may be what both have in common. Then nothing is known of
    the value in which they differ.
    """
    fate, seen, base = state.fates.get(key), state.seen.get(key), state.seen.get(center)
    if fate is None or fate.what not in (DROPPED, FAILED) or _unfit(state, center):
        return False
    if seen is None or base is None or _unfit(state, key):
        return True
    return seen.estimate.value >= base.estimate.value


def _unfit(state: Tuning, key: str) -> bool:
    """Return whether a point is not possible, failed, or surely breaks a limit."""
    broken = key in state.seen and any(found.verdict == BROKEN for found in state.seen[key].verdicts)
    return broken or key not in state.fates or state.fates[key].what == FAILED
