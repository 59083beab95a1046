"""Say in sentences what a reader of a table of records must know beside its figures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from trt_sweep.errors import printable
from trt_sweep.results import files, notes_of_builds, notes_of_graphs
from trt_sweep.results.axes import AXES, LABEL_AXES, RUNTIME_AXES, unsaid_twice
from trt_sweep.results.record import RANDOM

SAME = 0.5  # share of a row's error that the method makes by itself, from which on it is to blame
WIDER = {"fp16": "fp32", "bf16": "fp32"}  # types of layers that a point did not ask for
VISITS_SINCE = 3  # schema_version
FLAVORS = {"rtx": "TensorRT-RTX", "standard": "TensorRT"}


def notes(table: pd.DataFrame) -> list[str]:
    """Return the notes on a table that `trt_sweep.results.table.load` gave, each once.

    They tell of engines that points share, of builds, of settings without effect, of clocks and the GPU's health, of
    points that were only planned, of accuracy, of what profiles found, and of failures with their reasons.
    """
    found = [
        *_shared_engines(table),
        *notes_of_builds.notes(table),
        *_clocks(table),
        *_host(table),
        *notes_of_graphs.notes(table),
        *_health(table),
        *_ignored(table),
        *_planned(table),
        *_advice(table),
        *_model(table),
        *_reference(table),
        *_random_calibration(table),
        *_wrong_when_quantized(table),
        *_profiles(table),
        *_without_profile(table),
        *_failures(table),
        *files.left_out_of(table),
    ]
    return list(dict.fromkeys(printable(" ".join(note.split())) for note in found))


def _some(folders: pd.Series) -> str:
    """Return the first two of these folders, and how many more there are."""
    return ", ".join(folders.iloc[:2]) + (f" and {len(folders) - 2} more" if len(folders) > 2 else "")


def _shared_engines(table: pd.DataFrame) -> list[str]:
    """Tell which axes did not change an engine."""
    shared = table[table["engine_id"].notna() & table.duplicated("engine_id", keep=False)]
    if shared.empty:
        return []
    engines = shared.groupby("engine_id", sort=False)
    different = (engines[list(AXES)].nunique(dropna=False) > 1).to_dict("index")
    # The groups of points with the same engines, by what is said of them.
    alike: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for engine, group in engines:
        differ = unsaid_twice([axis for axis in AXES if different[engine][axis]])
        if differ:
            end = _times_of_one_engine(group, differ)
            alike.setdefault((", ".join(differ), end), []).append(group)
    return [_share(groups, axes, end) for (axes, end), groups in alike.items()]


def _share(groups: list[pd.DataFrame], axes: str, end: str) -> str:
    """Return the sentence on the points of these groups; the engines of each are counted once."""
    points = sum(map(len, groups))
    engines = sum(int(group["engines"].fillna(1).max()) for group in groups)
    name = f" ({groups[0]['engine_id'].iloc[0][:6]})" * (len(groups) == 1)
    said, them = (f"one engine{name}", "it") if engines == 1 else (f"{engines} engines{name}", "them")
    return f"{points} points share {said}: {axes} did not change {them}{end}"


def _times_of_one_engine(rows: pd.DataFrame, differ: list[str]) -> str:
    """Return the end of a sentence on rows with one engine: what differences between their times mean."""
    if int(rows["timed_with"].notna().sum()) == len(rows) - 1:
        return "; timed once"
    runtime = [axis for axis in differ if axis in RUNTIME_AXES]
    if not runtime:
        return "; differences between their times are noise"
    return ", but may run it differently" if runtime == differ else f"; {', '.join(runtime)} may run it differently"


def _clocks(table: pd.DataFrame) -> list[str]:
    """Tell what ranks and intervals mean, how `gpu_ms` was measured, and where it is missing."""
    found = []
    if table["latency_rank"].notna().any():
        found.append(
            "a rank such as 1–3 says that nothing measured tells these points apart; the interval of a latency holds "
            "for this run, that of a ratio for hosts like this one, that of gpu_ms for other runs too"
        )
    methods = sorted(table["gpu_ms_method"].dropna().unique())
    if len(methods) > 1:
        found.append(f"gpu_ms was measured by {' and '.join(methods)}, and is ranked within each only")
    missing = table[(table["status"] == "ok") & table["gpu_ms"].isna() & table["gpu_ms_reason"].notna()]
    for reason, rows in missing.groupby("gpu_ms_reason", sort=False):
        found.append(f"no gpu_ms for {len(rows)} of {len(table)} points: {reason}")
    return found


def _host(table: pd.DataFrame) -> list[str]:
    """Tell how often the host was slow while points were visited, and how slow, and which rows have no visits."""
    ok = table[table["status"] == "ok"]
    found = []
    # A point's worst share says more than a mean over points that the host does not bound.
    seen = ok[ok["host_slow_share"].fillna(0) > 0]
    if len(seen):
        share, factor = seen["host_slow_share"].astype(float).mean(), seen["host_slow_factor"].astype(float).median()
        found.append(
            f"the host was slow in {share:.0%} of the visits of {len(seen)} of {len(ok)} points (×{factor:.3g}); "
            "latency is that of the other visits, and ratios compare visits made in turn"
        )
    old = int((ok["latency_ms"].notna() & (ok["schema_version"] < VISITS_SINCE)).sum())
    if old:
        found.append(
            f"{old} of {len(ok)} points are of an older trt_sweep, without visits: their latencies are not compared"
        )
    groups = ok.groupby(["sweep_id", "model_id"])["visit_group"].nunique().max() if len(ok) else 0
    if groups > 1:
        found.append(
            f"points of one model were timed in {groups} groups, and the host may have changed in between; ratios "
            "go through a point that both groups have (anchor_id), and have no interval without one"
        )
    return found


def _health(table: pd.DataFrame) -> list[str]:
    """Tell where the GPU was throttled, shared or unstable, and where that is not known."""
    found = []
    bad = table[table["health"].notna() & (table["health"] != "ok")]
    for (verdict, why), rows in bad.groupby(["health", "health_reason"], sort=False, dropna=False):
        found.append(f"{verdict}: {len(rows)} of {len(table)} points ({why})")
    unknown = table[table["gpu_ms"].notna() & table["health"].isna()]
    for reason, rows in unknown.groupby("health_reason", sort=False):
        found.append(f"health of {len(rows)} of {len(table)} points is not known: {reason}")
    return found


def _ignored(table: pd.DataFrame) -> list[str]:
    """Tell which settings the installed library accepts without effect."""
    ignored = sorted({axis for axes in table["ignored_axes"] for axis in axes or []})
    if not ignored:
        return []
    which = " and ".join(sorted({FLAVORS.get(str(name), str(name)) for name in table["tensorrt_flavor"].dropna()}))
    found = [f"{which} accepts {', '.join(ignored)} without effect"]
    if "disable_tf32" in ignored:
        found.append("so precision=fp32 is TF32 there; in eager it is not")
    return found


def _planned(table: pd.DataFrame) -> list[str]:
    """Tell how many points were only planned, and for which GPU."""
    planned = table[table["status"] == "dryrun"]
    if planned.empty:
        return []
    assumed = planned["assumed_compute_capability"].dropna().unique()
    where = f" (no GPU here; compute capability {', '.join(assumed)} assumed)" if len(assumed) else ""
    return [f"planned, not built or timed: {len(planned)} of {len(table)} points{where}"]


def _advice(table: pd.DataFrame) -> list[str]:
    """Tell which `min_block_size` the library advises for each planned model."""
    found = []
    planned = table[table["status"] == "dryrun"]
    for row in planned.drop_duplicates(["model", "batch_size", "precision"]).to_dict("records"):
        if not pd.isna(row["advised_min_block_size"]) and row["engines"] is not None:
            advice = dict.fromkeys([row["advised_min_block_size"], row["advised_min_block_size_moderate"]])
            found.append(
                f"{row['model']}: the library advises min_block_size={' or '.join(map(str, advice))} "
                f"(fewest segments, moderate); its default is {row['default_min_block_size']}"
            )
    return found


def _model(table: pd.DataFrame) -> list[str]:
    """Tell what a model does that a function does not, and which of its outputs were not judged."""
    told = table[table["model_notes"].map(lambda notes: isinstance(notes, list | tuple))]
    every = [(row["model"], note) for row in told.to_dict("records") for note in row["model_notes"]]
    return [f"{model}: {note}" for model, note in dict.fromkeys(every)]


def _reference(table: pd.DataFrame) -> list[str]:
    """Tell for which models errors prove little, since other inputs hardly change the reference."""
    errors, spreads = table["rel_l2_error"].astype(float), table["reference_spread"].astype(float)
    return [
        f"{row['model']} {row['precision']}: other inputs move the reference by {row['reference_spread']:.1e} "
        "only, so errors of that size prove little; trained weights would say more"
        for row in table[errors * 3 > spreads].drop_duplicates(["model", "precision"]).to_dict("records")
    ]


def _random_calibration(table: pd.DataFrame) -> list[str]:
    """Tell which quantization methods were calibrated with random inputs, so that their accuracy means little."""
    random = table[table["calibration"] == RANDOM]
    if random.empty:
        return []
    methods = ", ".join(random["quantization_method"].unique())
    return [
        f"accuracy from random calibration: {methods} chose scales for random inputs; "
        "quantization.calibration names data of your own"
    ]


def _wrong_when_quantized(table: pd.DataFrame) -> list[str]:
    """Tell whether the quantization method or the engine is to blame for wrong output."""
    found = []
    overflown = table[table["fake_quant_finite"].eq(False)]
    for row in overflown.drop_duplicates(["model", "quantization_method"]).to_dict("records"):
        found.append(
            f"{row['model']} {row['quantization_method']}: the fake-quantized model's output is not finite in PyTorch "
            f"either (beside {row['base_precision']}), so the method is wrong, whatever the engine does"
        )
    broken = table[(table["status"] == "inaccurate") & table["fake_quant_rel_l2_error"].notna()]
    for row in broken.drop_duplicates(["model", "backend", "quantization_method"]).to_dict("records"):
        error = row["rel_l2_error"] if row["finite"] else math.inf
        wrong = "method" if row["fake_quant_rel_l2_error"] > SAME * error else "engine"
        found.append(
            f"{row['model']} {row['backend']} {row['quantization_method']}: the {wrong} is wrong, as the "
            f"fake-quantized model's error in PyTorch is {row['fake_quant_rel_l2_error']:.1e}"
        )
    return found


def _profiles(table: pd.DataFrame) -> list[str]:
    """Tell what the profiles of launch-bound points show, and which layers ran in a wider type than asked for."""
    found = []
    profiled = table[table["profile_engine_id"].notna()]
    differ = [axis for axis in AXES if axis not in LABEL_AXES and profiled[axis].nunique(dropna=False) > 1]
    for row in profiled.to_dict("records"):
        label = " ".join(str(row[axis]) for axis in LABEL_AXES)
        label += "".join(f" {axis}={row[axis]}" for axis in differ if not pd.isna(row[axis]))
        if row["launch_bound"] is True and not pd.isna(row["gpu_ms"]):
            found.append(f"{label}: {_cost_of_launching(row)}")
        if wider := _wider_layers(row):
            found.append(f"{label}: of {row['layers']} layers, {wider} (layer_precisions)")
    return found


def _cost_of_launching(row: Mapping[Hashable, Any]) -> str:
    """Return how much of a profiled point's latency is work of the GPU, and how much the host adds."""
    engines = f"{row['engines']} engine" + "s" * (row["engines"] != 1)
    others = f" and {row['fallback_ops']} operators in PyTorch" if row["fallback_ops"] else ""
    launching = max(row["latency_ms"] - row["gpu_ms"], 0)
    return f"{engines}{others} cost {row['gpu_ms']:.2g} ms of GPU work and {launching:.2g} ms of launching"


