"""The report as a whole: from folders of all kinds to a page and a Markdown file, and what is in them."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.analysis.report import assembly, markdown, questions, readme, sections, tables
from trt_sweep.analysis.report.document import Bullets, Code, Grid, Heading, Link, Text
from trt_sweep.app.report import main
from trt_sweep.results import table

ROOT = Path(__file__).parent.parent
EVIL = "<script>alert(1)</script>"


def sweep(folder: Path, **values) -> Path:
    put(folder, "eager", 4.0, **TIMED, backend="eager", jobs=[], **values)
    for size in (1, 5):
        engine = {"engines": 3, "engine_id": f"engine{size}", "build_s": 2.0, "rel_l2_error": 1e-3}
        put(
            folder, f"b{size}", 2.0 + size, **TIMED, **engine, min_block_size=size, default_min_block_size=5,
            advised_min_block_size=1, gpu_ms=1.0 + 0.01 * size, **values,
        )  # fmt: skip
    return folder


class Page(HTMLParser):
    """Headings, list items and the JSON of a page; every address that it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "data")]

    def handle_data(self, data):
        if self.tags:
            self.texts.append((self.tags[-1], data))

    def of(self, tag: str) -> str:
        return "\n".join(text for name, text in self.texts if name == tag)


def test_both_files_are_written_and_say_the_same(tmp_path, capsys):
    folder = sweep(tmp_path / "s")
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 0
    page, text = tmp_path / "out/report.html", (tmp_path / "out/report.md").read_text()
    assert capsys.readouterr().out == f"written: {page}, {tmp_path / 'out/report.md'}\n"
    said = Page(page).of("li")
    for words in (
        "3 points of m in 1 sweep, 3 ok. Swept: backend (2 values), min_block_size (2 values).",
        "m, batch 1 (s): dynamo fp32 min_block_size=1 has the least latency, 3 ms (proved).",
        "dynamo instead of eager: latency +",
    ):
        assert words in said
        assert markdown.escaped(words) in text
    assert "| 1 (recommended for fewest segments) | 3 |" in text
    assert "[files](../s/points/b1/)" in text


def test_nothing_is_asked_of_the_network(tmp_path):
    sweep(tmp_path)
    assert main([str(tmp_path)]) == 0
    addresses = Page(tmp_path / "report.html").addresses
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)


