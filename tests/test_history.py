"""Many nights: level shifts, what they are put down to, and the page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from test_compare import TIMED
from test_table import put as put_record

from trt_sweep.analysis.compare.nights import load
from trt_sweep.analysis.history import history, page
from trt_sweep.app import history as command

pytest.importorskip("ruptures")


def night(folder: Path, number: int, name: str, gpu_ms: float, **values) -> None:
    row = TIMED | {"gpu_ms": gpu_ms, "latency_ms_between_rounds": None, "gpu_ms_between_rounds": 0.004} | values
    place = folder / f"night{number:02}"
    put_record(place, name, row.pop("latency_ms", None), **row)
    # That helper's clock starts anew in each folder.
    path = place / "points" / name / "record.json"
    path.write_text(
        re.sub(r'"created_utc": "[^"]*"', f'"created_utc": "2026-02-{number + 1:02}T03:00"', path.read_text())
    )


def run(folder: Path, effect: float = 0.02) -> list[history.Series]:
    return history.history(load([folder]), effect)


def noise(seed: int, nights: int) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, 0.004, nights))


def test_a_level_shift_is_found_and_put_down_to_what_changed(tmp_path):
    for number, factor in enumerate(noise(0, 12)):
        late = number >= 7
        more = {"driver": "590" if late else "580", "engine_id": "e2" if late else "e1"}
        night(tmp_path, number, "a", factor * (1.04 if late else 1.0), **more)
        night(tmp_path, number, "b", factor, model_id="b")
    first, second = run(tmp_path)
    (shift,) = first.shifts
    assert shift.night == 7 and shift.changed == {"engine_id": ("e1", "e2"), "driver": ("580", "590")}
    assert shift.ratio == pytest.approx(1.04, abs=0.005) and shift.low < shift.ratio < shift.high
    assert second.shifts == [] and [len(level) for level in first.levels] == [7, 5]


def test_several_shifts(tmp_path):
    levels = [1.0] * 5 + [1.1] * 4 + [0.9] * 6
    for number, factor in enumerate(noise(1, len(levels)) * levels):
        clock = 1500.0 if number in range(5, 9) else 1980.0
        night(tmp_path, number, "a", factor, sm_clock_mhz=clock)
    (series,) = run(tmp_path)
    assert [shift.night for shift in series.shifts] == [5, 9]
    assert [shift.changed for shift in series.shifts] == [
        {"sm_clock_mhz": (1980.0, 1500.0)},
        {"sm_clock_mhz": (1500.0, 1980.0)},
    ]


def test_noise_is_no_shift(tmp_path):
    """Ten points and twenty nights, in which nothing changes."""
    for point in range(10):
        for number, factor in enumerate(noise(point + 10, 20)):
            night(tmp_path, number, f"p{point}", factor, model_id=str(point))
    assert not any(series.shifts for series in run(tmp_path))


def test_a_small_shift_does_not_matter(tmp_path):
    for number in range(28):
        night(tmp_path, number, "a", 1.0 if number < 14 else 1.012)
    assert run(tmp_path)[0].shifts == []
    assert len(run(tmp_path, 0.005)[0].shifts) == 1


def test_a_night_alone_and_one_that_is_not_healthy_are_left_out(tmp_path):
    for number, factor in enumerate(noise(2, 10)):
        night(tmp_path, number, "a", factor * (2.0 if number == 9 else 1.0))
        sick = {"health": "shared", "health_reason": "1 foreign compute process"} if number in (4, 5) else {}
        night(tmp_path, number, "b", factor * (1.5 if sick else 1.0), model_id="b", **sick)
    found = {series.values[0].row["point_id"]: series for series in run(tmp_path)}
    assert not any(series.shifts for series in found.values())
    assert [value.night for value in found["a"].values if value.left_out] == [9]
    assert [value.night for value in found["b"].values if value.left_out] == [4, 5]
    nights = load([tmp_path])
    assert any("in the last night stands alone" in line for line in page.words(run(tmp_path), nights))


def test_a_latency_that_moves_with_the_host_has_to_shift_by_more(tmp_path):
    """Only the nights themselves tell what it scatters by."""
    host = np.exp(np.random.default_rng(0).normal(0, 0.1, 24))
    for number, factor in enumerate(host):
        night(tmp_path, number, "calm", 1.0, latency_ms=(1.0 if number < 12 else 1.1) * factor**0.02, model_id="c")
        night(tmp_path, number, "bound", 1.0, latency_ms=(1.0 if number < 12 else 1.1) * factor)
    shifted = {series.values[0].row["point_id"]: len(series.shifts) for series in run(tmp_path) if series.shifts}
    assert shifted == {"calm": 1}


def test_folders_are_nights_and_so_are_sweeps_below_one(tmp_path):
    for number in (1, 0, 2):
        night(tmp_path / "x", number, "a", 1.0)
    below = load([tmp_path])
    assert [each.folder.name for each in below] == ["night00", "night01", "night02"]
    assert [each.folder for each in load([each.folder for each in reversed(below)])] == [each.folder for each in below]


@pytest.mark.parametrize(("levels", "said"), [((1.0, 1.0, 1.5), True), ((1.0, 1.0, 1.5, 1.5), False)])
def test_too_few_nights_for_any_shift_are_said_to_be(tmp_path, levels, said):
    for number, gpu_ms in enumerate(levels):
        night(tmp_path, number, "a", gpu_ms)
    series = run(tmp_path)
    words = page.words(series, load([tmp_path]))
    assert bool(series[0].shifts) != said
    assert ("3 nights cannot show a shift, which takes 4; compare tells two nights apart" in words) == said


def test_the_page_is_one_file_and_names_are_text(tmp_path, capsys):
    hostile = "<script>alert(1)</script>\x1b[31m&"
    for number in range(8):
        night(tmp_path, number, "a", 1.0 if number < 4 else 1.5, model=hostile, driver=f"<b>{number // 4}")
    target = tmp_path / "out" / "history.html"
    assert command.main([str(tmp_path), f"--out={target.parent}"]) == 0
    out = capsys.readouterr().out
    assert "1 level shift in 8 nights, 1 series" in out and "driver <b>0 to <b>1" in out and "\x1b" not in out
    text = target.read_text()
    assert "<script" not in text and "<b>" not in text and "\x1b" not in text and "&lt;script&gt;" in text
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text) and "prefers-color-scheme" in text
    assert text.count("<circle") == 8 and text.count('class="shift"') == 1 and text.count('class="level"') == 2
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "holds one night only"),
        ({"gpu_uuid": "GPU-2"}, "points of several GPUs"),
        ({"schema_version": 99}, "is newer than"),
        (None, "is not a folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, change, words):
    folder = tmp_path / "nights"
    if change is not None:
        night(folder, 0, "a", 1.0)
        night(folder, 0, "b", 1.0, **change)
    assert command.main([str(folder), f"--out={tmp_path / 'x'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and words in said
    assert not (tmp_path / "x").exists()


def test_without_ruptures_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    for number in range(4):
        night(tmp_path, number, "a", 1.0)
    monkeypatch.setitem(sys.modules, "ruptures", None)
    assert command.main([str(tmp_path), f"--out={tmp_path / 'x'}"]) == 2
    assert "pip install 'trt-sweep[history]'" in capsys.readouterr().err


def test_integers_are_named_as_such(tmp_path):
    """An eager baseline beside them has no such axis."""
    for size in (1, 5, None):
        for number in range(2):
            night(tmp_path, number, f"s{size}", 1.0, min_block_size=size, model_id=str(size))
    assert sorted(series.label.partition("fp32 ")[2] for series in run(tmp_path))[1:] == [
        "min_block_size=1",
        "min_block_size=5",
    ]
