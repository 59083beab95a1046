"""Give `trt_sweep.run` what people have: each works or is one line, and none ends in a traceback."""

from __future__ import annotations

import collections
import io
import threading

import numpy as np
import pytest
import torch

import trt_sweep
from trt_sweep.app import notebook
from trt_sweep.errors import SweepError

QUICK = {"measure.max_s": 0.1, "measure.warmup_s": 0.0, "measure.visits": 6, "device": "cpu", "backend": "eager"}
X = torch.rand(3, 8)


class Net(torch.nn.Module):
    def __init__(self, **attributes: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(8, 4)
        self.__dict__.update(attributes)

    def forward(self, x: torch.Tensor, *, ids: torch.Tensor | None = None) -> torch.Tensor:
        y = self.fc(x.real.float() if x.dtype in (torch.complex64, torch.float8_e4m3fn) else x)
        return y if ids is None else y * ids[:, None].to(y.dtype)


class Sparse(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.eye(8).to_sparse())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(self.table, x.t()).t()


def scripted() -> torch.nn.Module:
    return torch.jit.trace(torch.nn.Linear(8, 4).eval(), X)


def loaded() -> torch.nn.Module:
    file = io.BytesIO()
    torch.jit.save(scripted(), file)
    file.seek(0)
    return torch.jit.load(file)


def quantized() -> torch.nn.Module:
    net = torch.nn.Sequential(torch.nn.Linear(8, 4))
    return torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, torch.qint8)


def run(tmp_path, module, inputs=X, axes=None, settings=None, **others):
    return trt_sweep.run(module, inputs, axes, QUICK | (settings or {}), tmp_path, **others)


@pytest.mark.parametrize(
    "make", [scripted, loaded, Sparse, quantized, lambda: torch.nn.LazyLinear(3), lambda: Net(lock=threading.Lock())]
)
def test_modules_of_every_kind_run(tmp_path, make):
    rows = run(tmp_path, make())
    assert rows["status"].tolist() == ["ok"], rows["reason"].tolist()


@pytest.mark.parametrize(
    "inputs",
    [
        X.to(torch.complex64),
        X.numpy(),
        {"x": X, "ids": torch.full((3,), 2**60)},
        X.to(torch.float8_e4m3fn),
        [X],
        collections.UserDict({"x": X, "ids": torch.tensor([1, 2, 3])}),  # as transformers' BatchEncoding is one
        (X * float("inf"),),
    ],
)
def test_inputs_of_every_kind_are_a_row(tmp_path, inputs):
    rows = run(tmp_path, Net(), inputs)
    assert len(rows) == 1 and rows["status"].iloc[0] in ("ok", "run_failed")


def test_positional_and_keyword_inputs_together(tmp_path):
    rows = run(tmp_path, Net(), X, kwargs={"ids": torch.tensor([1, 2, 3])})
    assert rows["status"].tolist() == ["ok"] and rows["input_shapes"].tolist() == ["3x8 3"]


def test_settings_are_what_python_has(tmp_path):
    axes = {"batch_size": np.array([2, 3]), "precision": [torch.float32, torch.bfloat16]}
    settings = {"measure.visits": np.int64(6), "cache_snapshot": None, "model.name": "mine", "baselines": False}
    rows = run(tmp_path, Net(), X, axes, settings)
    assert rows["batch_size"].tolist() == [2, 2, 3, 3] and rows["precision"].tolist() == ["fp32", "bf16"] * 2
    assert set(rows["model"]) == {"mine"} and (rows["status"] == "ok").all()


def test_functions_and_dicts_are_settings(tmp_path):
    def score(model, device):
        return float(model(X.to(device)).mean())

    rows = run(tmp_path, Net(), X, None, {"accuracy.evaluate": score})
    with torch.no_grad():
        assert rows["evaluation"].iloc[0] == pytest.approx(float(Net()(X).mean()), abs=1e-6)
    assert "score" in rows["evaluation_name"].iloc[0]
    named = run(tmp_path, Net(), X, None, {"accuracy.evaluate": {"_target_": f"{__name__}.constant", "value": 3}})
    assert named["evaluation"].tolist() == [3.0]


def constant(model, device, value):
    return value


class Scorer:
    def __init__(self, value: int) -> None:
        self.value = value

    def score(self, model, device) -> int:
        return self.value


def test_functions_that_differ_are_two_points(tmp_path):
    rows = run(tmp_path, Net(), X, {"accuracy.evaluate": [Scorer(1).score, Scorer(2).score]})
    assert rows["evaluation"].tolist() == [1.0, 2.0]


def key(module: torch.nn.Module, args=(X,), kwargs=None) -> str:
    """Return what a module with its call is known by."""
    return notebook._described(module, args, kwargs or {})[0].factory["key"]


