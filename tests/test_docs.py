"""Check what README.md and docs/ say: links lead somewhere, commands work and print what they are said to."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import EXAMPLE, needs_tensorrt, without_gpu
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict

import trt_sweep
from trt_sweep.app import answer, help
from trt_sweep.app.main import main
from trt_sweep.app.verbs import VERBS
from trt_sweep.config.compose import CONF, register_resolver
from trt_sweep.config.hydra import from_hydra, quoted, register
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.results import show, table

ROOT = Path(__file__).parents[1]
REFERENCE = "outputs/reference"
README, LOG = ROOT / "README.md", ROOT / REFERENCE / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, LOG]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return the language and the text of a page's fenced blocks."""
    return FENCE.findall(path.read_text(encoding="utf-8"))


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *$", prose(path), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("\\", "")
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        candidates = (slug if number == 0 else f"{slug}-{number}" for number in itertools.count())
        found.add(next(one for one in candidates if one not in found))
    return found


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= 1500


def test_the_citation_is_of_this_version():
    assert f"\nversion: {trt_sweep.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_readme_names_every_page():
    assert [name(page) for page in DOCS if f"]({name(page)})" not in prose(README)] == []


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_a_page_is_called_by_its_question(path):
    assert re.match(r"(<!--.*-->\n+)?# .+\?\n", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(path))):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            place = path.parent / file if file else path
            assert place.exists(), target
            assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("path", [page for page in PAGES if page.name != "columns.md"], ids=name)
def test_a_page_says_what_gpu_ms_is_where_it_first_names_it(path):
    text = path.read_text(encoding="utf-8")
    first = text.find("gpu_ms")
    assert first < 0 or "GPU's own work" in text[max(first - 60, 0) : first + 60]


def test_the_page_of_axes_has_all_of_them():
    rows = re.findall(r"^\| (`.+?`) \|", prose(ROOT / "docs/axes.md"), re.MULTILINE)
    told = {axis.partition("=")[0] for axis in re.findall(r"`([^`]+)`", "".join(rows))}
    known = {axis for axis, _ in help.axes()} - {"time_at", "cache_snapshot"}  # which stand beside another
    assert told - {"quantization.skip", "dryrun"} == known


# What a command has for something of the reader's own, and what it is here.
PLACEHOLDERS = {
    "SWEEP/points/POINT_ID": f"{REFERENCE}/h100/inside/with/points/9d4ada55484b8f05",
    "FOLDER": f"{REFERENCE}/h200/quantization",
    "OLD": f"{REFERENCE}/h200/nights/night04",
    "NEW": f"{REFERENCE}/h200/nights/slower",
    "nights": f"{REFERENCE}/h200/nights",
    "DIR": "written",
    "NAME": "nightly",
    "N": "2",
    "VERB": "table",
}


def commands(path: Path) -> Iterator[str]:
    """Yield what a page tells its reader to type, of trt_sweep's own: lines of fenced blocks, and code in sentences."""
    for language, block in blocks(path):
        for line in re.sub(r"\\\n *", "", block).splitlines() if language in ("", "sh") else []:
            yield from (part.strip() for part in re.split(r"&&|\|\|", line.removeprefix("$ ")))
    yield from (re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(path)))


def arguments(command: str) -> list[str]:
    """Return the arguments of a command, with what placeholders and the shell's variables stand for."""
    command = re.sub(r"\$(?!\{)\w+", "NEW", re.sub(r"\$\([^)]*\)", "OLD", command))
    given = [word.rpartition("=") for word in shlex.split(command, comments=True)]
    return ["".join((*before, PLACEHOLDERS.get(value, value))) for *before, value in given]


STEPS = {"sweep": "-m", "bench": "bench"}  # of .ci/gpu


