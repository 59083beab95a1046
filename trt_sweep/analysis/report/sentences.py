"""Write the report's sentences: what was swept, who won, what each axis did, what failed, what to beware of."""

from __future__ import annotations

import math

import pandas as pd

from trt_sweep.analysis.report import pareto, recommend, text
from trt_sweep.analysis.report.pairs import follows, levels, using
from trt_sweep.analysis.report.sections import Section
from trt_sweep.results import notes_of_graphs, ranking
from trt_sweep.results.axes import AXES, PER_ITEM, SIZES
from trt_sweep.results.notes import notes
from trt_sweep.sweep.labels import count

NAMES = {"gpu": "GPU work (gpu_ms)"}
TIES = 6  # of them that are named
NEXT = 3  # that are named where nothing is known of the scatter
MOST = 8  # of a kind of sentence in the summary


def swept(section: Section) -> str:
    """Say what was swept, and how it ended."""
    rows = section.rows
    statuses = ", ".join(f"{number} {status}" for status, number in rows["status"].value_counts().items())
    models = text.listed([str(name) for name in rows["model"].unique()], 5)
    own = [axis for axis in section.axes if not follows(rows, axis) and axis != "model"]
    values = {axis: levels(using(rows, axis), axis).nunique() for axis in own}
    axes = ", ".join(f"{axis} ({number} values)" for axis, number in values.items() if number > 1)
    what = f" Swept: {axes}." if axes else ""
    sweeps = count(rows["sweep_id"].nunique(), "sweep")
    return f"{count(len(rows), 'point')} of {models} in {sweeps}, {statuses}.{what}"


def task(rows: pd.DataFrame, objective: str) -> str:
    """Say which piece of work this is: model, sizes and sweep."""
    row = rows.iloc[0]
    size = "" if objective == "throughput" else f", batch {row['batch_size']}"
    size += f", {row['streams']} streams" if objective != "throughput" and row["streams"] > 1 else ""
    return f"{row['model']}{size} ({row.get('sweep', row['sweep_id'])})"


def named(alike: pd.DataFrame, axes: list[str]) -> str:
    """Return what the points of one measurement are called: one name, with every value of the axes that differ."""
    return text.label(alike.iloc[0].to_dict() | _several(alike, axes), axes)


def _several(alike: pd.DataFrame, axes: list[str]) -> dict[str, str]:
    """Return the axes in which they differ, with their values."""
    if len(alike) == 1:  # most are, and levels take their time
        return {}
    values = {axis: [text.named(value) for value in dict.fromkeys(levels(alike, axis))] for axis in axes}
    return {axis: ", ".join(found) for axis, found in values.items() if len(found) > 1}


def winner(advice: recommend.Advice, axes: list[str], objective: str) -> str:
    """Say the recommendation in one sentence."""
    where = ", with ".join([task(advice.rows, objective), *filter(None, [" and ".join(advice.limits)])])
    if advice.winner is None:
        return f"{where}: no point qualifies ({_left_out(advice)})."
    column, more, unit = recommend.OBJECTIVES[objective]
    axes = [axis for axis in axes if axis in differing(objective)]
    own, *others = advice.alike
    label = named(own, axes)
    value = f"{text.number(advice.winner[column])} {unit}"
    best = "most" if more else "least"
    if advice.second is not None and not advice.confirmed:
        group = [named(rows, axes) for rows in pareto.measurements(advice.second.group)]
        use = f"use {'one of ' * (len(group) > 1)}{text.listed(group)}" if group else "no point ran again"
        had = f"{label} had the {best} {NAMES.get(objective, objective)} at first, {value}"
        return f"{where}: not confirmed by a second measurement; {had}. Instead, {use}."
    name = NAMES.get(objective, objective)
    if not advice.judged:
        tie = "not proved: how much some of the figures scatter is not known"
    elif others:
        tie = f"one of {len(others) + 1} that nothing measured tells apart"
    elif len(advice.fit) > len(own):
        tie = "proved"
    else:
        only = "measurement" if len(own) > 1 else "point"
        tie = "the only one that qualifies" if len(advice.rows) > len(own) else f"the only {only}"
    if advice.decided == "gpu":
        work = " per item" if objective == "throughput" else f", {figure(advice.winner, 'gpu')},"
        work = f"by the GPU's work{work} {'it is proved' if advice.sure else 'none of them is proved'} better"
        tie = f"{tie if not advice.judged else f'{name} does not tell it from {len(others)} more'}; {work}"
    which = {axis: text.named(text.level(advice.winner[axis])) for axis in _several(own, axes)}
    if which or advice.decided == "defaults":
        tie += f"; {text.label(which, which) if which else 'it'} departs least from the defaults"
    first = advice.winner[column] == advice.fit[column].iloc[0]
    has = f"has the {best} {name}" if first else f"is as good as any by {name}"
    return f"{where}: {label} {has}, {value} ({tie})."


