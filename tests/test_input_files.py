"""Inputs that a user has: from files and functions, with their shapes and types, and mistakes in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import write_png

from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError
from trt_sweep.models import factory, input_files
from trt_sweep.models.inputs import example_inputs, samples_given
from trt_sweep.points.plan import effective

CPU = torch.device("cpu")
X = torch.arange(24, dtype=torch.float32).reshape(3, 8) / 7


def config(*inputs: InputConfig, batch_size=2) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.Identity"}, inputs=[*inputs])
    return SweepConfig(model=model, backend="eager", device="cpu", batch_size=batch_size)


def ids(n: int, rows: int = 2) -> torch.Tensor:
    return torch.randint(0, 9, (rows, n))


def nothing() -> str:
    return "nothing"


@pytest.fixture
def files(tmp_path) -> Path:
    torch.save(X, tmp_path / "x.pt")
    torch.save({"a": X, "b": X.long(), "c": {"d": 1}}, tmp_path / "several.pt")
    np.save(tmp_path / "x.npy", X.double().numpy())
    np.savez(tmp_path / "x.npz", x=X.numpy(), ids=X.long().numpy())
    write_png((torch.arange(48).reshape(3, 4, 4) * 5).to(torch.uint8), str(tmp_path / "x.png"))
    (tmp_path / "x.txt").write_text("1 2 3")
    (tmp_path / "bad.pt").write_text("no tensor")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "key", "dtype", "shape"),
    [
        ("x.pt", None, "float", [8]),
        ("several.pt", "a", "float", [8]),
        ("several.pt", "b", "int64", [8]),
        ("x.npy", None, "float", [8]),  # in double precision, as numpy has it; the point decides
        ("x.npz", "ids", "int64", [8]),
    ],
)
def test_a_file_is_what_it_holds(files, file, key, dtype, shape):
    found = effective(config(InputConfig(file=str(files / file), key=key)))[0]
    (spec,) = found.model.inputs
    assert (spec.dtype, spec.shape) == (dtype, shape) and spec.digest is not None
    (tensor,) = example_inputs(found, CPU).args
    assert torch.equal(tensor, X[:2] if dtype == "float" else X[:2].long())


def test_safetensors(files):
    pytest.importorskip("safetensors.torch").save_file({"x": X}, str(files / "x.safetensors"))
    (tensor,) = example_inputs(config(InputConfig(file=str(files / "x.safetensors"))), CPU).args
    assert torch.equal(tensor, X[:2])


def test_an_image_is_one_sample(files):
    (pixels,) = example_inputs(config(InputConfig(file=str(files / "x.png"), dtype="uint8")), CPU).args
    assert pixels.shape == (2, 3, 4, 4) and pixels.dtype == torch.uint8 and torch.equal(pixels[0], pixels[1])
    (scaled,) = example_inputs(config(InputConfig(file=str(files / "x.png"))), CPU).args
    assert torch.equal(scaled, pixels / 255)


def test_samples_are_used_in_turn_and_over_again(files):
    spec = InputConfig(file=str(files / "x.pt"))
    large = config(spec, batch_size=5)
    assert torch.equal(example_inputs(large, CPU).args[0], X[[0, 1, 2, 0, 1]])
    assert torch.equal(example_inputs(config(spec), CPU, first=2).args[0], X[[2, 0]])
    assert samples_given(large) == samples_given(config(spec)) == 3
    assert samples_given(config(InputConfig(shape=[8]))) is None
    whole = config(dataclasses.replace(spec, batched=False))
    assert samples_given(whole) is None
    assert torch.equal(example_inputs(whole, CPU).args[0], X)


def test_one_sample_without_a_batch_dimension_is_a_batch_of_one(files):
    torch.save(X[0], files / "one.pt")
    (found,) = example_inputs(config(InputConfig(file=str(files / "one.pt"), shape=[8])), CPU).args
    assert torch.equal(found, X[[0, 0]])


def test_a_function_makes_the_same_each_time(files):
    spec = InputConfig(factory={"_target_": f"{__name__}.ids", "n": 6})
    found = effective(config(spec))[0]
    assert found.model.inputs[0].shape == [6] and found.model.inputs[0].dtype == "int64"
    assert torch.equal(example_inputs(found, CPU).args[0], example_inputs(config(spec), CPU).args[0])


def test_a_file_that_changes_is_another_point(files):
    spec = InputConfig(file=str(files / "x.pt"))
    before, again = (effective(config(spec))[0].point_id for _ in range(2))
    torch.save(X + 1, files / "x.pt")
    assert before == again != effective(config(spec))[0].point_id


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"file": "gone.pt"}, ["gone.pt is not a file", ".npz"]),
        ({"file": "x.txt"}, ["of no kind that can be read", ".safetensors"]),
        ({"file": "bad.pt"}, ["bad.pt cannot be read", "give one of .pt"]),
        ({"file": "several.pt"}, ["holds 3 tensors (a, b, c)", "model.inputs.key"]),
        ({"file": "several.pt", "key": "e"}, ["holds no tensor e", "may be a, b, c"]),
        ({"file": "several.pt", "key": "c"}, ["is a dict and no tensor"]),
        ({"file": "x.pt", "key": "a"}, ["holds one tensor", "leave key out"]),
        ({"file": "x.pt", "shape": [9]}, ["has shape [3, 8]", "asks for [batch, 9]", "change one"]),
        ({"file": "x.pt", "shape": [[4, 8, 16]]}, ["shape=[[4, 8, 16]] is not allowed", "has one size, [8]"]),
        ({"file": "x.pt", "dtype": "int64"}, ["is of float32", "dtype=int64"]),
        ({"factory": {"_target_": f"{__name__}.gone"}}, [f"factory={__name__}.gone cannot be called"]),
        ({"factory": {"_target_": f"{__name__}.nothing"}}, ["is a str and no tensor", "return a tensor"]),
    ],
)
def test_mistakes_are_one_line(files, given, words):
    given = {**given, **({"file": str(files / given["file"])} if "file" in given else {})}
    with pytest.raises(SweepError) as error:
        effective(config(InputConfig(**given)))
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), error.value


def test_an_empty_file_and_one_number(files):
    torch.save(X[:0], files / "empty.pt")
    torch.save(torch.tensor(3), files / "number.pt")
    for file, words in (("empty.pt", "holds no sample"), ("number.pt", "batched: false")):
        with pytest.raises(SweepError, match=words):
            effective(config(InputConfig(file=str(files / file))))
    found = effective(config(InputConfig(file=str(files / "number.pt"), batched=False)))[0]
    assert example_inputs(found, CPU).args[0] == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"file": "a", "factory": {"_target_": "b"}}, "model.inputs=file and factory is not allowed: use one of"),
        ({"file": "a", "low": 0.0, "high": 1.0}, "none beside file"),
        ({"value": 3, "shape": [3]}, "none beside value"),
        ({"items": [], "shape": [3]}, "none beside items"),
        ({"key": "a"}, "model.inputs.key=a is not allowed"),
        ({"factory": {"n": 3}}, "_target_"),
        ({"items": 3}, "a list or a dict of inputs"),
        ({"items": [{"shap": [3]}]}, "inputs with the settings shape, dtype"),
    ],
)
def test_what_an_input_may_not_be(values, said):
    with pytest.raises(SweepError) as error:
        InputConfig(**values)
    assert said in str(error.value)


def test_other_reads_of_a_file_are_of_its_present_content(files):
    spec = InputConfig(file=str(files / "x.pt"))
    assert torch.equal(input_files.read(spec, 0), X)
    torch.save(X[:, :4], files / "x.pt")
    assert input_files.read(spec, 0).shape == (3, 4)


def test_the_place_of_a_file_is_no_part_of_the_point(files):
    (files / "moved").mkdir()
    (files / "moved" / "y.pt").write_bytes((files / "x.pt").read_bytes())
    found = [effective(config(InputConfig(file=str(files / name))))[0] for name in ("x.pt", "moved/y.pt")]
    assert len({each.point_id for each in found}) == len({each.model_id for each in found}) == 1
    assert found[0].to_dict()["model"]["inputs"][0]["file"] == str(files / "x.pt")  # to be found again


def test_files_of_different_numbers_of_samples(files):
    torch.save(X[:2], files / "two.pt")
    torch.save(X[:1], files / "one.pt")
    three, two, one = (InputConfig(file=str(files / f"{name}.pt")) for name in ("x", "two", "one"))
    with pytest.raises(SweepError, match=r"different numbers of samples: .*x\.pt has 3 and .*two\.pt has 2"):
        effective(config(three, two))
    assert effective(config(three, one))


def test_a_file_follows_a_module_in_half(files):
    model = ModelConfig(
        name="m", factory={"_target_": f"{__name__}.half"}, inputs=[InputConfig(file=str(files / "x.pt"))]
    )
    half_config = SweepConfig(model=model, backend="eager", device="cpu", precision="fp16", batch_size=2)
    model = factory.build(half_config, CPU).to(torch.float16)
    assert model().dtype == torch.float16


def half() -> torch.nn.Module:
    return torch.nn.Linear(8, 4).half()