def told() -> list[list[str]]:
    """Return the arguments of each command of a page or of .ci/gpu once."""
    steps = re.findall(r"^(sweep|bench) \w+ (.+)", (ROOT / ".ci/gpu").read_text(encoding="utf-8"), re.MULTILINE)
    found = {" ".join(given): given for given in (shlex.split(f"{STEPS[kind]} {rest}") for kind, rest in steps)}
    for command in itertools.chain.from_iterable(map(commands, PAGES)):
        ours = re.fullmatch(r"(?:timeout -s INT \d+ )?(?:trt-sweep|python -m trt_sweep) (.+)", command)
        if ours is not None:
            found[ours.group(1)] = arguments(ours.group(1))
    return list({" ".join(given): given for given in found.values()}.values())


NAMES = {verb.name for verb in VERBS}
OF_VERBS = [given for given in told() if given[0] in NAMES]
OF_SWEEPS = [given for given in told() if given[0] not in NAMES and "=" in " ".join(given)]
OTHERS = [given for given in told() if given not in [*OF_VERBS, *OF_SWEEPS]]


def test_commands_are_found():
    assert len(OF_VERBS) >= 20 and len(OF_SWEEPS) >= 25 and OTHERS
    assert {given[0] for given in OF_VERBS} == NAMES
    assert ["-m", "+sweep=precision"] in OF_SWEEPS and ["bench", "timing"] in OF_VERBS  # of .ci/gpu


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with copies of the published records and pages, which commands may write into."""
    folder = tmp_path_factory.mktemp("place")
    for part in (REFERENCE, "docs"):
        shutil.copytree(ROOT / part, folder / part)
    return folder


def overrides(given: list[str]) -> list[str]:
    return [word for word in given if re.match(r"[+~]*[\w./@]+=", word)]


def composed(given: list[str]) -> list[SweepConfig]:
    """Return the checked configurations of so many of a sweep's jobs that every value of every axis is in one."""
    register()
    register_resolver()
    parsed = OverridesParser.create().parse_overrides(overrides(given))
    fixed = [override.input_line for override in parsed if not override.is_sweep_override()]
    fixed.append(f"hydra.searchpath=[{quoted(f'file://{EXAMPLE}')}]")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        root = compose("config", fixed, return_hydra_config=True)
        ready = [f"{axis}={values}" for axis, values in (root.hydra.sweeper.get("params") or {}).items()]
        parsed += OverridesParser.create().parse_overrides(ready)
        swept = [(one.input_line, [*one.sweep_string_iterator()]) for one in parsed if one.is_sweep_override()]
        fixed += [one for one in ready if not any(one == line for line, _ in swept)]
        jobs = []
        for number in range(max((len(values) for _, values in swept), default=1)):
            job = [f"{line.partition('=')[0]}={values[number % len(values)]}" for line, values in swept]
            found = compose("config", [*fixed, *job], return_hydra_config=True)
            with open_dict(found):
                del found["hydra"]
            jobs.append(from_hydra(found))
    return jobs


@pytest.mark.parametrize("given", OF_SWEEPS, ids=" ".join)
def test_a_sweep_can_be_asked_for(given):
    """Compose and check every value of it: so an axis, a model or a sweep that has another name now is found."""
    if "hydra/sweeper=optuna" in given and find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("hydra-optuna-sweeper is not installed")
    assert ("-m" in given) >= any(word.startswith("+sweep=") for word in given)
    assert composed(given)


@pytest.mark.parametrize("given", OF_VERBS, ids=" ".join)
def test_a_verb_does_what_pages_say(given, place, monkeypatch, capsys):
    """Run it on published records. Of what measures or builds, check that it takes these options and settings."""
    options = {word.partition("=")[0] for word in given if word.startswith("--")}
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "80")
    if given[0] in ("bench", "export", "partition", "sensitivity", "tune") or "--help" in options:
        composed(given)
        with pytest.raises(SystemExit):
            main([*given[: 1 + (given[0] == "bench")], "--help"])
        assert options - {"--help"} <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        return
    if given[0] == "history":
        pytest.importorskip("ruptures")
    if given[0] == "layers" and "--out" in options:
        pytest.importorskip("matplotlib")
    code = main(given)
    out, err = capsys.readouterr()
    if "--remeasure" in options:  # that takes the GPU of the records
        assert code == 1 and "--remeasure" in err
    else:
        assert code == (given[0] == "compare"), err
        assert out