def ties(advice: recommend.Advice, axes: list[str], objective: str) -> str | None:
    """Say which others are in the winner's group."""
    column, _, unit = recommend.OBJECTIVES[objective]
    others = advice.alike[1:]
    if not others or not advice.confirmed:
        return None
    axes = [axis for axis in axes if axis in differing(objective)]
    labels = [
        f"{named(rows, axes)} ({text.number(rows[column].iloc[0])} {unit}"
        + f"; the GPU's work {text.number(rows['gpu_ms'].iloc[0])} ms" * (advice.decided == "gpu")
        + ")"
        for rows in others[:TIES]
    ]
    if not advice.judged:
        return f"Next, in order; what separates them is not known: {text.listed(labels, NEXT, len(others))}."
    by = f" by {NAMES.get(objective, objective)}" * (advice.decided == "gpu")
    return f"As good{by} as far as is known: {text.listed(labels, TIES, len(others))}."


def second(advice: recommend.Advice, objective: str) -> str | None:
    """Say what measuring the winner again has shown."""
    if advice.second is None or advice.winner is None:
        return None
    found = advice.second
    row = found.rows[found.rows["point_id"] == advice.winner["point_id"]].iloc[0].to_dict()
    beside = len(pareto.measurements(found.rows)) - 1
    said = "Measured again" + f", interleaved with {count(beside, 'other')}" * (beside > 0)
    said += f": {figure(row, objective)}, at first {figure(advice.winner, objective)}"
    low, high = ends(advice.winner, objective)
    if row["status"] != "ok":
        verdict = f"not confirmed: it ended as {row['status']} ({text.level(row['reason'])})"
    elif not found.judged:
        verdict = "neither confirmed nor refuted, as it is not known how much some of the figures scatter"
    elif not advice.confirmed:
        verdict = "not confirmed: another is proved to be better"
    elif (alike := len(pareto.measurements(found.group))) > 1:
        verdict = f"confirmed as one of {alike} that nothing measured tells apart"
    else:
        verdict = (
            "confirmed, and proved to be better than the others" if beside else "there is no other to set it against"
        )
    column = recommend.OBJECTIVES[objective][0]
    moved = not text.missing(row[column]) and not math.isnan(low) and not low <= row[column] <= high
    return f"{said}: {verdict}" + "; the second figure is not where the first had it expected" * moved + "."


def ends(row: recommend.Row, objective: str) -> tuple[float, float]:
    """Return the interval of the objective's figure, NaN without one."""
    if objective == "throughput":
        return ranking.throughput_interval(row)
    clock = {"latency": "latency_ms", "gpu": "gpu_ms"}.get(objective)
    if clock is None or text.missing(row[f"{clock}_ci_low"]) or text.missing(row[f"{clock}_ci_high"]):
        return math.nan, math.nan
    return float(row[f"{clock}_ci_low"]), float(row[f"{clock}_ci_high"])


def figure(row: recommend.Row, objective: str) -> str:
    """Return the objective's figure with its interval and unit; a dash where it is missing."""
    column, _, unit = recommend.OBJECTIVES[objective]
    if text.missing(row[column]):
        return text.NONE
    low, high = ends(row, objective)
    told = not math.isnan(low) and not (low == high == row["gpu_ms"])  # cut: as long as the GPU works
    return f"{text.number(row[column])}{f' [{low:.4g}, {high:.4g}]' if told else ''} {unit}"


def differing(objective: str) -> list[str]:
    """Return the axes that tell the points of one piece of work apart."""
    of_the_task = {"model", *SIZES, *PER_ITEM} - (set(PER_ITEM) if objective == "throughput" else set())
    return [axis for axis in AXES if axis not in of_the_task]


def cost(advice: recommend.Advice, objective: str) -> str | None:
    """Say what it costs to set nothing."""
    if advice.winner is None or not advice.confirmed:
        return None
    if advice.defaults is None:
        return "The cost of staying with the defaults is not known: dynamo with nothing set is not among these points."
    precision = advice.defaults["precision"]
    if advice.defaults["point_id"] == advice.winner["point_id"]:
        return f"These are the defaults, in {precision}."
    who = f"the defaults (dynamo with nothing set, {precision})"
    if advice.unfit is not None:
        return f"T{who[1:]} do not qualify ({advice.unfit})."
    return f"Staying with {who}: {_cost(advice, advice.defaults, advice.winner, objective)}."


