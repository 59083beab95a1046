"""Check that a wrong command line ends as one line with the fix, and never as a mistake of our own."""

from __future__ import annotations

import io
import pickle

import pytest
from test_ranking import TIMED
from test_table import put

from trt_sweep.app.main import main
from trt_sweep.config import compose
from trt_sweep.errors import SweepError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with a sweep, a file, and configurations of one's own that are none."""
    put(tmp_path / "sweep", "a", 1.0, **TIMED)
    (tmp_path / "file").write_text("text")
    (tmp_path / "data.pickle").write_bytes(pickle.dumps({"model": 1}))
    (tmp_path / "own/model").mkdir(parents=True)
    (tmp_path / "own/model/broken.yaml").write_text("a: [1, 2\n  b: {")
    (tmp_path / "own/model/bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "own/model/list.yaml").write_text("- 1\n- 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # which a sweep sets in its process: undone after each test
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--experimental-rerun", "nope"], "--experimental-rerun nope cannot be read: No such file or directory; give"),
        (["--experimental-rerun", "own"], "--experimental-rerun own cannot be read: Is a directory; give the config.p"),
        (["--experimental-rerun", "file"], "--experimental-rerun file holds no pickle that can be loaded: give the"),
        (["--experimental-rerun", "data.pickle"], "data.pickle holds no configuration of a job: give the config.pick"),
        (["--experimental-rerun", "file", "model=scale"], "--experimental-rerun runs a job as it was: leave out model"),
        (["-m", "+sweep=settings,precision"], "+sweep=settings,precision names several sweeps: run each by itself"),
        (["model=resnet18", "table"], "table is a verb: write it first, trt-sweep table"),
        (["hydra.run.dir=", "model=resnet18"], "the folder for the results has an empty name: give it, or leave"),
        (["--config-dir", "", "model=resnet18"], "a name of a file or folder is empty: give it, or set the variable"),
        (["--config-dir", "file", "model=resnet18"], "--config-dir=file is not a folder: give the one that your model"),
        (["model=list", "--config-dir", "own", "plan=true"], "model/list.yaml cannot be a part of the configuration:"),
        (["partition", "--config-dir", "own", "model=broken"], "model/broken.yaml is no YAML: line 2: expected ','"),
        (["partition", "--config-dir", "own", "model=bytes"], "model/bytes.yaml is no text in UTF-8: invalid start"),
        (["partition", "+batch_sise=3"], "batch_sise is not known: did you mean batch_size"),
        (["partition", "++measure.visit=3"], "measure.visit is not known: did you mean measure.visits"),
        (["table", ""], "a name of a file or folder is empty: give it, or set the variable that should hold it"),
        (["table", "sweep", "--columns="], "--columns= is not allowed: use all, or names of columns with commas"),
        (["report", "sweep", "--out", "file"], "--out=file is a file: name a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_it_is_one_line(given, words, place, capsys):
    before = sorted(place.rglob("*"))
    assert main(given) in (1, 2)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert words in err
    assert sorted(place.rglob("*")) == before


def test_settings_may_stand_around_options(place, capsys):
    assert main(["precision=fp16", "--config-dir", "own", "model=nope", "--cfg", "job"]) == 1
    assert "model=nope is not known" in capsys.readouterr().err


def test_keys_of_ones_own_stay_where_they_are_asked_for():
    config = compose.composed(["+model.factory.depth=3", "compile.x=1", "+accuracy.evaluate._target_=a.b"])
    assert config.model.factory["depth"] == 3 and config.compile == {"x": 1}
    with pytest.raises(SweepError, match=r"model\.depth is not known"):
        compose.composed(["+model.depth=3"])


def test_bytes_that_are_no_text_are_a_mistake_of_ours_where_no_configuration_is_read(monkeypatch, capsys):
    def damaged(*_: object) -> None:
        io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8").read()

    monkeypatch.setattr(compose, "composed", damaged)
    assert main(["partition"]) == 3
    assert "a mistake of trt_sweep's own" in capsys.readouterr().err
