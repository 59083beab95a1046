"""`trt_sweep.run`: a sweep over a module in memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
import torch
from conftest import needs_tensorrt, without_gpu

import trt_sweep
from trt_sweep.errors import SweepError

QUICK = {"measure.max_s": 0.2, "measure.warmup_s": 0.05, "measure.visits": 6, "device": "cpu"}


class Net(torch.nn.Module):
    """Known to this module only, as one is that a notebook defines."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, *, ids: torch.Tensor | None = None) -> torch.Tensor:
        y = self.fc(x)
        return y if ids is None else y * ids[:, None].to(y.dtype)


def test_a_module_in_memory_is_swept(tmp_path):
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rows = trt_sweep.run(net, torch.rand(3, 8), {"backend": ["eager", "jit"], "batch_size": [3, 5]}, QUICK, tmp_path)
    assert rows["status"].tolist() == ["ok"] * 4 and (rows["rel_l2_error"] < 1e-6).all() and (rows["rounds"] == 6).all()
    assert rows["input_shapes"].tolist() == ["3x8", "5x8"] * 2 and set(rows["model"]) == {"Net"}
    assert rows.attrs["folder"] == str(tmp_path) and (tmp_path / "results.csv").exists()
    assert net.training and all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    # Its weights are what it is known by.
    again = trt_sweep.run(net, torch.rand(3, 8), {"backend": ["eager"]}, QUICK, tmp_path / "again")
    other = trt_sweep.run(Net(), torch.rand(3, 8), {"backend": ["eager"]}, QUICK, tmp_path / "other")
    assert len({*rows["model_id"], *again["model_id"]}) <= 2 and other["model_id"].iloc[0] not in set(again["model_id"])


def test_what_was_there_before_can_be_collected_afterwards(tmp_path):
    net = Net()
    net.fc.__dict__["outer"] = net  # a reference cycle
    trt_sweep.run(Net(), torch.rand(3, 8), {"backend": ["eager"]}, QUICK, tmp_path)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_keywords_integers_and_no_batch(tmp_path):
    given = {"x": torch.randn(2, 8), "ids": torch.tensor([1, 7])}
    rows = trt_sweep.run(Net(), given, None, QUICK | {"backend": "eager"}, tmp_path / "a")
    assert rows["status"].tolist() == ["ok"] and rows["input_shapes"].tolist() == ["2x8 2"]
    alone = trt_sweep.run(torch.nn.Softplus(), torch.tensor(0.5), None, QUICK | {"backend": "eager"}, tmp_path / "b")
    assert alone["status"].tolist() == ["run_failed"]  # one number has no variance, and the row says so
    assert "no variance" in alone["reason"].iloc[0]


@needs_tensorrt
@without_gpu
def test_it_is_planned_without_a_gpu(tmp_path):
    sizes = {"min_block_size": [1, 9]}
    rows = trt_sweep.run(Net(), torch.rand(3, 8), sizes, {"+compile.workspace_size": 1 << 20}, tmp_path)
    assert rows["status"].tolist() == ["dryrun"] * 2 and rows["engines"].tolist() == [1, 0]
    assert set(rows["compile"]) == {"workspace_size=1048576"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((lambda x: x, torch.rand(1, 8)), ["model=function", "torch.nn.Module"]),
        ((Net(), [1]), ["inputs[None] is a int", "tensors"]),
        ((Net(), torch.rand(1, 8), {"optimization_level": 3}), ["axes['optimization_level']=3", "a list of values"]),
        ((Net(), torch.rand(1, 8), {"optimization_level": []}), ["axes['optimization_level']=[]", "a list of values"]),
        ((Net(), torch.rand(1, 8), {"optimization_level": [9]}), ["optimization_level=9", "0 to 5"]),
        ((Net(), torch.rand(1, 8), {"optimisation_level": [1]}), ["did you mean optimization_level"]),
        ((Net(), torch.rand(1, 8), {"backend": ["eager"]}, {"backend": "jit"}), ["backend stands in axes and in"]),
        ((Net(), torch.rand(1, 8), None, {"model": "resnet18,resnet50"}), ["resnet18,resnet50"]),
        ((Net(), torch.rand(1, 8), None, {"isolation": "worker"}), ["isolation=worker is not allowed", "leave it out"]),
        ((Net(), torch.rand(1, 8), {"build_workers": [0, 2]}), ["build_workers=0 is not allowed", "leave it out"]),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, words):
    with pytest.raises(SweepError) as error:
        trt_sweep.run(*arguments, folder=tmp_path / "sweep")
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / "sweep" / "points").exists()


def test_importing_the_package_imports_no_torch():
    code = "import trt_sweep, sys; assert 'torch' not in sys.modules; trt_sweep.run; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_given_is_what_is_timed(tmp_path):
    """A layer of zeros is the user's own, and a constant input stays one."""
    net = Net()
    torch.nn.init.zeros_(net.fc.weight)
    seen: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    rows = trt_sweep.run(net, torch.ones(3, 8), None, QUICK | {"backend": "eager"}, tmp_path)
    assert rows["status"].tolist() == ["run_failed"]  # with zeros the output is the bias, whatever comes in
    assert seen and all(torch.allclose(x, torch.ones(3, 8), atol=1e-5) for x in seen)


def test_a_folder_may_be_used_again(tmp_path):
    for size in (3, 5):
        rows = trt_sweep.run(Net(), torch.rand(size, 8), {"backend": ["jit"]}, QUICK, tmp_path)
        assert set(rows["batch_size"]) == {size} and sorted(rows["backend"]) == ["eager", "jit"]