def test_text_from_records_is_text(tmp_path):
    sweep(tmp_path, model=EVIL, gpu_name=EVIL)
    reason = f"{EVIL} | [x](javascript:alert(1)) `` \n# no heading"
    put(tmp_path, "lost", status="build_failed", phase="build", reason=reason, model=EVIL)
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    text = (tmp_path / "report.md").read_text()
    assert "<script>alert" not in page and "\\u003cscript\\u003ealert" in page
    assert "&lt;script&gt;alert(1)" in page and "[x](javascript" not in text
    outside = re.sub(r"```python.*?```", "", text, flags=re.S)
    assert "<script" not in outside and "\n# no heading" not in outside
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| \\[x\\](javascript" in outside


def test_markdown_of_each_block():
    blocks = [
        Heading("a *b*", 3), Text("1 < 2"), Bullets(["x", "y | z"]), Grid(("p|q",), [[Link("l", "a b/c")]]),
        Code("x = '```'"),
    ]  # fmt: skip
    assert markdown.render(blocks).split("\n\n") == [
        "### a \\*b\\*", "1 &lt; 2", "- x\n- y \\| z", "| p\\|q |\n| --- |\n| [l](a%20b/c) |",
        "````python\nx = '```'\n````\n",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder: give the folder of a sweep"),
        (["."], ". holds no record: give the folder of a sweep, which has points/ in it"),
        (["s", "--max-error", "nan"], "--max-error=nan is not allowed: use a share, such as 0.02 or 2%"),
        (["s", "--max-build", "0s"], "--max-build=0s is not allowed: use a duration above 0 with a unit"),
        (["s", "--delta", "0"], "--delta=0 is not allowed: use a share, such as 0.02 or 2%, between 0 and 1"),
        (
            ["s", "--max-memory", "1GiB"],
            "--max-memory cannot be judged: these records have no peak_gpu_bytes; leave",
        ),
        (["s", "--max-memory", "1"], "--max-memory=1 is not allowed: use a size above 0 with a unit"),
        (["s", "--max-build=-1s"], "--max-build=-1s is not allowed: use a duration above 0 with a unit"),
        (["s", "--objective", "beauty"], "argument --objective: invalid choice: 'beauty'"),
        (["s", "--out", "file"], "--out=file is a file: name a folder"),
        (["s", "--readme", "file"], "file: no section to renew: put <!--"),
        (["s", "--readme", "none"], "--readme=none cannot be read and written: No such file or directory"),
        ([], "the following arguments are required: FOLDER"),
    ],
    ids=str,
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    if arguments[:1] == ["s"]:
        sweep(tmp_path / "s")
    (tmp_path / "file").write_text("plain")
    usage = "is not allowed" in message or message.startswith(("--out", "argument", "the following"))
    assert main(arguments) == (2 if usage else 1)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_one_report_of_several_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep(tmp_path / "a")
    sweep(tmp_path / "b")
    assert main(["a", "b"]) == 2
    assert capsys.readouterr().err.startswith("error: --out is not set: name the folder that the report of several")
    assert main(["a", "b", "--out", "out"]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "a/points/" in text and "b/points/" in text


def test_unreadable_records(tmp_path, capsys):
    bad = tmp_path / "points/x/record.json"
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path} holds no record that can be read, {bad} for one cannot: give the folder of a sweep, which "
        "has points/ in it\n"
    )
    sweep(tmp_path)
    assert main([str(tmp_path)]) == 0
    assert f"unreadable: {bad}" in Page(tmp_path / "report.html").of("li")


def test_several_gpus_flavors_and_schemas_stand_apart(tmp_path):
    for number, (name, uuid, flavor, device) in enumerate(
        [("H200", "GPU-aaaa-1", "rtx", "cuda:0"), ("H200", "GPU-bbbb-2", "rtx", "cuda:0"),
         ("H100", "GPU-c", "standard", "cuda:0"), (None, None, "standard", "cpu")]
    ):  # fmt: skip
        where = {"gpu_name": name, "gpu_uuid": uuid, "tensorrt_flavor": flavor, "device": device}
        sweep(tmp_path / str(number), sweep_id=f"s{number}", schema_version=1 + number % 2, **where)
    # Failed before it had a device: it belongs to its sweep's.
    put(tmp_path / "3", "lost", status="crashed", sweep_id="s3", device=None, gpu_uuid=None, tensorrt_flavor="standard")
    assert main([str(tmp_path)]) == 0
    headings = Page(tmp_path / "report.html").of("h2").splitlines()
    assert [line for line in headings if "TensorRT" in line] == [
        "H200 (GPU-aaaa-1), TensorRT-RTX", "H200 (GPU-bbbb-2), TensorRT-RTX", "H100, TensorRT",
    ]  # fmt: skip
    assert "CPU" in headings
    assert "4 points of m in 1 sweep, 3 ok, 1 crashed" in Page(tmp_path / "report.html").of("li")


def test_only_failures(tmp_path):
    put(tmp_path, "lost", status="build_failed", phase="build", reason="no kernel")
    assert main([str(tmp_path)]) == 0
    said = Page(tmp_path / "report.html").of("li")
    assert "1 build_failed in build: no kernel" in said
    assert "No point was timed with success: nothing can be compared." in said
    assert "Nothing can be recommended" in (tmp_path / "report.md").read_text()


