"""The report's cards: what to set, what each setting does, trade-offs; and nothing that published records deny."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image
from test_ranking import TIMED
from test_table import put

from trt_sweep.analysis.report import assembly, cards, html, markdown, plots, recommend, sections
from trt_sweep.analysis.report.document import Card, Cards, Folded, Heading, Points
from trt_sweep.results import store, table
from trt_sweep.sweep import labels

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "outputs/reference/h200"
LATENCY = recommend.Wanted()
DEFAULTS = TIMED | {"min_block_size": 5, "default_min_block_size": 5}


def document(*folders, **more):
    folder = table.common_folder(*folders)
    return assembly.document(table.load(*folders), folder, None, recommend.Wanted(**more))


def shown(blocks) -> list[list[Card]]:
    return [list(block.items) for block in blocks if isinstance(block, Cards)]


@pytest.fixture(scope="module")
def settings():
    return document(REFERENCE / "settings")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    put(folder, "eager", 4.0, **TIMED, jobs=[], backend="eager", precision="fp16")
    put(folder, "defaults", 2.0, **DEFAULTS, engine_id="x")
    put(folder, "fast", 1.0, **DEFAULTS, engine_id="y", precision="fp16", cuda_graphs=True)
    return folder


def test_a_card_says_what_to_set_and_what_that_buys(folder):
    (card, *_), *_ = shown(document(folder))
    assert (card.title, card.strong) == ("m", "precision=fp16 cuda_graphs=true")
    latency, defaults, eager, sure = card.lines
    assert (latency, sure) == ("Latency 1 [1, 1] ms.", "How sure: proved.")
    assert defaults.startswith("2.00× [") and defaults.endswith("] as fast as the defaults (dynamo fp32).")
    assert eager.startswith("4.00× [") and eager.endswith("] as fast as eager fp16.")
    (bars,) = card.plot.data
    assert (bars["y"], bars["x"]) == (["eager fp16", "the defaults", "this answer"], [4.0, 2.0, 1.0])
    assert "torch" in card.code.text


def test_a_card_of_energy_and_limits(folder):
    put(folder, "thrifty", 3.0, **TIMED, precision="bf16", energy_mj_per_call=1.0)
    put(folder, "thirsty", 3.0, **TIMED, backend="eager", precision="bf16", energy_mj_per_call=2.0)
    (card, *_), *_ = shown(document(folder, objective="energy", max_error=1.0))
    assert card.strong == "" and "no point qualifies" in card.lines[0]
    (card, *_), *_ = shown(document(folder, objective="energy"))
    assert "Takes 2.00× less energy than eager bf16." in card.lines


def test_streams_that_were_swept_alone_have_one_card():
    """Its six points are of three numbers of streams, with and without copies."""
    blocks = document(REFERENCE.parent / "h200_rtx1.6/streams")
    cards = shown(blocks)[0]
    assert [card.title for card in cards] == ["resnet50 transfers=false", "resnet50 transfers=true"]
    assert {card.strong for card in cards} == {"precision=fp16 streams=2"}
    assert all(any("from streams=1, 2, 4; a call takes 1." in line for line in card.lines) for card in cards)
    assert "not compared by latency" not in markdown.render(blocks)


def test_the_page_begins_with_the_answers(settings):
    kinds = [type(block).__name__ for block in settings]
    assert kinds[:4] == ["Heading", "Heading", "Text", "Cards"]
    titles = [block.text for block in settings if isinstance(block, Heading)]
    assert titles == [
        "Sweep report: settings", "What to set", "What each setting does", "Trade-offs", "Points", "Details",
    ]  # fmt: skip
    assert kinds[kinds.index("Points") + 2 :] == ["Folded"] * 6  # all that follows


def test_each_setting_has_a_chart_with_intervals_by_model(settings):
    _, effects, fronts = shown(settings)
    titles = [card.title for card in effects]
    assert titles == ["backend", "precision", "min_block_size", "runtime", "cuda_graphs", "precision (eager)"]
    latency, work = effects[1].plot.data
    assert latency["y"] == work["y"] == [f"fp16 · {name}" for name in ("googlenet", "resnet18", "squeezenet1_1")]
    assert [round(value, 1) for value in work["x"]] == [-16.2, -43.0, 1.0]
    assert all(end > 0 for end in work["error_x"]["array"] + work["error_x"]["arrayminus"])
    (latency,) = effects[4].plot.data  # what "queued" calls work has the pauses in it that CUDA graphs take away
    assert latency["error_x"]["array"] == [0, 0, 0]  # records without visits
    words = effects[4].lines[0].replace("\N{NO-BREAK SPACE}", " ")
    assert words.startswith("true instead of false: latency -89.0 % (googlenet) to -46.0 % (resnet18) (not proved)")
    assert "work" not in words
    assert [card.title for card in fronts] == ["resnet18", "googlenet", "squeezenet1_1"]


def test_long_names_lose_their_middle_and_stay_apart(tmp_path):
    put(tmp_path, "plain", 3.0, **TIMED, precision="fp16", base_precision="fp16")
    for number, name in enumerate(("modelopt_int8_default", "modelopt_int8_weight_only")):
        how = {"precision": "int8", "base_precision": "fp16", "quantization_method": name}
        put(tmp_path, name, 1.0 + number, **TIMED, **how)
    (place,) = sections.split(table.load(tmp_path), 0.02)
    card = next(card for card in cards.what_each_does(place, "latency") if card.title.startswith("quantization"))
    axis = card.plot.layout["yaxis"]
    assert axis["type"] == "category"  # else plotly puts names such as "15" and "16" where these numbers lie
    assert axis["tickvals"] == ["modelopt_int8_default", "modelopt_int8_weight_only"]
    assert all(len(name) <= 16 for name in axis["ticktext"]) and len(set(axis["ticktext"])) == 2


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.19, 0.24], ["0.18", "0.2", "0.22", "0.24", "0.26"]),
        ([0.19, 1.33], ["0.2", "0.5", "1"]),
        ([0.02, 30], ["0.1", "1", "10"]),
        ([3, 40_000], ["10", "100", "1000", "10000"]),
        ([5.0], ["5"]),
        ([], ["1"]),
        ([5e-324, 1.7e308, 5.0], ["5"]),  # what only a damaged record has is left out
    ],
)
def test_ticks_of_a_logarithmic_axis_are_plain_numbers(values, names):
    axis = plots.log_axis("ms", values)
    assert set(names) <= set(axis["ticktext"]), axis["ticktext"]
    low, high = axis["range"]
    assert all(low <= math.log10(tick) <= high for tick in axis["tickvals"])
    assert [float(name) for name in axis["ticktext"]] == pytest.approx(axis["tickvals"])


def test_points_stand_by_model_and_objective_and_share_lines(settings):
    (points,) = [block for block in settings if isinstance(block, Points)]
    of = {column.name: column for column in points.columns}
    (main,) = [column for column in points.columns if column.main]
    assert main.name == "latency ms [95 %]"
    models = of["model"].shown
    assert list(dict.fromkeys(models)) == ["resnet18", "googlenet", "squeezenet1_1"]
    for model in set(models):
        own = [key for key, name in zip(main.keys, models, strict=True) if name == model]
        assert own == sorted(own)
    rows = table.load(REFERENCE / "settings")
    assert len(set(points.measurements)) == len(set(rows["timed_with"].fillna(rows["point_id"]))) < len(rows)


def test_names_are_folders(tmp_path):
    for name in ("first", "second"):
        for precision, latency in (("fp32", 2.0), ("fp16", 1.0)):
            put(tmp_path / name, precision, latency, **DEFAULTS, precision=precision, sweep_id=f"{name}-id")
    one, both = document(tmp_path / "first"), document(tmp_path / "first", tmp_path / "second")
    assert [card.title for card in shown(one)[0]] == ["m"]
    assert [card.title for card in shown(both)[0]] == ["m (first)", "m (second)"]
    for blocks in (one, both):
        text = markdown.render(blocks)
        assert "first" in text and "first-id" not in text and "second-id" not in text


def test_markdown_says_the_same_as_the_page(folder):
    blocks = document(folder)
    text, page = markdown.render(blocks), html.render(blocks)
    for words in ("precision=fp16 cuda\\_graphs=true", "How sure: proved.", "### Evidence for each setting"):
        assert words.replace("\\_", "_") in text
    assert text.index("## What to set") < text.index("## What each setting does") < text.index("## Points")
    assert "<strong>precision=fp16 cuda_graphs=true</strong>" in page
    assert page.count('class="folded"') == sum(isinstance(block, Folded) for block in blocks)


def test_operators_in_engines_are_those_of_its_min_block_size(tmp_path):
    """240 of googlenet's operators have a converter; 135 are in engines where these have 45 and more."""
    partition = {"ops_total": 253, "ops_supported": 240, "engines": 3, "engine_ops": [45, 45, 45]}
    put(tmp_path, "plan", status="dryrun", min_block_size=45, **partition)
    said = labels.outcome(store.read(tmp_path / "points/plan/record.json"))
    assert said == "dryrun  135/253 operators in 3 engines [45, 45, 45]"


