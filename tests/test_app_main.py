"""The command: its verbs, help and version, what it says of a mistake, and what it imports for that."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hydra.errors import MissingConfigException

import trt_sweep
from trt_sweep.app import arguments, bench, frame, help, verbs
from trt_sweep.app.arguments import Parser, UsageError, count, share, verb
from trt_sweep.app.main import main
from trt_sweep.benchmarks import startup
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["table", "outputs"], True),
        (["tbale"], True),
        (["-m", "table"], False),
        (["model=resnet18"], False),
        (["+sweep=nightly"], False),
        (["~hydra.callbacks"], False),
        (["--help"], False),
        ([], False),
    ],
)
def test_a_word_is_a_verb_and_all_else_is_a_sweeps(given, expected):
    assert verbs.is_verb(given) is expected


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tbale", "did you mean table?"),
        ("reprot", "did you mean report or export?"),
        ("xyz", "use one of tune, report, table"),
    ],
)
def test_the_nearest_verb_is_named(word, said, capsys):
    assert main([word, "outputs"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {word} is not a verb: {said}") and err.count("\n") == 1


@pytest.mark.parametrize("given", [["--help"], ["-h"], ["-m", "model=resnet18", "--help"]])
def test_the_help_is_ours(given, capsys):
    assert main(given) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80 and "Hydra's own options" in out
    for each in verbs.VERBS:
        assert f"  {each.name:<13}{each.meaning}" in lines and f"trt-sweep {each.name} " in out
    for name, meaning in help.sweeps():
        assert meaning and f"  {name} " in out


def test_the_help_names_every_setting_at_the_root():
    groups = {"torchscript", "inductor", "quantization", "measure", "accuracy", "limits", "compile"}
    said = {name.removeprefix("+").partition(".")[0] for name, _ in help.axes() + help.settings()}
    assert {field.name for field in dataclasses.fields(SweepConfig)} <= said and groups <= said


def test_the_help_names_what_is_there():
    said = help.text()
    for name in ("dynamo", "onnx", "googlenet", "modelopt_int8_default", "layer_names_only", "worker"):
        assert name in said


def test_the_version_is_ours(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"trt-sweep {trt_sweep.__version__}\n"


def test_an_option_that_there_is_none_of_is_one_line(capsys):
    assert main(["--dryrn"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: unrecognized arguments: --dryrn; see --help") and err.count("\n") == 1


@pytest.mark.parametrize("name", [each.name for each in verbs.VERBS])
def test_a_verb_says_what_it_takes_and_refuses_the_rest(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and out.startswith(f"usage: trt-sweep {name} ")
    assert name == "bench" or "--out DIR" in out
    assert main([name, "--nothing-of-the-kind"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    "name", [*(each.name for each in verbs.VERBS), *(f"bench {each}" for each in bench.BENCHMARKS)]
)
def test_the_help_of_a_verb_is_broken_at_blanks(name, monkeypatch, capsys):
    said = []
    for columns in ("80", "500"):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
        said.append(capsys.readouterr().out)
    assert max(map(len, said[0].splitlines())) <= 80
    assert said[0].split() == said[1].split()


@pytest.mark.parametrize("given", startup.COMMANDS, ids=" ".join)
def test_what_measures_nothing_imports_nothing_slow(given, tmp_path):
    assert startup.imported(given, tmp_path) == []


def test_importing_the_package_imports_no_other():
    code = "import sys; import trt_sweep; print(sorted(name for name in sys.modules if name.startswith('trt_sweep.')), "
    code += "{'torch', 'pandas', 'numpy', 'hydra', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] set()\n"


def test_what_python_is_offered():
    assert trt_sweep.load is frame.load and trt_sweep.SweepError is SweepError
    assert {"run", "load", "summary", "SweepError", "__version__"} <= set(dir(trt_sweep))
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = trt_sweep.runs


@pytest.mark.parametrize(("given", "expected"), [("0.02", 0.02), ("2%", 0.02), ("0.5%", 0.005), ("99%", 0.99)])
def test_a_share_is_a_fraction_or_in_percent(given, expected):
    assert share("--delta", given) == pytest.approx(expected)


@pytest.mark.parametrize("given", ["0", "1", "2", "100%", "-1%", "nan", "inf", "inf%", "x", "%", ""])
def test_what_is_no_share_is_refused(given):
    with pytest.raises(UsageError) as caught:
        share("--delta", given)
    said = str(caught.value)
    assert said.startswith(f"--delta={given} is not allowed: use a share, such as 0.02 or 2%, between 0 and 1")
    assert said.endswith("; for 2 percent write 2%") is (given == "2")


def test_more_than_all_is_given_in_percent():
    assert share("--slower", "300%", above_one=True) == 3
    for given in ("3", "0%", "inf%"):
        with pytest.raises(UsageError, match=f"--slower={given} is not allowed"):
            share("--slower", given, above_one=True)


def test_a_count_is_a_whole_number():
    assert count("--top", "3") == 3
    for given in ("0", "1.5", "x", ""):
        with pytest.raises(UsageError, match=f"--top={given} is not allowed: use an integer of at least 1, or --all"):
            count("--top", given, instead=", or --all")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SweepError("so"), 1, "so"),
        (Unsupported("cannot"), 1, "cannot"),
        (UsageError("what?"), 2, "what?"),
        (MissingConfigException("no", "model/nope", ["resnet18"]), 1, "model=nope is not known: use one of resnet18 "),
        (PermissionError(13, "Permission denied", "a/b"), 1, "a/b cannot be read or written: Permission denied"),
        (OSError(28, "full", "a/b"), 3, "a/b cannot be read or written: full"),
        (OSError(28, "full"), 3, "what is printed cannot be written: full"),
    ],
)
def test_a_mistake_is_a_line_and_an_exit_code(error, code, said, capsys):
    @verb()
    def work(_: list[str]) -> int:
        raise error

    assert work([]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"error: {said}") and err.count("\n") == 1


@pytest.mark.parametrize("failed", [1, 2])
def test_what_is_no_mistake_of_the_users_has_a_code_of_its_own(failed, capsys):
    @verb(failed=failed)
    def work(_: list[str]) -> int:
        raise ZeroDivisionError

    assert work([]) == arguments.BROKEN == 3
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and "please report it: ZeroDivisionError" in said.splitlines()[-1]


def test_an_interrupt_is_an_exit_code():
    @verb(failed=2)
    def work(_: list[str]) -> int:
        raise KeyboardInterrupt

    assert work([]) == arguments.INTERRUPTED == 130


def test_a_parser_refuses_in_one_line():
    parser = Parser(prog="x")
    parser.add_folders()
    with pytest.raises(UsageError, match="the following arguments are required: FOLDER"):
        parser.parse_args([])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["backend=[eager,jit]"],
            1,
            "backend=[eager,jit] is a list, and a point has one backend: sweep it by -m backend=e",
        ),
        (["optimization_level=3,5"], 1, "optimization_level=3,5 asks for several points: write trt-sweep -m optim"),
        (["+sweep=nightly"], 2, "+sweep=nightly is a sweep that is ready to run: write trt-sweep -m +sweep=nightly"),
        (["-m", "sweep=nightly"], 2, "+sweep=nightly is a sweep that is ready to run"),
        (
            ["-m", "hydra/sweeper=race", "hydra.sweeper.X=1"],
            1,
            "hydra.sweeper.X is not known: RaceSweeper takes params, delta, max_latency, percentile, max_error, max_me",
        ),
        (["-m", "hydra/sweeper=race", "+hydra.sweeper.X=1"], 1, "hydra.sweeper.X is not known: RaceSweeper takes par"),
        (
            ["-m", "hydra/sweeper=one_at_a_time", "hydra.sweeper.seed=1"],
            1,
            "hydra.sweeper.seed is not known: OneAtATimeSweeper takes params, together, not_tried",
        ),
        (["-m", "hydra.launcher.n_jobs=2"], 1, "hydra.launcher.n_jobs is not known: SweepLauncher takes nothing"),
        (["-m", "hydra.run.folder=a"], 1, "hydra.run.folder is not known: hydra.run takes dir"),
        (["-m", "hydra.job.nam=a"], 1, "hydra.job.nam is not known: hydra.job takes name, chdir, override_dirname"),
        (["-m", "hydra/sweeper=race", "hydra.sweeper.seed=-1"], 1, "seed=-1 is not allowed: use an integer of at l"),
        (
            ["-m", "hydra/sweeper=race", "device=cpu", "hydra.sweeper.max_memory=1GiB"],
            1,
            "max_memory cannot be judged on a CPU: leave it out",
        ),
        (["precision=fp17"], 1, "precision=fp17 is not allowed: use one of fp32, tf32"),
        (["mdoel=x"], 1, "mdoel is not known: did you mean model or "),
        (
            ["-m", "hydra.sweep.dir=a b,c=d"],
            1,
            "hydra.sweep.dir=a b,c=d cannot be read: text with spaces, commas, quotes",
        ),
        (["foo bar=1"], 1, "foo bar=1 cannot be read: write NAME=VALUE"),
        (
            ["-m", "settings"],
            1,
            "settings is no setting: write NAME=VALUE, NAME being as in --help; a ready ",
        ),
        (["=3"], 2, "=3 has no name: write NAME=VALUE"),
        (
            ["-m", "optimization_level=0,3", "--cfg", "job"],
            2,
            "--multirun and --cfg do not go together: leave out -m; --cfg shows one job, so give each axis one value",
        ),
        (["--cfg", "job", "--info"], 2, "--cfg and --info do not go together: leave out one of them"),
        (["--resolve"], 2, "--resolve goes with --cfg: write --cfg job --resolve"),
        (["-sc"], 2, "--shell-completion needs what to do: write --shell-completion install=bash"),
        (["-cn", "nothing"], 1, "MissingConfigException: Cannot find primary config 'nothing'"),
    ],
)
def test_the_likeliest_mistakes_name_their_fix(arguments, code, said, tmp_path):
    command = [sys.executable, "-m", "trt_sweep", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code and done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1
