"""Check the verdict on each axis: an effect, none, or not told apart."""

from __future__ import annotations

import re

from test_report_effects import EXACT, SETTINGS, effect, grid, judged
from test_table import put


def test_no_effect_has_to_be_proved(tmp_path):
    grid(tmp_path, lambda size, precision: 1.0 if precision == "fp16" else 1.001)
    assert judged(tmp_path, ["precision"])[1]["precision"].kind == "none"
    assert judged(tmp_path, ["precision"], delta=0.001)[1]["precision"].kind == "not told apart"
    wide = tmp_path / "wide"
    grid(wide, lambda *_: 1.0, latency_ms_between_rounds=0.15)
    verdict = judged(wide, ["precision"])[1]["precision"]
    assert verdict.kind == "not told apart" and "neither a difference nor less than ±2 % is proved" in verdict.evidence


def test_effects_that_cancel_out_are_effects(tmp_path):
    grid(tmp_path, lambda size, precision: 1.0 if precision == "fp32" else {1: 1.2, 5: 1.0, 9: 1 / 1.2}[size])
    verdict = judged(tmp_path, ["precision"])[1]["precision"]
    assert verdict.kind == "effect" and "2 of 3 pairs differ, -16.7 % to +20.0 %" in verdict.evidence


def test_same_engines_have_no_effect_whatever_their_times(tmp_path):
    for level, latency in ((0, 1.0), (5, 1.5)):
        put(tmp_path, f"l{level}", latency, **EXACT, optimization_level=level, engine_id="same")
    axes, verdicts = judged(tmp_path, ["optimization_level"])
    assert verdicts["optimization_level"].kind == "none"
    assert verdicts["optimization_level"].evidence == "the same engines in 1 pair"
    assert effect(axes, "optimization_level").value == 0  # one measurement


def test_one_engine_may_be_run_in_two_ways(tmp_path):
    for runtime, latency in (("cpp", 1.0), ("python", 1.5)):
        put(tmp_path, runtime, latency, **EXACT, runtime=runtime, engine_id="same")
    assert judged(tmp_path, ["runtime"])[1]["runtime"].kind == "effect"


def test_what_was_timed_once_for_both_has_no_effect(tmp_path):
    put(tmp_path, "a", 1.0, **EXACT, min_block_size=1, engine_id="x")
    put(tmp_path, "b", 1.0, **EXACT, min_block_size=5, engine_id="x", timed_with="a")
    assert judged(tmp_path, ["min_block_size"])[1]["min_block_size"].kind == "none"


def test_ignored_axes_are_evidence(tmp_path):
    known = {"tensorrt_flavor": "rtx", "tensorrt": "1.4.0", "ignored_axes": ["optimization_level"]}
    for level in (0, 5):
        put(tmp_path, f"l{level}", 1.0 + level, **EXACT | known, optimization_level=level, engine_id="same")
    verdict = judged(tmp_path, ["optimization_level"])[1]["optimization_level"]
    assert verdict.kind == "ignored"
    assert verdict.evidence == (
        "TensorRT-RTX 1.4.0 accepts it without effect (ignored_axes); 1 of 1 pairs have byte-identical engines"
    )


def test_nothing_is_said_without_pairs_times_or_scatter(tmp_path):
    put(tmp_path, "a", 1.0, **EXACT, precision="fp16", min_block_size=1)
    put(tmp_path, "b", 1.0, **EXACT, precision="fp32", min_block_size=5)
    assert judged(tmp_path, ["precision"])[1]["precision"].kind == "cannot be said"
    plans, once = tmp_path / "plans", tmp_path / "once"
    for size, partition in ((1, "x"), (2, "x"), (5, "y")):
        put(plans, f"p{size}", status="dryrun", min_block_size=size, partition_id=partition, default_min_block_size=1)
    verdict = judged(plans, ["min_block_size"])[1]["min_block_size"]
    assert verdict.kind == "cannot be said"
    assert verdict.evidence == "nothing was timed; 1 of 2 pairs have the same partition"
    for precision in ("fp32", "fp16"):
        nothing = dict.fromkeys(("latency_ms_ci_low", "latency_ms_ci_high"))
        put(once, precision, 1.0 if precision == "fp32" else 9.0, **nothing, precision=precision)
    assert judged(once, ["precision"])[1]["precision"].kind == "not told apart"


def test_what_only_the_caller_sees_is_said_as_well(tmp_path):
    for number in range(3):
        for graphs, latency in ((False, 5.0), (True, 2.0)):
            axes = {"min_block_size": number, "cuda_graphs": graphs}
            put(tmp_path, f"{number}{graphs}", latency, **EXACT, gpu_ms=1.0 + 0.1 * (not graphs), **axes)
    _, verdicts = judged(tmp_path, ["cuda_graphs"])
    found = verdicts["cuda_graphs"].evidence
    assert re.search(r"GPU's work -9\..* from false to true .*; latency -60\.", found), found


def test_a_verdict_tells_what_each_model_did():
    _, verdicts = judged(SETTINGS, ["model", "precision", "min_block_size", "runtime", "cuda_graphs"])
    assert verdicts["min_block_size"].evidence.startswith(
        "the GPU's work +62.6 % [+57.1, +68.3] at squeezenet1_1, +20.3 % [+18.4, +22.2] at googlenet, the same engines "
        "at resnet18 from 5 to 22 (24 pairs); +4.2 %"
    )
    runtime = verdicts["runtime"].evidence
    assert runtime.endswith("(36 pairs); changes with precision, cuda_graphs as well, see Effects")
    assert "-8.3 % [-9.5, -7.1] at googlenet, -2.7 % [-4.9, -0.5] at squeezenet1_1, -0.9 % [-1.9, 0.0]" in runtime


def test_models_without_an_effect_do_not_hide_one_that_has_it(tmp_path):
    for model, batches, change in (("same", 20, 1.0), ("other", 4, 1.012)):
        for batch in range(batches):
            for level in (0, 5):
                put(
                    tmp_path, f"{model}{batch}{level}", change if level else 1.0, **EXACT, model=model, model_id=model,
                    optimization_level=level, batch_size=batch + 1,
                    engine_id=f"{model}{batch}" + f" at {level}" * (model == "other"),
                )  # fmt: skip
    _, verdicts = judged(tmp_path, ["model", "batch_size", "optimization_level"], delta=0.005)
    verdict = verdicts["optimization_level"]
    assert verdict.kind == "effect", verdict
    assert "+1.2 % [" in verdict.evidence and "] at other, the same engines at same from 0 to 5" in verdict.evidence
