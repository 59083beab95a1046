"""The lines that a sweep ends with: what to set, what that takes, and what makes no difference."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.analysis.report import answer, sentences
from trt_sweep.app import answer as app_answer
from trt_sweep.app import table as app_table
from trt_sweep.results import table

DEFAULTS = TIMED | {"min_block_size": 5, "default_min_block_size": 5, "engine_id": "x"}
UNANSWERED = (
    "Points that differ in {} are not compared by latency: "
    "trt-sweep report FOLDER --objective throughput compares them."
)


def lines(folder, **more):
    return answer.lines(table.load(folder), **more)


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, "eager", 4.0, **TIMED, jobs=[], backend="eager", precision="fp16")
    put(tmp_path, "defaults", 2.0, **DEFAULTS, optimization_level=3)
    put(tmp_path, "same", 2.0, **DEFAULTS, optimization_level=5, timed_with="defaults")
    put(tmp_path, "fast", 1.0, **DEFAULTS | {"engine_id": "y"}, precision="fp16", compile="x=1 y=a b", cuda_graphs=True)
    return tmp_path


def test_the_winner_is_known(folder):
    first, second, third = lines(folder)
    assert first == "m: set precision=fp16 cuda_graphs=true +compile.x=1 +compile.y=a b"
    said, defaults, eager = second.split("; ")
    assert said == "  latency 1 [1, 1] ms, proved"
    ratio, _, low, high = defaults.replace("× [", " [ ").replace(", ", " ").replace("]", "").split()[:4]
    assert ratio == "2.00" and 1.9 < float(low) < 2 < float(high) < 2.1
    assert defaults.endswith("] vs the defaults (dynamo fp32)")
    assert eager.startswith("4.00× [") and eager.endswith("] vs eager fp16")
    assert third == "  no difference: optimization_level (the same engines in 1 pair)"


def test_the_fastest_is_inaccurate(folder):
    put(folder, "wrong", 0.1, **TIMED, status="inaccurate", precision="int8", rel_l2_error=9.0)
    put(folder, "slow and wrong", 9.0, **TIMED, status="inaccurate", precision="bf16", rel_l2_error=9.0)
    first, second, third = lines(folder)
    assert first.startswith("m: set precision=fp16 ") and "latency 1 [1, 1] ms, proved" in second
    assert third.endswith("; better, but inaccurate: dynamo int8")


def test_one_that_is_alone_in_being_accurate_was_not_the_only_one_timed(tmp_path):
    put(tmp_path, "right", 1.0, **DEFAULTS)
    put(tmp_path, "wrong", 0.1, **TIMED, status="inaccurate", precision="int8", rel_l2_error=9.0)
    assert lines(tmp_path)[1].startswith("  latency 1 [1, 1] ms, the only one to choose from")


def test_a_tie(tmp_path):
    put(tmp_path, "defaults", 1.0, **DEFAULTS)
    put(tmp_path, "other", 1.0005, **TIMED, min_block_size=1, default_min_block_size=5)
    put(tmp_path, "slow", 3.0, **TIMED, min_block_size=9, default_min_block_size=5)
    assert lines(tmp_path) == [
        "m: set nothing: nothing measured beats the defaults",
        "  latency 1 [1, 1] ms, not proved: one of 2 that nothing measured tells apart",
        "  as good: dynamo fp32 min_block_size=1",
    ]


@pytest.mark.parametrize(
    ("work", "tells"), [(0.5, "the least work of the GPU among those"), (0.9, "not proved: one of 2 that")]
)
def test_the_work_of_the_gpu_tells_a_tie_apart(tmp_path, work, tells):
    put(tmp_path, "a", 1.0, **DEFAULTS, gpu_ms=0.9)
    put(tmp_path, "b", 1.0005, **TIMED, min_block_size=1, default_min_block_size=5, gpu_ms=work)
    first, second, *_ = lines(tmp_path)
    assert first == ("m: set min_block_size=1" if work < 0.9 else "m: set nothing: nothing measured beats the defaults")
    assert f"ms, {tells}" in second


def test_a_ratio_that_is_proved_alone_only_says_so():
    """Take squeezenet1_1, of which the default may be as good where all points are asked about at once."""
    records = Path(__file__).parents[1] / "outputs/reference/h200_rtx1.6/min_block_size"
    proved = {line.split(": ")[0]: below for line, below in pairwise(answer.lines(table.load(records)))}
    assert "vs the defaults (dynamo fp16), if only these two are compared; " in proved["squeezenet1_1"]
    assert "vs the defaults (dynamo fp16); " in proved["googlenet"]


def test_what_has_less_work_than_the_answer_is_told():
    """With TensorRT-RTX 1.6 vit_b_16 takes more of the GPU's work than in eager, which has no CUDA graphs there."""
    records = Path(__file__).parents[1] / "outputs/reference/h200_rtx1.6/models"
    told = [line for line in sentences.caveats(table.load(records)) if "try backend=" in line]
    assert len(told) == 1 and told[0].startswith("vit_b_16 eager fp16 takes 0.744 ms of the GPU's work, and waits")


