"""What a reader of the table must know: shared engines, ignored axes, plans, what profiles found, failures."""

from __future__ import annotations

import math

import pandas as pd

from trt_sweep.results.axes import AXES, COMPARABLE, NAMES, RUNTIME_AXES, SETTINGS, moving_with, unsaid_twice
from trt_sweep.results.record import RANDOM

SAME = 0.5  # share of a row's error that the method makes by itself, from which on it is to blame
# Types of layers that a point did not ask for.
WIDER = {"fp16": "fp32", "bf16": "fp32"}


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know: shared engines, ignored axes, plans, failures with their reasons."""
    found = []
    shared = table[table["engine_id"].notna() & table.duplicated("engine_id", keep=False)]
    engines = shared.groupby("engine_id", sort=False)
    different = (engines[list(AXES)].nunique(dropna=False) > 1).to_dict("index") if len(shared) else {}
    for engine, group in engines:
        differ = unsaid_twice([axis for axis in AXES if different[engine][axis]])
        if differ:
            runtime = [axis for axis in differ if axis in RUNTIME_AXES]
            found.append(
                f"{len(group)} points share one engine ({str(engine)[:6]}): {', '.join(differ)} did not change it"
                + (
                    "; it was timed once for all of them"
                    if int(group["timed_with"].notna().sum()) == len(group) - 1
                    else "; differences between their times are noise"
                    if not runtime
                    else ", but may run it differently"
                    if runtime == differ
                    else f"; {', '.join(runtime)} may run it differently"
                )
            )
    reused = int((table["engine_reused_from"].notna() & table["dynamic_range"].isna()).sum())
    if reused:
        found.append(
            f"{reused} of {len(table)} points were not built: they run what another of the same partition and "
            "arguments was built for (engine_reused_from); reuse=false builds and times each"
        )
    stored = int(table["engines_stored"].fillna(0).sum())
    if stored:
        found.append(
            f"{stored} engines were not built by the process that timed them, but ahead or before (engines_stored); "
            "build_s counts what building them took"
        )
    found += _merged(table)
    found += clock_notes(table)
    ignored = sorted({axis for axes in table["ignored_axes"] for axis in axes or []})
    if ignored:
        names = {"rtx": "TensorRT-RTX", "standard": "TensorRT"}
        which = " and ".join(sorted({names.get(str(name), str(name)) for name in table["tensorrt_flavor"].dropna()}))
        found.append(f"{which} accepts {', '.join(ignored)} without effect")
    if "disable_tf32" in ignored:
        found.append("so precision=fp32 was computed in TF32 there; eager in fp32 was not")
    planned = table[table["status"] == "dryrun"]
    if len(planned):
        assumed = planned["assumed_compute_capability"].dropna().unique()
        note = f"planned, not built or timed: {len(planned)} of {len(table)} points"
        found.append(
            note + (f" (no GPU here; compute capability {', '.join(assumed)} assumed)" if len(assumed) else "")
        )
    for row in planned.drop_duplicates(["model", "batch_size", "precision"]).to_dict("records"):
        if not pd.isna(row["advised_min_block_size"]) and row["engines"] is not None:
            advice = dict.fromkeys([row["advised_min_block_size"], row["advised_min_block_size_moderate"]])
            found.append(
                f"{row['model']}: the library advises min_block_size={' or '.join(map(str, advice))} "
                f"(fewest segments, moderate); its default is {row['default_min_block_size']}"
            )
    errors, spreads = table["rel_l2_error"].astype(float), table["reference_spread"].astype(float)
    for row in table[errors * 3 > spreads].drop_duplicates(["model", "precision"]).to_dict("records"):
        found.append(
            f"{row['model']} {row['precision']}: other inputs move the reference by {row['reference_spread']:.1e} "
            "only, so errors of that size prove little; trained weights would say more"
        )
    found += _quantized(table)
    found += _inside(table)
    failed = table[~table["status"].isin(("ok", "dryrun"))]
    for (status, phase, reason), rows in failed.groupby(["status", "phase", "reason"], sort=False):
        where = ", ".join(rows["folder"][:2]) + (f" and {len(rows) - 2} more" if len(rows) > 2 else "")
        found.append(f"{status} in {phase} ({where}): {reason}")
    found += [f"unreadable: {path} ({reason})" for path, reason in table.attrs.get("unreadable", {}).items()]
    return list(dict.fromkeys(found))


def _quantized(table: pd.DataFrame) -> list[str]:
    """Whose accuracy means little, and whether the method or the engine is to blame for what is wrong."""
    found = []
    random = table[table["calibration"] == RANDOM]
    if len(random):
        methods = ", ".join(random["quantization_method"].unique())
        found.append(
            f"accuracy from random calibration: {methods} chose scales for random inputs; "
            "quantization.calibration names data of your own"
        )
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


def _merged(table: pd.DataFrame) -> list[str]:
    """Which jobs led to one point, since its backend does not use what they differ in."""
    found = []
    shared = table[table["jobs"].map(len) > 1]
    for backend, rows in shared.groupby("backend", sort=False):
        jobs = ", ".join("=".join(map(str, numbers)) for numbers in rows["jobs"])
        axes = dict.fromkeys(axis for merged in rows["merged_axes"] for axis in merged or [])
        why = f": {', '.join(axes)} made no difference to it" if axes else ", which ask for the same"
        found.append(f"{backend} ran once for jobs {jobs}{why}")
    return found


def _inside(table: pd.DataFrame) -> list[str]:
    """What the looks into the engines say of the host's part, and of layers that ran in another precision."""
    found = []
    profiled = table[table["profile_engine_id"].notna()]
    differ = [axis for axis in AXES if axis not in NAMES and profiled[axis].nunique(dropna=False) > 1]
    for row in profiled.to_dict("records"):
        label = " ".join(str(row[axis]) for axis in NAMES)
        label += "".join(f" {axis}={row[axis]}" for axis in differ if not pd.isna(row[axis]))
        if row["launch_bound"] is True and not pd.isna(row["gpu_ms"]):
            engines = f"{row['engines']} engine" + "s" * (row["engines"] != 1)
            others = f" and {row['fallback_ops']} operators in PyTorch" if row["fallback_ops"] else ""
            found.append(
                f"{label}: {engines}{others} cost {row['gpu_ms']:.2g} ms of GPU work and "
                f"{max(row['latency_ms'] - row['gpu_ms'], 0):.2g} ms of launching"
            )
        precisions = row["layer_precisions"]
        ran = dict(item.split(":") for item in precisions.split()) if isinstance(precisions, str) else {}
        asked = WIDER.get(row["precision"])
        wider = {name: number for name, number in ran.items() if asked is not None and asked in name}
        if wider:
            shown = ", ".join(f"{number} in {name}" for name, number in wider.items())
            found.append(f"{label}: of {row['layers']} layers, {shown} (layer_precisions)")
    timed = table["status"].isin(("ok", "inaccurate"))  # what was not says why anyway
    for reason, rows in table[table["profile_reason"].notna() & timed].groupby("profile_reason", sort=False):
        found.append(f"no profile of {', '.join(rows['folder'][:2])}{' and more' * (len(rows) > 2)}: {reason}")
    return found


