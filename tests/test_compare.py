"""Two nights of a sweep: which points are the same, what is claimed of them, and when nothing can be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from test_table import put as put_record

from trt_sweep.analysis.compare import output
from trt_sweep.analysis.compare.compare import compare
from trt_sweep.app import compare as command
from trt_sweep.results import columns

GPU = {"gpu_name": "NVIDIA H200", "gpu_uuid": "GPU-1", "hostname": "a", "clock": "cuda_events", "sm_clock_mhz": 1980.0}
TIMED = GPU | {"rounds": 24, "builds": 1, "latency_ms_between_rounds": 0.001}
TIMED |= {"gpu_ms_method": "graph", "launch_bound": False, "health": "ok"}


def put(night: Path, name: str, gpu_ms: float | None = 1.0, scatter: float = 0.001, **values) -> None:
    """A point whose captures scatter by `scatter`."""
    row = TIMED | {"gpu_ms": gpu_ms, "gpu_ms_between_rounds": scatter} | values
    latency_ms = row.pop("latency_ms", gpu_ms and 1.1 * gpu_ms)
    put_record(night, name, latency_ms, **row)


@pytest.fixture
def nights(tmp_path):
    return tmp_path / "old", tmp_path / "new"


def verdicts(nights, effect=0.02) -> dict[str, str]:
    return {point.row["point_id"]: point.verdict for point in compare(*nights, effect).points}


def failed(night: Path, name: str) -> None:
    put_record(night, name, **GPU, status="build_failed", phase="build", reason="no <kernel>")


def test_verdicts(nights):
    old, new = nights
    for name, before, after in (
        ("same", 1.0, 1.001),
        ("slower", 1.0, 1.05),
        ("faster", 1.0, 0.95),
        ("near", 1.0, 1.018),
    ):
        put(old, name, before)
        put(new, name, after)
    put(old, "gone", model_id="went")
    put(new, "new", model_id="came")
    put(old, "fails")
    failed(new, "fails")
    failed(old, "fixed")
    put(new, "fixed")
    failed(old, "still")
    failed(new, "still")
    assert verdicts(nights) == {
        **{"same": "unchanged", "slower": "regressed", "faster": "improved", "near": "not told apart"},
        **{"gone": "gone", "new": "new", "fails": "newly failing", "fixed": "fixed", "still": "still failing"},
    }
    found = compare(*nights)
    assert found.exit_code == 1
    assert [point.verdict for point in found.points[:2]] == ["regressed", "newly failing"]
    assert verdicts(nights, 0.1)["slower"] == "unchanged"


def test_gone_and_fixed_are_no_alarm(nights):
    old, new = nights
    for night in nights:
        put(night, "same")
    put(old, "gone")
    assert compare(*nights).exit_code == 0
    put(old, "fails")
    failed(new, "fails")
    assert compare(*nights).exit_code == 1


def test_points_are_matched_by_axes_where_code_changed_their_ids(nights):
    old, new = nights
    for block in (1, 5):
        put(old, f"old{block}", block, min_block_size=block, code_id="x")
        put(new, f"new{block}", block, min_block_size=block, code_id="y", device="cuda:1")
    put(new, "else", model_id="else", min_block_size=5)
    found = compare(*nights)
    assert {point.label: point.verdict for point in found.points} == {
        "m dynamo fp32 min_block_size=1": "unchanged",
        "m dynamo fp32 min_block_size=5 (new5)": "unchanged",
        "m dynamo fp32 min_block_size=5 (else)": "new",
    }
    assert found.common == {"code_id": ("x", "y")}


def test_what_else_changed_is_said(nights):
    old, new = nights
    put(old, "a", engine_id="e1", torch="2.11", rel_l2_error=1e-4)
    put(old, "b", engine_id="e2", torch="2.11", rel_l2_error=1e-4)
    put(new, "a", engine_id="e1", torch="2.12", rel_l2_error=1.5e-4)
    put(new, "b", engine_id="e3", torch="2.12", rel_l2_error=3e-4)
    found = compare(*nights)
    assert found.common == {"torch": ("2.11", "2.12")}
    changed = {point.row["point_id"]: point.changed for point in found.points}
    assert changed == {"a": {}, "b": {"engine_id": ("e2", "e3"), "rel_l2_error": (1e-4, 3e-4)}}
    assert "changed for every point: torch 2.11 to 2.12" in output.words(found)


def test_memory_that_grew_is_said(nights):
    old, new = nights
    for name, before, after in (("more", 100, 150), ("alike", 100, 105), ("less", 100, 50)):
        put(old, name, peak_gpu_bytes=before * 2**20)
        put(new, name, peak_gpu_bytes=after * 2**20)
    found = {point.row["point_id"]: output.describe(point.changed) for point in compare(*nights).points}
    assert found == {"more": "peak_gpu_bytes 100 to 150 MiB", "alike": "", "less": ""}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"health": "throttled", "health_reason": "sw_power_cap"}, "NEW was throttled (sw_power_cap)"),
        ({"sm_clock_mhz": 1500.0}, "the SM clock was 1980 MHz and is 1500"),
    ],
)
def test_what_is_not_healthy_is_no_evidence(nights, other, words):
    for number, night in enumerate(nights):
        for name in "abc":
            put(night, name)
        put(night, "slower", 1.0 + number, **other if number else {})
    found = compare(*nights)
    point = next(point for point in found.points if point.row["point_id"] == "slower")
    assert (point.verdict, found.exit_code, len(found.problems)) == ("not told apart", 2, 1)
    assert "took 2.000 times as long" in found.problems[0] and words in found.problems[0]


def test_too_noisy_says_so(nights):
    for night in nights:
        put(night, "a", scatter=0.03)
    found = compare(*nights)
    assert found.exit_code == 2 and found.problems[0].startswith("too noisy for --min-effect=0.02: 1 of 1 points")
    assert compare(*nights, 0.3).exit_code == 0


def test_a_ratio_that_is_not_proved_among_all_says_so(nights):
    for night, gpu_ms in zip(nights, (1.0, 1.036), strict=True):
        for number in range(40):
            put(night, f"p{number:02}", (gpu_ms if number == 3 else 1.0) * (1 + number), scatter=0.004)
    shown = [row for row in output.cells(compare(*nights)) if "not proved" in row["gpu × [95 %]"]]
    assert len(shown) == 1


def test_a_time_of_one_round_shows_nothing(nights):
    for night, gpu_ms in zip(nights, (1.0, 3.0), strict=True):
        put(night, "a", gpu_ms, scatter=None, latency_ms_between_rounds=None)
    assert compare(*nights).points[0].blind == "gpu_ms was timed once: nothing is known of its scatter"
    assert verdicts(nights) == {"a": "not told apart"} and compare(*nights).exit_code == 2


def test_a_record_without_a_sensible_time_is_not_judged_by_it(nights):
    put(nights[0], "a")
    put(nights[1], "a")
    path = nights[1] / "points" / "a" / "record.json"
    path.write_text(path.read_text().replace('"gpu_ms": 1.0', '"gpu_ms": 0.0'))
    (point,) = compare(*nights).points
    assert [item.clock for item in point.times] == ["latency_ms"]


def test_several_sweeps_in_one_folder_count_by_their_newest_records(nights):
    for night in nights:
        put(night, "a", 1.0)
    put(nights[1] / "later", "a", 2.0, created_utc="2026-02-01T00:00")
    found = compare(*nights)
    assert found.points[0].verdict == "regressed" and "the newest record counts, 1 do not" in found.notes[0]


def test_methods_are_compared_with_their_like(nights):
    for night, method in zip(nights, ("graph", "queued"), strict=True):
        put(night, "a", gpu_ms_method=method)
    (point,) = compare(*nights).points
    assert [item.clock for item in point.times] == ["latency_ms"]


def test_points_that_were_timed_once_are_one_question(nights):
    for night, gpu_ms in zip(nights, (1.0, 1.0275), strict=True):
        for number in range(30):
            put(night, str(number), gpu_ms)
        put(night, "other", 1.5)
    assert verdicts(nights)["0"] == "regressed"  # as one question; as thirty it would not be proved
    for number in range(30):
        put(nights[0], str(number), 1.0 + number / 1e6)
        put(nights[1], str(number), (1.0 + number / 1e6) * (1.0 if number else 1.0275))
    assert verdicts(nights)["0"] == "not told apart"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"gpu_name": "NVIDIA B200", "gpu_uuid": "GPU-2"}, "OLD is of NVIDIA H200 GPU-1, NEW of NVIDIA B200 GPU-2"),
        ({"gpu_name": None, "gpu_uuid": None}, "NEW of the CPU of a"),
        ({"gpu_uuid": None, "gpu_name": None, "status": "dryrun"}, "NEW of no GPU, planned only"),
    ],
)
def test_other_machines_are_not_compared(nights, other, words):
    put(nights[0], "a")
    put(nights[1], "a", 5.0, **other)
    found = compare(*nights)
    assert (found.exit_code, found.points) == (2, []) and words in found.problems[0]


def test_nothing_in_common(nights):
    put(nights[0], "a", model_id="one")
    put(nights[1], "b", model_id="two")
    assert compare(*nights).exit_code == 2


def test_unfinished_and_unreadable_points_are_named(nights):
    for night in nights:
        put(night, "a")
    put(nights[0], "b")
    put(nights[1], "b", status="interrupted")
    (nights[1] / "points" / "c").mkdir()
    (nights[1] / "points" / "c" / "record.json").write_text("[]")
    found = compare(*nights)
    assert verdicts(nights) == {"b": "gone", "a": "unchanged"} and found.exit_code == 0
    assert found.notes[0].startswith("unreadable: ") and "1 points are not finished" in found.notes[1]


def run(*arguments: object) -> int:
    return command.main(list(map(str, arguments)))


def bad(kind: str, nights) -> None:
    old, new = nights
    put(old, "a")
    if kind == "empty":
        new.mkdir()
    elif kind == "mixed":
        put(new, "a")
        put(new, "b", gpu_uuid="GPU-2")
    elif kind == "newer":
        put(new, "a", schema_version=columns.SCHEMA_VERSION + 1)
    elif kind == "garbage":
        (new / "points" / "a").mkdir(parents=True)
        (new / "points" / "a" / "record.json").write_text("{")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "is not a folder"),
        ("empty", "holds no record: give the folder of a sweep"),
        ("mixed", "points of several GPUs (NVIDIA H200 GPU-1, NVIDIA H200 GPU-2)"),
        ("newer", "is newer than"),
        ("garbage", "holds no record that can be read"),
    ],
)
def test_bad_input_is_one_line(nights, capsys, kind, words):
    bad(kind, nights)
    assert run(*nights) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and words in said


@pytest.mark.parametrize("effect", ["0", "-1", "nan", "inf", "2", "200%", "x"])
def test_an_effect_that_is_no_share_is_refused(nights, capsys, effect):
    assert run(*nights, f"--min-effect={effect}") == 2
    assert f"--min-effect={effect} is not allowed: use a share, such as 0.02" in capsys.readouterr().err


@pytest.mark.parametrize("effect", ["0.1", "10%"])
def test_an_effect_may_be_given_in_percent(nights, effect):
    for number, night in enumerate(nights):
        put(night, "a", 1.0 + 0.05 * number)
    assert run(*nights) == 1 and run(*nights, f"--min-effect={effect}") == 0


def test_a_real_sweep_is_no_other_than_its_copy(tmp_path):
    """Its figures are by the queued method, as CUDA graphs were among its points."""
    settings = Path(__file__).parents[1] / "outputs/reference/h200/settings"
    shutil.copytree(settings, tmp_path / "copy")
    found = compare(settings, tmp_path / "copy")
    assert found.exit_code == 0, found.problems
    methods = {item.method for point in found.points for item in point.times if item.clock == "gpu_ms"}
    assert methods == {"queued"}


def test_files_for_ci(nights, tmp_path, capsys):
    hostile = '<script>alert("|")</script>\x1b[31m\n# title'
    for number, night in enumerate(nights):
        put(night, "a", 1.0 + number, model=hostile)
        put(night, "b", model=hostile, precision="fp16")
        put(night, "c", model=hostile, precision="bf16", scatter=0.03)
    put(nights[0], "d", model=hostile, precision="tf32")
    failed(nights[1], "d")
    endings = {"markdown": "md", "json": "json", "junit": "xml"}
    files = {name: tmp_path / "ci" / f"compare.{ending}" for name, ending in endings.items()}
    assert run(*nights, f"--out={tmp_path / 'ci'}") == 1
    out = capsys.readouterr().out
    assert out.startswith("alarm: 1 regressed, 1 newly failing, 1 not told apart, 1 unchanged\n") and "\x1b" not in out

    text = files["markdown"].read_text()
    assert text.startswith("**alarm: 1 regressed") and "<script>" not in text and "\x1b" not in text
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}) == 1

    data = json.loads(files["json"].read_text())
    assert (data["exit_code"], data["counts"]["regressed"]) == (1, 1)
    assert data["points"][0]["times"][0]["ratio"] == pytest.approx(2.0)

    root = ET.parse(files["junit"]).getroot()
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        **{"tests": "4", "failures": "2", "errors": "0", "skipped": "1"},
    }
    failures = [case.find("failure") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert "2.000×" in failures[0].text and "no <kernel>" in failures[1].text


def test_what_stands_in_the_way_is_an_error_in_ci(nights, tmp_path):
    put(nights[0], "a")
    put(nights[1], "a", gpu_uuid="GPU-2")
    assert run(*nights, f"--out={tmp_path / 'ci'}") == 2
    suite = ET.parse(tmp_path / "ci" / "compare.xml").getroot()[0]
    assert suite.get("errors") == "1" and "GPU-2" in suite.find("testcase/error").get("message")


def test_a_file_that_cannot_be_written_is_one_line(nights, capsys):
    for night in nights:
        put(night, "a")
    assert run(*nights, f"--out={nights[0] / 'points' / 'a' / 'record.json' / 'x'}") == 2
    assert "cannot be written" in capsys.readouterr().err