def _cost(advice: recommend.Advice, defaults: recommend.Row, winner: recommend.Row, objective: str) -> str:
    """Say how much more the defaults take, or what keeps that from being told."""
    name = "time per item" if objective == "throughput" else NAMES.get(objective, objective)
    tied = defaults["point_id"] in set(advice.ties["point_id"])
    if advice.judged and tied:
        if advice.decided != "gpu":
            return "nothing measured tells them from it"
        work = " against ".join(figure(row, "gpu") for row in (defaults, winner))
        return f"{name} does not tell them from it; the GPU's work is {work}"
    if advice.cost is None:
        return "not known"
    low, high = advice.cost.interval()
    told = "" if math.isnan(low) or low > 0 or high < 0 else "; the two are not told apart"
    if told and advice.judged:
        told = f"; their GPU work alone, {figure(defaults, 'gpu')}, takes longer than the best call"
    return f"{text.change(advice.cost.value, low, high)} {name}{told}"


def left_out(advice: recommend.Advice) -> str | None:
    """Say what does not qualify, and which of the limits leave nothing out."""
    said = [f"left out: {_left_out(advice)}"] * bool(advice.left_out)
    said += [f"{option} leaves nothing out" for option in advice.idle]
    found = "; ".join(said)
    return f"{found[0].upper()}{found[1:]}." if found else None


def _left_out(advice: recommend.Advice) -> str:
    return ", ".join(f"{number} with {why}" for why, number in advice.left_out.items()) or "none is ok"


def failed(rows: pd.DataFrame) -> list[str]:
    """Say what did not succeed, by reason, the most frequent first."""
    lost = rows[~rows["status"].isin(("ok", "dryrun"))]
    if lost.empty:
        return []
    groups = lost.groupby(["status", "phase", "reason"], dropna=False).size().sort_values(ascending=False)
    return [
        f"{number} {status}" + ("" if text.missing(phase) else f" in {phase}") + f": {text.level(reason)}"
        for (status, phase, reason), number in zip(groups.index.to_list(), groups, strict=True)
    ]


def by_throughput(rows: pd.DataFrame, objective: str) -> list[str]:
    """Say what judges points that work on several numbers of items at a time, where the objective does not."""
    apart = [task for task in recommend.tasks(rows, objective) if not recommend.loads(task)]
    works = recommend.tasks(pd.concat(apart), "throughput") if apart else []
    sizes = [name for name in PER_ITEM if any(name in recommend.loads(work) for work in works)]
    if objective == "throughput" or not sizes:
        return []
    named = " or ".join(sizes)
    return [
        f"Points that differ in {named} are not compared by {objective}: "
        "trt-sweep report FOLDER --objective throughput compares them."
    ]


def caveats(rows: pd.DataFrame) -> list[str]:
    """Say what the numbers cannot carry: host-bound points, bad health, drift, old records, changed versions."""
    found = []
    ok = rows[rows["status"] == "ok"]
    if ok.empty:
        return ["No point was timed with success: nothing can be compared."]
    bound = int(ok["launch_bound"].fillna(False).astype(bool).sum())
    if bound:
        found.append(
            f"{bound} of {len(ok)} timed points are launch-bound: the GPU waits for the host, so compare gpu_ms, its "
            "own work, or set cuda_graphs=true."
        )
    found += [f"{note}." for note in notes_of_graphs.to_try(rows)]
    ill = ok["health"].dropna()
    ill = ill[ill != "ok"]
    if len(ill):
        found.append(f"{len(ill)} of {len(ok)} timed points have bad health: {_counts(ill)}.")
    unvisited = int((ok["latency_ms"].notna() & ok["latency_ms_visits"].isna()).sum())
    if unvisited:
        found.append(
            f"{unvisited} of {len(ok)} timed points were not timed in turn with others (no visits): their latencies "
            "are shown, and prove nothing."
        )
    if ok["gpu_ms"].isna().any():
        found.append(f"{int(ok['gpu_ms'].isna().sum())} of {len(ok)} timed points have no gpu_ms, the GPU's own work.")
    if ok["latency_ms"].isna().all():
        found.append("No point has a time: nothing can be compared.")
    schemas = sorted(rows["schema_version"].dropna().unique())
    if len(schemas) > 1:
        found.append(f"Records of schema versions {', '.join(map(str, schemas))}: older ones lack columns.")
    for column in ("torch", "torch_tensorrt", "tensorrt", "driver", "code_id"):
        values = rows[column].dropna().unique()
        if len(values) > 1:
            found.append(f"Several values of {column}: {text.listed([str(value) for value in values], 4)}.")
    return found


def _counts(values: pd.Series) -> str:
    return ", ".join(f"{number} {value}" for value, number in values.value_counts().items())


def remarks(rows: pd.DataFrame) -> list[str]:
    """Return the notes below the table, without failures, which have a section of their own."""
    good = rows[rows["status"].isin(("ok", "dryrun"))]
    return notes(good) if len(good) else []