@pytest.mark.parametrize("axis", ["streams", "batch_size"])
def test_throughput_compares_points_that_work_on_several_items(tmp_path, axis):
    """Latency has nothing to compare where each number of items has one point, and is asked where it has two."""
    for number, latency in ((1, 1.0), (2, 1.5), (4, 4.0)):
        throughput = 1e3 * number / latency
        put(tmp_path, f"s{number}", latency, **DEFAULTS, **{axis: number}, throughput_per_s=throughput)
    first, second, third, *others = lines(tmp_path)
    assert first == f"m: set {axis}=2" and second.startswith("  throughput 1333 ") and others == []
    assert third.startswith(f"  chosen by throughput from {axis}=1, 2, 4; a call takes 1.5 [1.5, 1.5] ms")
    assert lines(tmp_path) == lines(tmp_path, objective="throughput")
    assert "are not compared by gpu: " in lines(tmp_path, objective="gpu")[0]
    put(tmp_path, "other", 2.0, **DEFAULTS, **{axis: 4}, throughput_per_s=2e3, precision="fp16")
    first, *_, last = lines(tmp_path)
    assert first == f"m {axis}=4: set precision=fp16"
    assert last == UNANSWERED.format(axis)
    assert lines(tmp_path, objective="throughput")[0] == f"m: set precision=fp16 {axis}=4"


def test_two_models_are_not_said_to_be_compared_by_throughput(tmp_path):
    for name, size in (("m", 1), ("n", 8)):
        put(tmp_path, name, 1.0, **DEFAULTS, model=name, task_id=name, batch_size=size)
        put(tmp_path, f"{name}2", 2.0, **TIMED, precision="fp16", model=name, task_id=name, batch_size=size)
    assert not any("not compared" in line for line in lines(tmp_path))


@pytest.mark.parametrize(("axis", "value", "needless"), [("optimization_level", 5, True), ("runtime", "python", False)])
def test_what_an_engine_does_not_heed_need_not_be_set(tmp_path, axis, value, needless):
    """Take the fastest of records without visits, though its engine is the defaults'."""
    scatter = {"gpu_ms": 1.0, "gpu_ms_between_rounds": 0.0005, "gpu_ms_method": "graph", "rounds": 3, "engine_id": "x"}
    default = {"optimization_level": 3, "runtime": "cpp"}[axis]
    for name, latency, setting in (("defaults", 2.0, default), ("other", 1.0, value)):
        put(tmp_path, name, latency, **scatter, min_block_size=5, default_min_block_size=5, **{axis: setting})
    first, second, *third = lines(tmp_path)
    assert first == ("m: set nothing: nothing measured beats the defaults" if needless else f"m: set {axis}={value}")
    assert second == "  latency 1 ms, not proved" + ("" if needless else "; 2.00× vs the defaults (dynamo fp32)")
    assert any(f"no difference: {axis} (" in line for line in third) == needless


def test_each_size_has_its_answer(tmp_path):
    for size in (1, 8):
        put(tmp_path, f"a{size}", 1.0 * size, **DEFAULTS, batch_size=size)
        put(tmp_path, f"b{size}", 3.0 * size, **TIMED, batch_size=size, precision="fp16")
    assert [line for line in lines(tmp_path) if not line.startswith(" ")] == [
        "m batch_size=1: set nothing: nothing measured beats the defaults",
        "m batch_size=8: set nothing: nothing measured beats the defaults",
        UNANSWERED.format("batch_size"),
    ]


def test_the_objective_decides(folder):
    put(folder, "thrifty", 3.0, **TIMED, precision="bf16", energy_mj_per_call=1.0)
    put(folder, "thirsty", 3.0, **TIMED, precision="tf32", energy_mj_per_call=2.0)
    first, second = lines(folder, objective="energy")[:2]
    assert first == "m: set precision=bf16" and second == "  energy 1 mJ, not proved"


def test_one_point_and_plans_have_no_answer(tmp_path, capsys):
    put(tmp_path / "one", "eager", 4.0, **TIMED, jobs=[], backend="eager")
    put(tmp_path / "one", "a", 2.0, **DEFAULTS)
    for name in "ab":
        put(tmp_path / "planned", name, status="dryrun", dryrun=True)
        put(tmp_path / "failed", name, status="crashed", phase="build", reason="no")
    for case in ("one", "planned", "failed"):
        assert lines(tmp_path / case) == []
        app_answer.show(table.load(tmp_path / case))
    assert capsys.readouterr().out == ""