@pytest.mark.parametrize("given", OTHERS, ids=" ".join)
def test_what_only_tells_of_trt_sweep_works(given):
    done = subprocess.run([sys.executable, "-m", "trt_sweep", *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout, done.stderr


def test_the_python_of_pages_works(place, monkeypatch):
    """Run what reads records. Of what sweeps, docs/notebook.ipynb runs the like: here its names are looked up."""
    monkeypatch.chdir(place)
    known: dict[str, object] = {}
    for code in (block for path in PAGES for language, block in blocks(path) if language == "python"):
        for attribute in re.findall(r"\btrt_sweep\.(\w+)\(", code):
            assert callable(getattr(trt_sweep, attribute))
        if "trt_sweep.run(" in code or "trt_sweep.tune(" in code:
            compile(code, "page", "exec")
        else:
            exec(code, known)


# --- what commands print ----------------------------------------------------------------------------------------------


def lines(text: str) -> list[str]:
    """Return lines without what depends on the width of a table, and without the mark of what is left out."""
    found = (re.sub(r"─+", "─", " ".join(line.split())) for line in text.splitlines())
    return [line for line in found if line and line != "…"]


def example(path: Path, first: str) -> list[str]:
    """Return the lines of the block that begins so."""
    (block,) = [block for _, block in blocks(path) if block.startswith(first)]
    return lines(block.removeprefix(f"{first}\n"))


SHOWN = [
    (path, block.splitlines()[0]) for path in PAGES for _, block in blocks(path) if block.startswith("$ trt-sweep ")
]


@pytest.mark.parametrize(("path", "command"), SHOWN, ids=lambda value: None if isinstance(value, str) else name(value))
def test_examples_of_verbs_are_what_they_print(path, command, place, monkeypatch, capsys):
    if command.split()[2] in ("partition", "sensitivity"):
        pytest.skip("it takes half a minute: the slow test runs it, or it needs trained weights")
    given = arguments(command.removeprefix("$ trt-sweep "))
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "300")
    main(given)
    printed = lines(capsys.readouterr().out)
    assert [line for line in example(path, command) if line not in printed] == []


def test_the_first_sweep_of_the_readme_is_what_its_records_say(monkeypatch, capsys):
    """Print the table and the answer of the published sweep, at 80 columns as the README has them."""
    rows = table.load(ROOT / REFERENCE / "h200_rtx1.6/first_sweep")
    monkeypatch.setenv("COLUMNS", "80")
    show.show(rows)
    answer.show(rows)
    printed = lines(capsys.readouterr().out)
    assert [line for line in example(README, "backend  precision  cuda_graphs") if line not in printed] == []


@needs_tensorrt
@without_gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "first", "given"),
    [
        (README, "backend  precision  optimization_level", "-m optimization_level=0,3,5"),
        (ROOT / "docs/planning.md", "$ python -m trt_sweep ", "-m model=googlenet min_block_size=1,4,5,22 plan=true"),
        (ROOT / "docs/engines.md", "$ trt-sweep ", "partition model=googlenet"),
    ],
)
def test_plans_are_what_they_print(path, first, given, tmp_path, monkeypatch):
    """Run what plans without a GPU, which takes half a minute each."""
    monkeypatch.setenv("COLUMNS", "130")
    done = subprocess.run(
        [sys.executable, "-m", "trt_sweep", *given.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = lines(done.stdout)
    shown = example(path, f"{first}{given}" if first.startswith("$") else first)
    assert [line for line in shown if line not in printed] == []