GAINS = 4  # of CUDA graphs that a note names


def _launch_bound(table: pd.DataFrame) -> list[str]:
    bound = table[table["launch_bound"].fillna(False).astype(bool) & (table["status"] == "ok")]
    if bound.empty:
        return []
    found = [
        f"{len(bound)} of {len(table)} points are launch-bound: issuing a call takes the host more than 0.8 of the "
        "GPU's time for it, so latency times the host; "
    ]
    gains = []
    # Not by the engine, which another build of the same may write in other bytes, nor by inductor's mode, which changes
    # with cuda_graphs.
    same = [axis for axis in SETTINGS if axis not in ("cuda_graphs", *moving_with("cuda_graphs"))]
    keys = [*COMPARABLE, "time_at", *same]
    graphs = table["cuda_graphs"].fillna(False).astype(bool)
    with_graphs = table[graphs & (table["status"] == "ok")].drop_duplicates(keys)
    figures = ["latency_ms", "latency_ms_ci_low", "latency_ms_ci_high"]
    both = bound[~graphs[bound.index]][[*keys, "model", *figures]].merge(
        with_graphs[[*keys, *figures]], on=keys, suffixes=("", "_after")
    )
    for row in both.to_dict("records"):
        before, after = row["latency_ms"], row["latency_ms_after"]
        low, high = row["latency_ms_ci_low_after"], row["latency_ms_ci_high_after"]
        apart = row["latency_ms_ci_low"] > high or row["latency_ms_ci_high"] < low
        gained = f"{before:.3g} to {after:.3g} ms, {before / after:.2f}×"
        shown = gained if apart else f"{before:.3g} and {after:.3g} ms, not told apart"
        gains.append(f"{row['model']} {row['backend']} {row['precision']} {shown}")
    advice = "cuda_graphs=true or a larger batch_size may help"
    gains = list(dict.fromkeys(gains))
    more = [f"and {len(gains) - GAINS} more"] * (len(gains) > GAINS)
    found[0] += f"with cuda_graphs=true: {', '.join([*gains[:GAINS], *more])}" if gains else advice
    return found


def clock_notes(table: pd.DataFrame) -> list[str]:
    """What the ranks and clocks mean for a reader of the table."""
    found = []
    if table["latency_rank"].notna().any():
        found.append(
            "a rank such as 1–3 says that nothing measured tells these apart; an interval is where another run of the "
            "point is expected"
        )
    methods = sorted(table["gpu_ms_method"].dropna().unique())
    if len(methods) > 1:
        found.append(f"gpu ms was measured by {' and '.join(methods)}, and is ranked within each only")
    missing = table[(table["status"] == "ok") & table["gpu_ms"].isna() & table["gpu_ms_reason"].notna()]
    for reason, rows in missing.groupby("gpu_ms_reason", sort=False):
        found.append(f"no gpu ms for {len(rows)} of {len(table)} points: {reason}")
    found += _launch_bound(table)
    bad = table[table["health"].notna() & (table["health"] != "ok")]
    for (verdict, why), rows in bad.groupby(["health", "health_reason"], sort=False, dropna=False):
        found.append(f"{verdict}: {len(rows)} of {len(table)} points ({why})")
    unknown = table[table["gpu_ms"].notna() & table["health"].isna()]
    for reason, rows in unknown.groupby("health_reason", sort=False):
        found.append(f"health of {len(rows)} of {len(table)} points is not known: {reason}")
    return found