def test_what_builds_nothing_has_no_trade_offs(tmp_path):
    for precision, latency in (("fp32", 2.0), ("bf16", 1.0)):
        put(tmp_path, precision, latency, **TIMED, backend="eager", precision=precision)
    assert "Trade-offs" not in [block.text for block in document(tmp_path) if isinstance(block, Heading)]


def test_pictures_are_of_the_size_that_they_show():
    pictures = {path.stem: path for path in (ROOT / "docs/pictures").glob("*.png")}
    assert pictures.keys() >= {"report", "report_dark", "report_phone", "table_80", "table_120", "table_200"}
    sizes = {name: Image.open(path).size for name, path in pictures.items()}
    assert sizes["report"] == sizes["report_dark"] == (1400, 900) and sizes["report_phone"] == (390, 844)
    assert all(path.stat().st_size < 200_000 for path in pictures.values())


@pytest.fixture(scope="module")
def advices():
    rows = table.load(REFERENCE)
    return [recommend.advise(task, LATENCY) for task in recommend.tasks(rows, "latency")]


def test_no_published_answer_takes_more_where_nothing_is_proved(advices):
    unproved = [advice for advice in advices if advice.winner is not None and advice.decided != "gpu"]
    assert len(unproved) > 20
    for advice in unproved:
        assert advice.winner["latency_ms"] == advice.fit["latency_ms"].min()


def test_a_cold_runtime_cache_is_in_no_published_answer(advices):
    assert any((advice.rows["runtime_cache"] == "cold").any() for advice in advices)
    assert all(advice.winner["runtime_cache"] != "cold" for advice in advices if advice.winner is not None)
    (answers, *_) = shown(document(REFERENCE / "first_call"))
    assert answers and not any("cold" in card.strong for card in answers)


@pytest.mark.parametrize("objective", ["latency", "gpu"])
def test_a_setting_is_told_by_the_clocks_that_know_it(objective):
    (place,) = sections.split(table.load(REFERENCE / "settings"), 0.02)
    found = {card.title: card.lines for card in cards.what_each_does(place, objective)}
    assert not any(line.endswith(": .") for lines in found.values() for line in lines)
    assert found["cuda_graphs"][0].startswith("true instead of false: latency -89.0")
