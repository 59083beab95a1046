"""Pairs, effects with their intervals and interactions, and the verdict on each axis."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.analysis.report import effects, pairs, sections, sentences, tables
from trt_sweep.analysis.report import verdicts as report_verdicts
from trt_sweep.analysis.report.pairs import Scatter
from trt_sweep.results import table

EXACT = TIMED | {"latency_ms_between_rounds": 0.0002, "clock": "cuda_events"}
SETTINGS = Path(__file__).parents[1] / "outputs/reference/h200/settings"
QUANTIZATION = Path(__file__).parents[1] / "outputs/reference/h200/quantization"


def judged(folder, axes, delta=0.02):
    rows = table.load(folder)
    scatters = {clock: Scatter(rows, clock) for clock in pairs.TIMES}
    found = effects.effects(rows, axes, scatters, delta)
    return found, {verdict.axis: verdict for verdict in report_verdicts.audit(rows, found, scatters, delta)}


def effect(axes, axis, metric="latency_ms", level=None, backend=None):
    (found,) = [
        item
        for one in axes
        if (one.name, one.backend) == (axis, backend)
        for item in one.effects
        if item.metric == metric and level in (None, item.level)
    ]
    return found


def grid(folder, latency, **values):
    """Points over two axes, with the latency that the function gives."""
    for size in (1, 5, 9):
        for precision in ("fp32", "fp16"):
            put(
                folder, f"{size}{precision}", latency(size, precision), **EXACT | values,
                min_block_size=size, precision=precision, default_min_block_size=5, engine_id=f"{size}{precision}",
            )  # fmt: skip


def test_arguments_of_a_factory_have_an_effect(tmp_path):
    for attention, latency_ms in (("eager", 2.0), ("sdpa", 1.0)):
        own = {"model_id": attention, "task_id": "task", "factory": f"attn={attention} width=8"}
        for size in (1, 5):
            name = f"{attention}{size}"
            put(tmp_path, name, latency_ms, **EXACT, **own, engine_id=name, min_block_size=size)
    axes, _ = judged(tmp_path, ["factory", "min_block_size"])
    halved = effect(axes, "factory")
    assert (halved.base, halved.level, halved.pairs) == ("attn=eager", "attn=sdpa", 2)
    assert halved.value == pytest.approx(math.log(0.5), rel=1e-3) and effect(axes, "min_block_size").pairs == 2


def test_an_effect_is_the_mean_over_pairs_with_all_else_alike(tmp_path):
    grid(tmp_path, lambda size, precision: (2.0 if precision == "fp16" else 4.0) * (1.1 if size == 9 else 1.0))
    axes, verdicts = judged(tmp_path, ["precision", "min_block_size"])
    halved = effect(axes, "precision")
    assert (halved.base, halved.level, halved.pairs) == ("fp32", "fp16", 3)
    assert halved.value == pytest.approx(math.log(0.5))
    assert halved.low < math.log(0.5) < halved.high < math.log(0.52)
    ninth = effect(axes, "min_block_size", level="9")
    assert (ninth.base, ninth.pairs) == ("5", 2)  # the library's default
    assert ninth.value == pytest.approx(math.log(1.1))
    assert not halved.interactions and not ninth.interactions
    assert verdicts["precision"].kind == verdicts["min_block_size"].kind == "effect"
    assert verdicts["precision"].evidence.startswith("latency -50.0 % [")


def test_an_interaction_is_named(tmp_path):
    grid(tmp_path, lambda size, precision: 4.0 if precision == "fp32" else {1: 1.0, 5: 2.0, 9: 4.0}[size])
    axes, _ = judged(tmp_path, ["precision", "min_block_size"])
    (found,) = effect(axes, "precision").interactions
    assert found.axis == "min_block_size"
    assert {level: round(math.exp(mean.value), 2) for level, mean in found.means.items()} == {
        "1": 0.25,
        "5": 0.5,
        "9": 1.0,
    }
    assert effects.words([found]) == "changes with min_block_size: -75.0 % at 1, -50.0 % at 5, 0.0 % at 9"


def changes(found):
    return {name: round(100 * math.expm1(mean.value), 1) for name, mean in found.means.items()}


def test_an_interaction_has_the_mean_of_all_its_pairs():
    """As the effect beside it: inverse variances as weights told of 9 and 6.8 % where the whole was 17."""
    axes, _ = judged(SETTINGS, ["model", "precision", "min_block_size", "runtime", "cuda_graphs"])
    whole = effect(axes, "precision", "gpu_ms")
    assert whole.value == pytest.approx(math.log(0.7843), abs=5e-4)
    found = {item.axis: changes(item) for item in whole.interactions}
    assert found["runtime"] == {"cpp": -18.7, "python": -24.4}
    assert found["model"] == {"googlenet": -16.2, "resnet18": -43.0, "squeezenet1_1": 1.0}
    runtime = effect(axes, "runtime", "gpu_ms").interactions
    assert {item.axis: changes(item) for item in runtime}["model"]["googlenet"] == -8.3
    assert not effect(axes, "precision").interactions  # the host's scatter hides what a few calm pairs show


def test_an_effect_on_one_model_only_is_an_interaction():
    """ResNet-18 is one engine at all sizes."""
    axes, _ = judged(SETTINGS, ["model", "precision", "min_block_size"])
    found = {item.axis: changes(item) for item in effect(axes, "min_block_size", "gpu_ms", "22").interactions}
    assert found["model"] == {"googlenet": 20.3, "resnet18": 0.0, "squeezenet1_1": 62.6}


def test_interactions_are_told_by_clock_the_clearest_two():
    place = next(sections.split(table.load(SETTINGS), 0.02))
    cells = {(line[0], line[1]): line[-1] for line in tables.effect_grid(place).rows}
    told = cells["precision", "fp32 → fp16"]
    assert re.fullmatch(r"GPU: changes with model: .*; changes with \w+: .*; 2 more", told)
    assert cells["min_block_size", "5 → 22"].startswith("GPU: changes with model: 0.0 % at resnet18, +20.3 %")


def test_a_point_that_several_pairs_share_counts_once(tmp_path):
    put(tmp_path, "eager", 4.0, **EXACT, backend="eager", gpu_ms=4.0)
    for size in range(1, 7):
        put(tmp_path, f"p{size}", 2.0, **EXACT, min_block_size=size, gpu_ms=2.0)
    rows = table.load(tmp_path)
    scatter = Scatter(rows, "gpu_ms")
    (found,) = pairs.pairs(rows, "backend")
    assert (found.base, found.level, len(found.a)) == ("eager", "dynamo", 6)  # eager has no min_block_size
    mean = scatter.mean(found.a, found.b)
    assert mean.variance == pytest.approx(scatter.spread[0] ** 2 + scatter.spread[1] ** 2 / 6)


def test_other_figures_have_an_interval_from_three_pairs_on(tmp_path):
    grid(tmp_path, lambda *_: 1.0, build_s=2.0)
    for number, build in enumerate((3.0, 4.0, 5.0)):
        for level in (0, 5):
            put(
                tmp_path, f"b{number}{level}", 1.0, **EXACT, batch_size=number + 2, optimization_level=level,
                build_s=build * (2 if level else 1) * (1 + 0.01 * number * (level > 0)), rel_l2_error=1e-3,
            )  # fmt: skip
    axes, _ = judged(tmp_path, ["optimization_level", "precision"])
    build = effect(axes, "optimization_level", "build_s")
    differences = np.log([2.0, 2.02, 2.04])
    assert build.value == pytest.approx(differences.mean())
    half = 4.302653 * differences.std(ddof=1) / math.sqrt(3)  # Student's t of two degrees of freedom at 97.5 %
    assert (build.low, build.high) == pytest.approx((build.value - half, build.value + half))
    assert effect(axes, "optimization_level", "rel_l2_error").value == 0


def test_sweeps_gpus_and_methods_are_not_set_against_each_other(tmp_path):
    put(tmp_path, "a", 1.0, **EXACT, precision="fp32", gpu_ms=1.0)
    put(tmp_path, "b", 1.0, **EXACT, precision="fp16", sweep_id="other", gpu_ms=1.0)
    put(tmp_path, "c", 1.0, **EXACT, precision="fp16", gpu_uuid="GPU-2", gpu_ms=1.0)
    put(tmp_path, "d", 1.0, **EXACT, precision="fp16", status="inaccurate", gpu_ms=1.0)
    assert pairs.pairs(table.load(tmp_path), "precision") == []
    put(tmp_path, "e", 1.0, **EXACT | {"gpu_ms_method": "queued"}, precision="fp16", gpu_ms=1.0)
    axes, _ = judged(tmp_path, ["precision"])
    assert {item.metric for item in axes[0].effects} == {"latency_ms"}


def test_size_and_what_follows_from_it_move_together(tmp_path):
    for size in (1, 8):
        put(tmp_path, f"b{size}", 1.0 * size, **EXACT, batch_size=size, input_shapes=f"{size}x3", time_at=size)
    axes, _ = judged(tmp_path, ["batch_size", "model"])
    assert [axis.name for axis in axes] == ["batch_size"]  # models are not set against each other
    assert effect(axes, "batch_size").value == pytest.approx(math.log(8))


def test_null_is_a_value_where_the_backend_has_others(tmp_path):
    put(tmp_path, "eager", 5.0, **EXACT, backend="eager")
    put(tmp_path, "fixed", 1.0, **EXACT, dynamic_range=None)
    put(tmp_path, "range", 2.0, **EXACT, dynamic_range="1:8:32", time_at=1)
    axes, verdicts = judged(tmp_path, ["dynamic_range"])
    assert effect(axes, "dynamic_range").pairs == 1
    assert "from unset to 1:8:32" in verdicts["dynamic_range"].evidence


def test_precision_and_calibration_go_with_the_method():
    rows = table.load(QUANTIZATION)
    (place,) = sections.split(rows, 0.02)
    assert [axis.name for axis in place.effects] == ["quantization_method", "batch_size"]
    assert sentences.swept(place).endswith(" Swept: quantization_method (3 values), batch_size (3 values).")
    verdict = {item.axis: item for item in place.verdicts}["quantization_method (with precision)"]
    assert verdict.kind == "effect"
    ok = rows[rows["status"] == "ok"].set_index(["model", "batch_size"])
    plain, int8 = (ok.loc[ok["precision"] == name, "gpu_ms"] for name in ("fp16", "int8"))
    logs = np.log((int8 / plain).astype(float)).groupby("model").mean()
    for model in ("resnet50", "transformer_mlp", "vit_b_16"):
        assert f"{100 * math.expm1(logs[model]):+.1f} % [" in verdict.evidence
    fp8 = effect(place.effects, "quantization_method", "gpu_ms", "modelopt_fp8_default")
    assert (fp8.base, fp8.pairs, list(fp8.models)) == ("–", 6, ["transformer_mlp", "vit_b_16"])  # resnet50: not finite
    assert [line[0] for line in tables.effect_grid(place).rows][:2] == ["quantization_method (with precision)"] * 2
    (changed, *_) = effect(place.effects, "batch_size", "gpu_ms", "64").interactions[1:]
    assert changed.axis == "quantization_method"


def quantized(folder):
    """FP8 beside FP16 with its baselines, and FP32 as well."""
    for precision, latency in (("fp32", 8.0), ("fp16", 4.0)):
        put(folder, f"e{precision}", 2 * latency, **EXACT, backend="eager", jobs=[], precision=precision)
        put(folder, precision, latency, **EXACT, precision=precision, base_precision=precision)
    fp8 = {"precision": "fp8", "base_precision": "fp16", "quantization_method": "fp8", "calibration": "random"}
    put(folder, "fp8", 1.0, **EXACT, **fp8)
    return fp8


def test_a_method_is_set_against_the_precision_beside_it(tmp_path):
    quantized(tmp_path)
    (place,) = sections.split(table.load(tmp_path), 0.02)
    titles = ["backend", "precision", "quantization_method (with precision)", "precision (eager)"]
    assert [axis.title for axis in place.effects] == titles
    fp8 = effect(place.effects, "quantization_method")
    assert (fp8.pairs, fp8.value) == (1, pytest.approx(math.log(1 / 4)))
    halved = effect(place.effects, "precision")
    assert (halved.base, halved.level, halved.pairs, halved.value) == ("fp32", "fp16", 1, pytest.approx(math.log(0.5)))


def test_what_an_axis_does_to_eager_is_said_of_eager(tmp_path):
    """Eager has its own base: dynamo was not run in fp32, with which eager's precisions are compared."""
    for precision, eager, dynamo in (("fp32", 8.0, None), ("fp16", 2.0, 1.0), ("bf16", 2.0, 0.9)):
        put(tmp_path, f"e{precision}", eager, **EXACT, backend="eager", jobs=[], precision=precision)
        if dynamo:
            put(tmp_path, precision, dynamo, **EXACT, precision=precision)
    axes, verdicts = judged(tmp_path, ["backend", "precision"])
    own, eagers = (effect(axes, "precision", level="fp16", backend=name) for name in (None, "eager"))
    assert (own.base, own.pairs, own.value) == ("bf16", 1, pytest.approx(math.log(1 / 0.9)))
    assert (eagers.base, eagers.pairs, eagers.value) == ("fp32", 1, pytest.approx(math.log(1 / 4)))
    assert verdicts.keys() == {"backend", "precision", "precision (eager)"}
    assert verdicts["precision"].evidence.startswith("latency +11.1 %")