def test_a_single_point(tmp_path):
    put(tmp_path, "a", 1.0, **TIMED, sm_clock_mhz=1980.0)
    assert main([str(tmp_path)]) == 0
    assert "| sm_clock_mhz | 1980 MHz |" in (tmp_path / "report.md").read_text().replace("\\", "")
    said = Page(tmp_path / "report.html").of("li")
    assert "has the least latency, 1 ms (the only point)." in said
    assert "dynamo with nothing set is not among these points" in said


def test_numbers_that_are_missing_everywhere(tmp_path):
    for name in "ab":
        put(tmp_path, name, precision="fp16" if name == "a" else "fp32")
    assert main([str(tmp_path)]) == 0
    said = Page(tmp_path / "report.html").of("li")
    assert "No point has a time: nothing can be compared." in said
    assert "no point qualifies (2 with no latency_ms)" in said
    for name in "ab":
        content = json.loads((tmp_path / f"points/{name}/record.json").read_text())
        (tmp_path / f"points/{name}/record.json").write_text(json.dumps(content | {"latency_ms": 1.0}))
    assert main([str(tmp_path)]) == 0
    said = Page(tmp_path / "report.html").of("li").replace("\N{NO-BREAK SPACE}", " ")
    assert "fp16 instead of fp32: latency 0.0 % (not proved)" in said


def test_plans_answer_what_they_can(tmp_path):
    for size, engines in ((5, 10), (45, 3)):
        put(
            tmp_path, f"p{size}", status="dryrun", min_block_size=size, engines=engines, engine_ops=[4] * engines,
            ops_total=50, default_min_block_size=5, advised_min_block_size=45, partition_id=str(size),
        )  # fmt: skip
    blocks = assembly.answers(table.load(tmp_path))
    (grid,) = [block for block in blocks if isinstance(block, Grid)]
    assert [row[0] for row in grid.rows] == ["5 (default)", "45 (recommended for fewest segments)"]
    (said,) = [block.items for block in blocks if isinstance(block, Bullets)]
    assert said == [
        "min_block_size=45 (recommended for fewest segments): 3 engines instead of 10; no time was measured."
    ]


def test_answers_compare_with_the_default(tmp_path):
    blocks = assembly.answers(table.load(sweep(tmp_path)))
    (said,) = [block.items for block in blocks if isinstance(block, Bullets)]
    assert re.fullmatch(
        r"min_block_size=1 \(recommended for fewest segments\): 3 engines instead of 3; the GPU's work -3\.8 % \[.*\]: "
        r"faster\.",
        said[0],
    )
    assert any(isinstance(block, Text) and "Not measured: no two" in block.text for block in blocks)


def test_one_engine_is_never_faster_than_itself(tmp_path):
    for level, latency in ((0, 1.0), (3, 1.5)):
        put(tmp_path, f"l{level}", latency, **TIMED, optimization_level=level, engine_id="same", engines=1)
    blocks = assembly.answers(table.load(tmp_path))
    (said,) = [block.items for block in blocks if isinstance(block, Bullets)]
    assert said == [
        "m (no device (planned, or failed before it was known), no TensorRT): the same engine at "
        "optimization_level=0, 3 (default); differences between their times are noise."
    ]
    put(tmp_path, "l5", 2.0, **TIMED, optimization_level=5, engine_id="other", engines=1)
    blocks = assembly.answers(table.load(tmp_path))
    (grid,) = [block for block in blocks if isinstance(block, Grid)]
    assert [row[-1] for row in grid.rows[:2]] == ["same engine", "–"] and grid.rows[2][-1].startswith("+")