def test_the_verb_ends_with_it(folder, capsys):
    assert app_table.main([str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == ["", *lines(folder)]


def test_nobody_is_told_to_change_to_what_took_longer(tmp_path):
    """Records without visits do not tell latencies apart, and then the GPU's work decides."""
    scatter = {"gpu_ms_between_rounds": 0.0005, "gpu_ms_method": "graph", "rounds": 3}
    put(tmp_path, "defaults", 2.0, **scatter, gpu_ms=1.0, engine_id="x", min_block_size=5, default_min_block_size=5)
    put(tmp_path, "other", 3.0, **scatter, gpu_ms=0.5, engine_id="y", min_block_size=1, default_min_block_size=5)
    assert lines(tmp_path)[0] == "m: set nothing: nothing measured beats the defaults"


def test_an_axis_of_the_engine_that_latency_proves_is_set(tmp_path):
    """The GPU's work is the same, the launching is not."""
    put(tmp_path, "defaults", 2.0, **TIMED, min_block_size=5, default_min_block_size=5, engine_id="x", gpu_ms=0.2)
    put(tmp_path, "one", 1.0, **TIMED, min_block_size=1, default_min_block_size=5, engine_id="y", gpu_ms=0.2)
    first, _, *third = lines(tmp_path)
    assert first == "m: set min_block_size=1" and "no difference" not in "".join(third)


def test_eager_is_that_of_the_same_factory(tmp_path):
    for depth, factor in ((1, 1.0), (2, 2.0)):
        same = {"model_id": f"m{depth}", "task_id": "t", "factory": f"depth={depth}"}
        put(tmp_path, f"eager{depth}", 4.0 * factor, **TIMED | same, jobs=[], backend="eager")
        put(tmp_path, f"fast{depth}", 1.0 * factor, **DEFAULTS | same)
    first, second, *_ = lines(tmp_path)
    assert first in ("m: set ++model.factory.depth=1", "m: set nothing: nothing measured beats the defaults")
    assert "4.00×" in second and "8.00×" not in second


def test_a_method_of_quantization_is_named_though_it_changes_nothing(tmp_path):
    put(tmp_path, "defaults", 2.0, **DEFAULTS)
    for name, method in (("a", "torchao_x"), ("b", "torchao_y")):
        how = {"precision": "int8", "quantization_method": method, "engine_id": "q"}
        put(tmp_path, name, 1.0, **DEFAULTS | how)
    assert lines(tmp_path)[0].startswith("m: set precision=int8 quantization.method=torchao_")


@pytest.mark.parametrize(
    ("column", "value", "argument"),
    [
        ("dynamic_range", "1:8:32", "'batch_size=[1,8,32]'"),
        ("quantization_skip", "fc layer4.*", "'quantization.skip=[fc,layer4.*]'"),
        ("keep_fp32", "norm blocks.*.norm?", "'keep_fp32=[norm,blocks.*.norm?]'"),
        ("calibration", "mine.data", None),
    ],
)
def test_what_is_set_is_what_the_command_line_takes(column, value, argument):
    assert answer._arguments({column: value}, column) == ([] if argument is None else [argument])


def test_a_cold_runtime_cache_is_never_advised(tmp_path):
    put(tmp_path, "slow", 2.0, **DEFAULTS, runtime_cache="cold")
    put(tmp_path, "fast", 1.0, **DEFAULTS | {"precision": "fp16"}, runtime_cache="cold")
    assert lines(tmp_path)[0] == "m: set precision=fp16"


def ranged(folder, name: str, latency: float, size: int, shapes: str, **values) -> None:
    put(folder, name, latency, **TIMED, batch_size=size, input_shapes=shapes, task_id=shapes, **values)


def test_sizes_of_a_range_are_said_as_a_user_would(tmp_path):
    for size in (1, 8):
        for precision in ("fp16", "fp32"):
            name = f"{size} {precision}"
            ranged(
                tmp_path, name, 1.0 * size, size, f"{size}x3", time_at=size, dynamic_range="1:8:32", precision=precision
            )
    ranged(tmp_path, "fixed", 0.5, 1, "1x3", precision="bf16")
    first, second = (line for line in lines(tmp_path) if ": set " in line)
    assert first.startswith("m at batch 1: set precision=bf16") and second.startswith("m at batch 8: set ")
    (served,) = (line for line in lines(tmp_path) if "serves" in line)
    assert served.startswith("  this build serves sizes 1 to 32; the answer is for the size above")


def test_sizes_of_several_ranges_are_said_by_their_shapes(tmp_path):
    for shapes, size, length in (("1x16", 1, 16), ("1x64", 1, 64), ("8x16", 8, 16)):
        for precision in ("fp16", "fp32"):
            about = {"dynamic_range": "batch=1:1:8 seq=16:16:64", "precision": precision, "time_at": length}
            ranged(tmp_path, f"{shapes} {precision}", 1.0 * size * length, size, shapes, **about)
    found = lines(tmp_path)
    heads = [line.split(":")[0] for line in found if ": set " in line]
    assert heads == ["m at batch 1, 1x16", "m at batch 1, 1x64", "m at batch 8, 8x16"]
    assert any("this build serves sizes batch 1 to 8, seq 16 to 64" in line for line in found)
