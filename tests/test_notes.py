"""Check what a table's notes say, and about which rows."""

from __future__ import annotations

import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.results import table
from trt_sweep.results.notes import notes as notes_of
from trt_sweep.results.notes_of_graphs import GAINS


def notes(folder) -> str:
    return "\n".join(notes_of(table.load(folder)))


def test_notes_say_why_there_is_no_profile_unless_the_status_does(tmp_path):
    why = "profile=true: backend=eager has no engines"
    put(tmp_path, "a", 5.0, backend="eager", profile_reason=why)
    put(tmp_path, "b", 5.0, status="inaccurate", profile_reason="not looked into: status=inaccurate")
    put(tmp_path, "c", status="build_failed", profile_reason="not looked into: status=build_failed")
    put(tmp_path, "d", status="dryrun", profile_reason="profile=true: a dry run builds no engines")
    found = [note for note in notes_of(table.load(tmp_path)) if note.startswith("no profile of ")]
    assert found == [f"no profile of points/a: {why}", "no profile of points/b: not looked into: status=inaccurate"]


def test_notes_about_shared_engines(tmp_path):
    put(tmp_path, "a", 5.0, engine_id="abcdef123", min_block_size=1)
    put(tmp_path, "b", 5.0, engine_id="abcdef123", min_block_size=5)
    put(tmp_path, "c", 5.0, engine_id="other")
    (note,) = notes_of(table.load(tmp_path))
    assert note.startswith("2 points share one engine (abcdef): min_block_size did not change it; ")
    put(tmp_path, "d", 5.0, engine_id="other", runtime="python")
    assert "runtime did not change it, but may run it differently" in notes_of(table.load(tmp_path))[1]
    for name, runtime in (("e", "cpp"), ("f", "python"), ("g", None)):
        put(tmp_path, name, 5.0, engine_id="third", runtime=runtime)
    assert notes_of(table.load(tmp_path))[1] == (
        "5 points share 2 engines: runtime did not change them, but may run it differently"
    )


def test_notes_count_all_engines_that_points_share(tmp_path):
    for name, engine, count, graphs in (("a", "one", 1, True), ("b", "one", 1, False), ("c", "ten", 10, True)):
        put(tmp_path, name, 5.0, engine_id=engine, engines=count, cuda_graphs=graphs, model=engine)
    put(tmp_path, "d", 5.0, engine_id="ten", engines=10, cuda_graphs=False, model="ten")
    assert "4 points share 11 engines: cuda_graphs did not change them" in notes(tmp_path)
    assert "2 points share 10 engines (ten): cuda_graphs did not change them" in "\n".join(
        notes_of(table.load(tmp_path).query("model == 'ten'"))
    )


@pytest.mark.parametrize(("flavor", "name"), [("rtx", "TensorRT-RTX"), ("standard", "TensorRT")])
def test_notes_about_ignored_axes(tmp_path, flavor, name):
    for point in "ab":
        put(tmp_path, point, 5.0, ignored_axes=["optimization_level"], tensorrt_flavor=flavor)
    assert notes_of(table.load(tmp_path)) == [f"{name} accepts optimization_level without effect"]


def test_notes_about_failures_and_plans(tmp_path):
    put(tmp_path, "ok", 5.0)
    put(tmp_path, "lost", status="run_failed", phase="timing", reason="RuntimeError: boom")
    plan = {"assumed_compute_capability": "9.0", "engines": 2, "default_min_block_size": 5}
    advice = {"advised_min_block_size": 45, "advised_min_block_size_moderate": 22}
    put(tmp_path, "plan", status="dryrun", **plan, **advice)
    assert notes_of(table.load(tmp_path)) == [
        "planned, not built or timed: 1 of 3 points (no GPU here; compute capability 9.0 assumed)",
        "m: the library advises min_block_size=45 or 22 (fewest segments, moderate); its default is 5",
        "run_failed in timing (points/lost/log.txt): RuntimeError: boom",
    ]


def test_notes_about_quantization(tmp_path):
    how = {"precision": "int8", "base_precision": "fp16", "status": "inaccurate", "phase": "accuracy"}
    of = {"fake_quant_finite": True, "fake_quant_rel_l2_error": 0.07}
    put(tmp_path, "a", quantization_method="m_a", calibration="random", finite=False, **how, **of)
    put(tmp_path, "b", quantization_method="m_b", calibration="mine", finite=True, rel_l2_error=0.08, **how, **of)
    put(tmp_path, "c", quantization_method="m_c", finite=False, **how, fake_quant_finite=False)
    notes = notes_of(table.load(tmp_path))
    assert any("random calibration: m_a chose" in note for note in notes)
    assert any("m dynamo m_a: the engine is wrong" in note and "7.0e-02" in note for note in notes)
    assert any("m dynamo m_b: the method is wrong" in note for note in notes)
    assert any("m m_c: the fake-quantized model's output is not finite" in note for note in notes)