def test_calls_that_differ_in_form_are_two_points(tmp_path):
    class Any(torch.nn.Module):
        def forward(self, *args, **kwargs):
            return torch.utils._pytree.tree_leaves((args, kwargs))[0] * 1

    made = Any()
    calls = [([[], X], {}), ([{}, X], {}), ([X], {"scale": 2}), ([X], {"shift": 2}), ([[X]], {}), ([(X,)], {})]
    assert len({key(made, args, kwargs) for args, kwargs in calls}) == len(calls)
    first, second = (run(tmp_path, made, args, kwargs=kwargs)["point_id"].tolist() for args, kwargs in calls[2:4])
    assert first != second


def test_modules_that_differ_in_anything_are_two_records(tmp_path):
    made = [
        Net(),
        Net(act=torch.relu),
        Net(act=torch.tanh),
        Net(table=np.arange(3)),
        Net(table=np.arange(4)),
        Net(how={"deep": {1, 2}}),
        Net(how={"deep": {1, 3}}),
        Net(rule=lambda x: x + 1),
        Net(rule=lambda x: x + 2),
        Net(lock=threading.Lock()),
        Net(lock=threading.Lock()),
        Net(rule=Scorer(1).score),
        Net(rule=Scorer(2).score),
        Net(parts=[torch.nn.LeakyReLU(0.1)]),
        Net(parts=[torch.nn.LeakyReLU(0.9)]),
        Net(rule=lambda x: [y + 1 for y in x]),
        Net(rule=lambda x: [y + 2 for y in x]),
    ]
    keys = [*map(key, made)]
    assert len(set(keys)) == len(made)
    assert key(Net(how={"deep": {1, 3}})) == keys[6]  # an equal one is the same
    for module in (*made[5:7], Net(how={"deep": {1, 3}})):
        run(tmp_path, module)
    assert len(trt_sweep.load(tmp_path)) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"module": torch.nn.Linear(8, 4, device="meta")}, ["meta device", "load its weights"]),
        ({"inputs": torch.rand(3, 8, device="meta")}, ["meta device"]),
        ({"inputs": torch.rand(0, 8)}, ["[0, 8] is not allowed", "at least 1"]),
        ({"settings": {"model.weights": "x.pt"}}, ["model.weights is not allowed", "load them into the module"]),
        ({"settings": {"model.inputs": []}}, ["model.inputs is not allowed", "give the inputs themselves"]),
        ({"axes": {"model": ["resnet18"]}}, ["model is not allowed", "the one that is given"]),
        ({"settings": {"measure.visits": object()}}, ["measure.visits is a object", "give a number"]),
        ({"inputs": {"x": X}, "kwargs": {"x": X}}, ["inputs and kwargs both have x"]),
        ({"inputs": {3: X}}, ["inputs[3]", "name inputs by text"]),
        ({"axes": {"batch_size": torch.tensor([1, 2])}}, ["axes['batch_size']", "a list of values"]),
        ({"axes": {"batch_size": {1: 2}}}, ["axes['batch_size']", "a list of values"]),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, words):
    given = {"module": Net(), **arguments}
    with pytest.raises(SweepError) as error:
        run(tmp_path, **given)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), error.value


class Large(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 3e4) / 3e4


def test_all_samples_are_judged_and_the_worst_is_named(tmp_path):
    """In FP16 the seventh of them overflows; the batch that is timed has the first two."""
    x = torch.ones(8, 4) + torch.rand(8, 4) / 4
    x[6] = 4
    kwargs = {"precision": "fp16", "batch_size": 2, "baselines": False}
    rows = run(tmp_path, Large(), x, None, kwargs)
    assert (rows["status"].iloc[0], rows["worst_sample"].iloc[0], rows["judged_samples"].iloc[0]) == (
        "inaccurate",
        6,
        8,
    )
    assert "not finite" in rows["reason"].iloc[0]
    x[6] = float("nan")
    broken = run(tmp_path / "nan", Large(), x, None, kwargs | {"precision": "fp32"})
    assert "of the FP32 reference is not a number" in broken["reason"].iloc[0]


class Counter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add_(1)
        return x * self.seen


def test_a_module_that_counts_is_judged_by_its_first_call(tmp_path):
    rows = run(tmp_path, Counter(), torch.rand(10, 4), None, {"batch_size": 4})
    assert rows["status"].tolist() == ["ok"] and rows["judged_samples"].tolist() == [4]


def test_samples_are_numbered_as_they_are_given(tmp_path):
    rows = run(tmp_path, Large(), torch.rand(10, 4), None, {"batch_size": 4})
    assert rows["judged_samples"].tolist() == [10] and rows["worst_sample"].iloc[0] < 10
    many = run(tmp_path, Large(), torch.rand(100, 4), None, {"batch_size": 1})
    assert many["judged_samples"].tolist() == [64]
    assert many["model_notes"].tolist() == [["of the 100 samples that are given the first 64 are judged"]]


def test_a_list_of_backends_in_settings_is_refused(tmp_path):
    with pytest.raises(SweepError, match=r"is a list, and a point has one backend"):
        run(tmp_path, Large(), torch.rand(2, 4), None, {"backend": ["eager", "jit"]})
