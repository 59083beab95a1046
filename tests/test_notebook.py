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


class Gain(torch.nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lin, self.gain = torch.nn.Linear(8, 4), gain

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 3}

    def set_extra_state(self, state: object) -> None:
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(x) * self.gain


def test_modules_that_differ_in_a_plain_attribute_are_two_points(tmp_path):
    """And a state that is no tensor is no obstacle."""
    quick = QUICK | {"backend": "eager"}
    found = [trt_sweep.run(Gain(gain), torch.rand(3, 8), None, quick, tmp_path) for gain in (1.0, 2.0, 1.0)]
    first, second, again = (rows["point_id"].iloc[0] for rows in found)
    assert first == again != second and len(trt_sweep.load(tmp_path)) == 2


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
    assert alone["status"].tolist() == ["ok"] and alone["rel_l2_error"].iloc[0] == 0  # one number is one number


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
        ((Net(), [object()]), ["inputs hold a object", "give tensors, numbers"]),
        ((Net(), torch.rand(1, 8), {"optimization_level": 3}), ["axes['optimization_level']=3", "a list of values"]),
        ((Net(), torch.rand(1, 8), {"optimization_level": []}), ["axes['optimization_level']=[]", "a list of values"]),
        ((Net(), torch.rand(1, 8), {"optimization_level": [9]}), ["optimization_level=9", "0 to 5"]),
        ((Net(), torch.rand(1, 8), {"optimisation_level": [1]}), ["did you mean optimization_level"]),
        ((Net(), torch.rand(1, 8), {"backend": ["eager"]}, {"backend": "jit"}), ["backend stands in axes and in"]),
        ((Net(), torch.rand(1, 8), None, {"model": "resnet18"}), ["model is not allowed", "the one that is given"]),
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
    assert rows["status"].tolist() == ["ok"]
    # With zeros the output is the bias, whatever comes in.
    assert rows["model_notes"].iloc[0] == ["no output depends on the inputs: equality there proves little"]
    moved = [x for x in seen if not (x == 1).all()]
    assert len(seen) > 100 and len(moved) == 1  # one call with others, to see what depends on them


class Overflowing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 1) * 3e5 / 3e5


def test_an_output_that_is_not_finite_is_inaccurate_and_says_so(tmp_path):
    settings = QUICK | {"backend": "eager", "precision": "fp16"}
    rows = trt_sweep.run(Overflowing(), torch.rand(3, 8), None, settings, tmp_path)
    row = rows[rows["precision"] == "fp16"].iloc[0]
    assert (row["status"], row["finite"]) == ("inaccurate", False) and "is not finite" in row["reason"]
    assert (tmp_path / "points" / row["point_id"] / "outputs.json").exists()


class Bag(torch.nn.Module):
    """Its integers are valid together only."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = torch.nn.EmbeddingBag(50, 8)

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self.bag(ids, offsets)


def test_inputs_that_only_the_user_knows_to_make_are_taken_as_they_are(tmp_path):
    given = [torch.tensor([4, 9, 0, 49, 3]), torch.tensor([0, 2, 2])]
    rows = trt_sweep.run(Bag(), given, None, QUICK | {"backend": "eager"}, tmp_path)
    assert rows["status"].tolist() == ["ok"], rows["reason"].tolist()


def test_another_batch_is_made_of_the_samples_that_were_given(tmp_path):
    seen: list[torch.Tensor] = []
    net, x = Net(), torch.rand(3, 8)
    net.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    rows = trt_sweep.run(net, x, {"batch_size": [2, 5]}, QUICK | {"backend": "eager"}, tmp_path)
    sizes = {len(each): each for each in reversed(seen)}
    assert torch.equal(sizes[2], x[:2]) and torch.equal(sizes[5], x[[0, 1, 2, 0, 1]])
    assert rows["judged_samples"].tolist() == [3, 3]
    assert rows["model_notes"].tolist()[1] == ["a batch of 5 is made of the 3 samples that are given, over and over"]


def test_other_inputs_are_another_point(tmp_path):
    quick, net = QUICK | {"backend": "eager"}, Net()
    found = [trt_sweep.run(net, torch.full((3, 8), value), None, quick, tmp_path) for value in (1.0, 2.0)]
    assert found[0]["point_id"].iloc[0] != found[1]["point_id"].iloc[0]


def test_a_folder_may_be_used_again(tmp_path):
    for size in (3, 5):
        rows = trt_sweep.run(Net(), torch.rand(size, 8), {"backend": ["jit"]}, QUICK, tmp_path)
        assert set(rows["batch_size"]) == {size} and sorted(rows["backend"]) == ["eager", "jit"]


def test_a_notebook_shows_one_line_that_changes_and_a_line_a_point(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = "import torch, trt_sweep\n"
    code += f"rows = trt_sweep.run(torch.nn.Linear(8, 4), torch.rand(3, 8), {{'backend': ['eager', 'jit']}}, {QUICK})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [each["data"]["text/plain"] for each in notebook.cells[0].outputs if each.output_type == "display_data"]
    assert sum("elapsed" in text for text in said) == 1  # where every phase has been
    assert sum("ok" in text and "Linear" in text for text in said) == 2