def visited(*ms: float) -> dict:
    """Return the columns of a point with so many visits; with six of one time where one is given."""
    return {"visit_group": "g", "latency_ms_visits": list(ms) * (6 if len(ms) == 1 else 1)}


def test_launch_bound_and_what_cuda_graphs_gained(tmp_path):
    bound = TIMED | {"launch_bound": True, "cuda_graphs": False}
    put(tmp_path, "a", 1.0, **bound, **visited(1.0), gpu_ms=0.5)
    assert "1 of 1 points are launch-bound" in notes(tmp_path) and "may help" in notes(tmp_path)
    put(tmp_path, "b", 0.5, **TIMED | {"cuda_graphs": True, "mode": "reduce-overhead"}, **visited(0.5), gpu_ms=0.5)
    assert "with cuda_graphs=true: m dynamo fp32 1 to 0.5 ms, 2.00× [1.99, 2.01]" in notes(tmp_path)


def test_cuda_graphs_that_gained_nothing_are_said_so(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED | {"launch_bound": True, "cuda_graphs": False} | visited(1.0), gpu_ms=0.5)
    scattered = visited(1.0, 1.3, 0.8, 1.0, 1.4, 0.7)
    put(tmp_path, "b", 1.1, **TIMED | {"cuda_graphs": True} | scattered, gpu_ms=0.5)
    assert "with cuda_graphs=true: m dynamo fp32 1 and 1.1 ms, not told apart" in notes(tmp_path)


def test_what_waits_for_the_host_and_has_less_work_is_to_be_tried_with_cuda_graphs(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, cuda_graphs=True, gpu_ms=0.95)
    put(tmp_path, "b", 4.0, **TIMED | {"launch_bound": True}, backend="eager", gpu_ms=0.7, gpu_ms_ci_high=0.8)
    told = "m eager fp32 takes 0.7 ms of the GPU's work, and waits for the host; the fastest call takes 1 ms: try"
    assert told in notes(tmp_path)
    put(tmp_path, "c", 1.1, **TIMED, backend="eager", cuda_graphs=True, gpu_ms=1.0)  # it was tried
    assert told not in notes(tmp_path)


def test_what_may_have_more_work_is_not_to_be_tried(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, cuda_graphs=True, gpu_ms=0.95)
    put(tmp_path, "b", 4.0, **TIMED | {"launch_bound": True}, backend="eager", gpu_ms=0.9, gpu_ms_ci_high=1.1)
    put(tmp_path, "c", 5.0, **TIMED, backend="inductor", gpu_ms=0.5, gpu_ms_ci_high=0.6)  # the host is not the limit
    assert "try backend" not in notes(tmp_path)


def test_health_and_missing_clocks_are_said(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, gpu_ms=0.5, health="shared", health_reason="1 foreign compute process")
    put(tmp_path, "b", 1.0, **TIMED, gpu_ms_reason="queued: a call waits for the GPU")
    put(tmp_path, "c", 1.0, **TIMED, gpu_ms=0.5, health_reason="NVML: Driver Not Loaded")
    found = notes(tmp_path)
    assert "shared: 1 of 3 points (1 foreign compute process)" in found
    assert "no gpu_ms for 1 of 3 points: queued: a call waits for the GPU" in found
    assert "health of 1 of 3 points is not known: NVML: Driver Not Loaded" in found


def test_a_table_of_nothing_has_no_notes(tmp_path):
    assert notes_of(table.load(tmp_path)) == []


def test_one_engine_that_was_timed_once_is_said_so(tmp_path):
    put(tmp_path, "a", 5.0, engine_id="abcdef123", min_block_size=1)
    put(tmp_path, "b", 5.0, engine_id="abcdef123", min_block_size=5, timed_with="a")
    (note,) = notes_of(table.load(tmp_path))
    assert note.endswith("min_block_size did not change it; timed once")


def test_of_axes_that_differ_only_some_run_an_engine_differently(tmp_path):
    put(tmp_path, "a", 5.0, engine_id="abcdef123", min_block_size=1, runtime="cpp")
    put(tmp_path, "b", 5.0, engine_id="abcdef123", min_block_size=5, runtime="python")
    (note,) = notes_of(table.load(tmp_path))
    assert note.endswith("min_block_size, runtime did not change it; runtime may run it differently")


def test_a_size_of_one_engine_is_said_once(tmp_path):
    for size in (1, 8):
        sizes = {"batch_size": size, "time_at": size, "input_shapes": f"{size}x3", "dynamic_range": "1:4:8"}
        put(tmp_path, f"at{size}", 5.0, engine_id="abcdef123", **sizes)
    (note,) = notes_of(table.load(tmp_path))
    assert "): time_at did not change it, but may run it differently" in note


def test_points_that_were_not_built_are_counted(tmp_path):
    put(tmp_path, "a", 5.0, engines_stored=2)
    put(tmp_path, "b", 5.0, engine_reused_from="a")
    put(tmp_path, "c", 5.0, engine_reused_from="a", dynamic_range="1:4:8")  # that is what a range is for
    reused, stored = notes_of(table.load(tmp_path))
    assert reused.startswith("1 of 3 points were not built")
    assert stored.startswith("2 engines built elsewhere than timed: ahead")


