"""The example with trained weights: seeded, quick, and what its functions give."""

from __future__ import annotations

import sys

import pytest
import torch
from conftest import EXAMPLE

pytest.importorskip("sklearn")


@pytest.fixture
def digits(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield __import__("digits")
    sys.modules.pop("digits")


@pytest.mark.parametrize(("name", "least"), [("cnn", 0.8), ("transformer", 0.5)])
def test_training_is_seeded_and_learns(digits, tmp_path, capsys, name, least):
    files = [tmp_path / "one.pt", tmp_path / "two.pt"]
    for file in files:
        digits.main([name, str(file), "--epochs=2"])
    one, two = (torch.load(file, weights_only=True) for file in files)
    assert all(torch.equal(one[key], two[key]) for key in one)
    model = digits.CNN() if name == "cnn" else digits.Transformer()
    model.load_state_dict(one)
    with torch.no_grad():
        assert digits.top1(model.eval(), torch.device("cpu")) > least
    assert "top-1 0." in capsys.readouterr().out


def test_calibration_keeps_off_the_test_split(digits):
    batches = list(digits.calibration(batch_size=100))
    assert sum(map(len, batches)) == 1797 - digits.TEST and batches[0].shape == (100, 1, 8, 8)
    assert all(batch.min() >= -1 and batch.max() <= 1 for batch in batches)