def _wider_layers(row: Mapping[Hashable, Any]) -> str:
    """Return how many layers ran in which type that is wider than the point's precision; empty where none did."""
    precisions, asked = row["layer_precisions"], WIDER.get(row["precision"])
    if not isinstance(precisions, str) or asked is None:
        return ""
    ran = dict(item.split(":") for item in precisions.split())
    return ", ".join(f"{number} in {name}" for name, number in ran.items() if asked in name)


def _without_profile(table: pd.DataFrame) -> list[str]:
    """Tell why points have no profile though one was asked for; a point that was not timed has a reason already."""
    timed = table["status"].isin(("ok", "inaccurate"))
    missing = table[table["profile_reason"].notna() & timed].groupby("profile_reason", sort=False)
    return [
        f"no profile of {', '.join(rows['folder'][:2])}{' and more' * (len(rows) > 2)}: {reason}"
        for reason, rows in missing
    ]


def _failures(table: pd.DataFrame) -> list[str]:
    """Tell which points failed, where and why."""
    failed = table[~table["status"].isin(("ok", "dryrun"))]
    by_reason = failed.groupby(["status", "phase", "reason"], sort=False)
    return [
        f"{status} in {phase} ({_some(rows['folder'] + '/log.txt')}): {why}" for (status, phase, why), rows in by_reason
    ]
