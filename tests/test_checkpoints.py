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
        {"epoch": 3, "ema": prefixed("module.")},
        {"generator": STATE, "loss": {"scale": torch.ones(1)}},
    ],
    ids=[
        *("plain", "half", "state_dict", "model_state_dict", "model", "module.", "_orig_mod.", "both", "lightning"),
        *("ema", "own"),
    ],
)
def test_what_training_scripts_save(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    module = Net()
    checkpoints.load(module, tmp_path / "w.pt")
    for name, tensor in module.state_dict().items():
        assert tensor == pytest.approx(STATE[name], abs=1e-3)
    assert checkpoints.notes(module) == []


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


def loaded(tmp_path, content, **how) -> tuple[nn.Module, list[str]]:
    torch.save(content, tmp_path / "w.pt")
    torch.manual_seed(0)
    module = Net()
    checkpoints.load(module, tmp_path / "w.pt", **how)
    return module, checkpoints.notes(module)


EMA = {"state_dict_ema": {name: tensor + 1 for name, tensor in STATE.items()}, "state_dict": STATE, "optimizer": {}}


@pytest.mark.parametrize(("key", "shift"), [(None, 0), ("state_dict", 0), ("state_dict_ema", 1)])
def test_the_part_of_a_checkpoint_is_chosen_and_never_in_silence(tmp_path, key, shift):
    module, notes = loaded(tmp_path, EMA, key=key)
    assert all(torch.equal(tensor, STATE[name] + shift) for name, tensor in module.state_dict().items())
    said = "w.pt has weights under state_dict, state_dict_ema: state_dict is used; model.weights_key chooses"
    assert notes == ([] if key else [said])


def test_parts_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(
        SweepError, match=r"weights_key=ema is not where .*w\.pt has weights: they are under state_dict, "
    ):
        loaded(tmp_path, EMA, key="ema")
    with pytest.raises(SweepError, match="they are under no key: leave it out"):
        loaded(tmp_path, STATE, key="ema")
    short = {name: {"body.weight": STATE["body.weight"]} for name in ("ema", "model")}
    with pytest.raises(
        SweepError, match=r"choose among model, ema by model\.weights_key, or load what fits by model\.str"
    ):
        loaded(tmp_path, short)


def test_without_strict_what_fits_is_loaded_and_the_rest_is_told(tmp_path, caplog):
    state = {**STATE, "head.weight": torch.zeros(9, 4), **{f"old.{number}": torch.zeros(1) for number in range(5)}}
    del state["body.bias"]
    with pytest.raises(SweepError, match=r"or load what fits by model\.strict=false, which leaves the rest random"):
        loaded(tmp_path, {"model": state})
    module, (note,) = loaded(tmp_path, {"model": state}, strict=False)
    assert note == (
        "of the weights in w.pt 1 missing, and random (body.bias), 1 of another shape, and random (head.weight (9, 4) "
        "for (2, 4)), 5 unexpected (old.0, old.1, old.2, …); log.txt of the first such point has all names"
    )
    assert "5 unexpected: old.0, old.1, old.2, old.3, old.4" in caplog.text
    torch.manual_seed(0)
    random, now = Net().state_dict(), module.state_dict()
    for name, expected in {
        "body.weight": STATE,
        "head.bias": STATE,
        "body.bias": random,
        "head.weight": random,
    }.items():
        assert torch.equal(now[name], expected[name])
    assert loaded(tmp_path, STATE, strict=False)[1] == []


def test_without_strict_something_must_fit(tmp_path):
    with pytest.raises(
        SweepError, match=r"has nothing that fits this model: 4 missing, and random \(body\.weight, .*, …\)"
    ):
        loaded(tmp_path, {"x": torch.zeros(1)}, strict=False)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
        self.out.weight = self.inside.weight


@pytest.mark.parametrize("strict", [True, False])
def test_tied_weights_are_there_once(tmp_path, strict):
    """As safetensors keeps them."""
    torch.save({"out.weight": torch.ones(6, 4)}, tmp_path / "w.pt")
    module = Tied()
    checkpoints.load(module, tmp_path / "w.pt", strict=strict)
    assert torch.equal(module.inside.weight, torch.ones(6, 4)) and checkpoints.notes(module) == []


def test_lazy_layers_take_what_the_file_has(tmp_path):
    torch.save({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, tmp_path / "w.pt")
    module = nn.LazyLinear(2)
    checkpoints.load(module, tmp_path / "w.pt", strict=False)
    assert torch.equal(module.weight, torch.ones(2, 3)) and checkpoints.notes(module) == []
