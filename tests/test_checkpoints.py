"""Weights from a file, as training scripts leave them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trt_sweep.errors import SweepError
from trt_sweep.models import checkpoints


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)


STATE = Net().state_dict()


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {name: tensor.half() for name, tensor in STATE.items()},
        {"state_dict": STATE, "epoch": 3},
        {"model_state_dict": STATE, "optimizer": {"lr": 0.1}},
        {"model": STATE},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        {"state_dict": prefixed("model."), "hyper_parameters": {"width": 4}},
    ],
    ids=["plain", "half", "state_dict", "model_state_dict", "model", "module.", "_orig_mod.", "both", "lightning"],
)
def test_what_training_scripts_save(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    module = Net()
    checkpoints.load(module, tmp_path / "w.pt")
    for name, tensor in module.state_dict().items():
        assert tensor == pytest.approx(STATE[name], abs=1e-3)


def test_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(STATE, tmp_path / "w.safetensors")
    module = Net()
    checkpoints.load(module, tmp_path / "w.safetensors")
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in module.state_dict().items())
    (tmp_path / "bad.safetensors").write_bytes(b"hello")
    with pytest.raises(SweepError, match=r"bad\.safetensors cannot be read as safetensors"):
        checkpoints.load(module, tmp_path / "bad.safetensors")


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}])
def test_a_file_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SweepError, match="holds no state dict, nor one under state_dict, model_state_dict"):
        checkpoints.load(Net(), tmp_path / "w.pt")


def test_programs_are_refused_and_the_way_is_named(tmp_path):
    torch.save(Net(), tmp_path / "module.pt")
    with pytest.raises(
        SweepError,
        match=r"it holds a .*Net, a whole module perhaps.*state_dict",
    ):
        checkpoints.load(Net(), tmp_path / "module.pt")
    torch.jit.script(nn.Linear(4, 4)).save(str(tmp_path / "script.pt"))
    with pytest.raises(SweepError, match="is a TorchScript archive, a program and not its weights"):
        checkpoints.load(Net(), tmp_path / "script.pt")


def test_what_does_not_fit_is_named(tmp_path):
    torch.save({"state_dict": prefixed("encoder.")}, tmp_path / "w.pt")
    with pytest.raises(SweepError, match=r"is not a state dict of this model .*Missing key.*encoder\.body\.weight"):
        checkpoints.load(Net(), tmp_path / "w.pt")