def test_jobs_that_lead_to_one_point_are_named(tmp_path):
    put(tmp_path, "a", 5.0, backend="eager", jobs=[0, 2], merged_axes=["min_block_size"])
    put(tmp_path, "b", 5.0, jobs=[1, 3])
    assert notes_of(table.load(tmp_path)) == [
        "eager: jobs 0 and 2 are merged into one point: min_block_size made no difference to it",
        "dynamo: jobs 1 and 3 are merged into one point, as they ask for the same",
    ]
    put(tmp_path, "c", 5.0, backend="jit", jobs=[4, 5, 6], merged_axes=["batch_size", "runtime"])
    put(tmp_path, "d", 5.0, backend="jit", jobs=[7, 8])
    assert notes_of(table.load(tmp_path))[-1] == (
        "jit: jobs 4, 5 and 6; 7 and 8 are merged, each into one point: batch_size (no input has one), runtime made no "
        "difference to it"
    )


def test_what_rtx_does_to_fp32_is_said(tmp_path):
    put(tmp_path, "a", 5.0, ignored_axes=["disable_tf32"], tensorrt_flavor="rtx")
    assert notes_of(table.load(tmp_path))[1] == "so precision=fp32 is TF32 there; in eager it is not"


def test_errors_near_the_spread_of_the_reference_prove_little(tmp_path):
    put(tmp_path, "a", 5.0, rel_l2_error=1e-3, reference_spread=2e-3)
    put(tmp_path, "b", 5.0, precision="fp16", rel_l2_error=1e-3, reference_spread=1.0)
    (note,) = notes_of(table.load(tmp_path))
    assert note.startswith("m fp32: other inputs move the reference by 2.0e-03 only")


def test_gains_are_of_the_same_quantization(tmp_path):
    int8 = {"precision": "int8", "quantization_method": "one"}
    put(tmp_path, "a", 1.0, **TIMED | {"launch_bound": True, "cuda_graphs": False}, **int8)
    put(tmp_path, "b", 0.5, **TIMED | {"cuda_graphs": True}, **int8 | {"quantization_method": "another"})
    assert "may help" in notes(tmp_path)


def test_only_some_gains_are_named(tmp_path):
    for size in range(GAINS + 2):
        put(
            tmp_path,
            f"a{size}",
            1.0 + size,
            **TIMED | {"launch_bound": True, "cuda_graphs": False},
            batch_size=size,
            **visited(1.0 + size),
        )
        put(tmp_path, f"b{size}", 0.5, **TIMED | {"cuda_graphs": True}, batch_size=size, **visited(0.5))
    (note,) = [note for note in notes_of(table.load(tmp_path)) if "with cuda_graphs=true: " in note]
    assert note.count("×") == GAINS and note.endswith(", and 2 more")


def test_profiles_tell_of_launching_and_of_wider_layers(tmp_path):
    profile = {"profile_engine_id": "x", "layers": 21, "layer_precisions": "fp16:20 fp16→fp32:1", "engines": 2}
    bound = TIMED | {"launch_bound": True}
    put(tmp_path, "a", 3.0, **bound, **profile, gpu_ms=1.0, precision="fp16", min_block_size=1, fallback_ops=3)
    put(tmp_path, "b", 3.0, **TIMED, **profile, precision="fp32", min_block_size=5)
    found = [note for note in notes_of(table.load(tmp_path)) if note.startswith("m dynamo")]
    assert found == [
        "m dynamo fp16 min_block_size=1: 2 engines and 3 operators in PyTorch cost 1 ms of GPU work and 2 ms of "
        "launching",
        "m dynamo fp16 min_block_size=1: of 21 layers, 1 in fp16→fp32 (layer_precisions)",
    ]


def test_failures_of_one_reason_are_one_note(tmp_path):
    for name in "abc":
        put(tmp_path, name, status="build_failed", phase="build", reason="no kernel")
    assert notes_of(table.load(tmp_path)) == [
        "build_failed in build (points/a/log.txt, points/b/log.txt and 1 more): no kernel"
    ]


def test_how_slow_the_host_was_is_said_once(tmp_path):
    slow = {"host_slow_share": 0.25, "host_slow_factor": 1.6}
    put(tmp_path, "a", 1.0, **TIMED, **visited(1.0), **slow)
    put(tmp_path, "b", 1.0, **TIMED, **visited(1.0), host_slow_share=0.0)
    assert "the host was slow in 25% of the visits of 1 of 2 points (×1.6)" in notes(tmp_path)


def test_records_without_visits_are_named_once(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, schema_version=2)
    put(tmp_path, "b", 1.0, **TIMED, **visited(1.0))
    assert notes(tmp_path).count("1 of 2 points are of an older trt_sweep, without visits") == 1