def test_published_eager_pairs_are_not_tensorrts():
    axes, _ = judged(SETTINGS, ["model", "backend", "precision", "cuda_graphs"])
    assert [effect(axes, "precision", "gpu_ms", backend=name).pairs for name in (None, "eager")] == [36, 3]
    assert {axis.backend for axis in axes if axis.name != "precision"} == {None}


def test_what_the_method_does_not_settle_is_an_axis(tmp_path):
    fp8 = quantized(tmp_path)
    put(tmp_path, "mine", 2.0, **EXACT, **fp8 | {"calibration": "mine"})
    (place,) = sections.split(table.load(tmp_path), 0.02)
    assert effect(place.effects, "quantization_method").pairs == 2  # none has no calibration
    mine = effect(place.effects, "calibration")
    assert (mine.base, mine.level, mine.pairs) == ("mine", "random", 1)


def test_pauses_between_kernels_are_no_work_that_cuda_graphs_take_away():
    (place,) = sections.split(table.load(SETTINGS), 0.02)
    (graphs,) = [axis for axis in place.effects if axis.name == "cuda_graphs"]
    assert set(place.rows["gpu_ms_method"]) == {"queued"}
    assert {effect.metric for effect in graphs.effects} & {"gpu_ms", "latency_ms"} == {"latency_ms"}