def test_answers_begin_where_engines_differ(tmp_path):
    for graphs in (False, True):
        for precision, model in itertools.product(("fp16", "fp32"), ("same", "differs")):
            for size in (1, 5, 22) if model == "same" else (1, 5):
                first = f"{model}-{precision}-{graphs}-1"
                put(
                    tmp_path, f"{model}-{precision}-{graphs}-{size}", 1.0 + size, **TIMED, model=model, model_id=model,
                    precision=precision, cuda_graphs=graphs, min_block_size=size, default_min_block_size=5, engines=1,
                    engine_id=f"{precision}{size if model == 'differs' else ''}",
                    timed_with=first if model == "same" and size > 1 else None,
                )  # fmt: skip
    (place,) = sections.split(table.load(tmp_path), 0.02)
    blocks = questions.answers([place])
    (*tables, merged) = [block.text for block in blocks if isinstance(block, Heading) and block.level == 4]
    assert len(tables) == 4 and all(title.startswith("differs ") for title in tables)
    assert merged == "One engine, whatever min_block_size"
    (said,) = [block.items for block in blocks if isinstance(block, Bullets) and block.items]
    assert said == [
        f"same ({place.title}): the same engine at min_block_size=1, 5 (default), 22, with each of 4 combinations of "
        "precision, cuda_graphs."
    ]


def test_brief_answers_show_one_sweep_of_each_model(tmp_path):
    sweeps = (("a", "fp16", (0, 3, 5), 0.1), ("b", "fp32", (0, 3), 0.001), ("c", "bf16", (0, 3, 5), 0.01))
    for name, precision, levels, width in sweeps:
        for level in levels:
            latency = 1.0 + level
            ends = {"latency_ms_ci_low": latency * (1 - width), "latency_ms_ci_high": latency * (1 + width)}
            put(
                tmp_path / name, f"l{level}", latency, **TIMED, **ends, precision=precision, optimization_level=level,
                engine_id=f"{precision}{level}", engines=1, created_utc=f"2026-01-31T12:00:0{level} {name}",
            )  # fmt: skip
    for level in range(5):  # most values, but no engine differs
        same = {"precision": "fp8", "engine_id": "same", "engines": 1}
        put(tmp_path / "d", f"s{level}", 1.0, **TIMED, **same, optimization_level=level)
    blocks = assembly.answers(table.load(tmp_path))
    (grid,) = [block for block in blocks if isinstance(block, Grid)]
    assert [row[0] for row in grid.rows] == ["0", "3 (default)", "5"]
    assert any(isinstance(block, Heading) and "bf16" in block.text for block in blocks)  # the surest
    assert Text("3 further sweeps of the same: left out here.") in blocks


def test_the_findings_say_what_the_published_records_say():
    rows = table.load(ROOT / "outputs/reference")
    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    assert readme.renewed(text, rows) == text, "trt-sweep report outputs/reference --readme docs/findings.md"


def test_what_ran_with_which_versions(tmp_path):
    old, new = {"torch": "2.11.0", "torch_tensorrt": "2.11.0", "tensorrt": "1.4"}, {"torch": "2.14.1"}
    for number, status in enumerate(("ok", "inaccurate", "unsupported", "crashed", "timeout", "interrupted")):
        put(tmp_path, f"old{number}", 1.0, status=status, gpu_name="H200", tensorrt_flavor="rtx", **old)
    put(
        tmp_path,
        "new",
        1.0,
        status="dryrun",
        gpu_name=None,
        tensorrt_flavor=None,
        torch_tensorrt=None,
        tensorrt=None,
        **new,
    )
    grid = tables.versions_grid(table.load(tmp_path))
    assert grid.rows == [
        ["none", "2.14.1", "no GPU", "0", "1", "0", "0"],
        ["2.11.0, 1.4 (rtx)", "2.11.0", "H200", "2", "0", "1", "2"],
    ]


def test_readme_section_is_renewed(tmp_path, capsys):
    sweep(tmp_path / "s")
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    assert main([str(tmp_path / "s"), "--readme", str(path)]) == 0
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith(f"{readme.END}\nafter\n")
    assert "old" not in text and "recommended min" in text.replace("\\", "")
    assert "With which versions did points run?" in text
    assert capsys.readouterr().out == f"written: {path}\n"
