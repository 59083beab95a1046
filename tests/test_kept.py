"""Which layers must stay in FP32: groups one at a time, then the smallest set, and what is said where there is none."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import EXAMPLE, without_gpu
from test_mixed import fragile, point, transformer

from trt_sweep.analysis import kept, sensitivity
from trt_sweep.analysis.sensitivity import Damage, Timed
from trt_sweep.app import sensitivity as app
from trt_sweep.errors import SweepError
from trt_sweep.models.model import Inputs, Model
from trt_sweep.points import plan
from trt_sweep.results.console import Console

FRAGILE = ["--config-dir", str(EXAMPLE), "model=fragile_transformer", "precision=fp16", "backend=eager"]


def searched(model: Model, config, limit: float) -> tuple[kept.Search, kept.Layers]:
    (effective,) = plan.effective(config)
    return kept.Search(model, effective, kept.by_error(limit)), kept.Layers(model)


def detector() -> Model:
    torch.manual_seed(0)
    return Model(fragile.Detector().eval(), Inputs((torch.randn(1, 3, 32, 32),), {}))


def test_groups_by_name_and_by_kind():
    layers = kept.Layers(transformer([]))
    found = kept.groups(layers, 2, [])
    assert found["blocks.1"] == ["blocks.1"] and found["head"] == ["head"]
    assert len(found["norms (by kind)"]) == 7 and found["first (by kind)"] == ["embed"]
    assert found["softmax (by kind)"] == [f"blocks.{number}.attention" for number in range(3)]
    assert kept.groups(layers, 3, [])["blocks.0.mlp"] == ["blocks.0.mlp"]
    assert kept.groups(layers, 2, ["*.norm1"]) == {"*.norm1": [f"blocks.{number}.norm1" for number in range(3)]}
    with pytest.raises(SweepError, match=r"--groups=nrom matches no module: there are norm"):
        kept.groups(layers, 2, ["nrom"])


def test_a_function_is_kept_with_the_module_that_calls_it():
    class Attends(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

        def forward(self, x):
            x = self.inner(x)
            return self.out(torch.nn.functional.scaled_dot_product_attention(x, x, x))

    net = torch.nn.Sequential(Attends(), torch.nn.Linear(8, 8)).eval()
    found = kept.groups(kept.Layers(Model(net, Inputs((torch.randn(2, 3, 8),), {}))), 1, [])
    assert found["softmax (by kind)"] == ["0"] and found["0"] == ["0"]


def test_a_setting_names_these_modules_and_no_other():
    module = fragile.Transformer()
    norms = [f"blocks.{number}.norm{which}" for number in range(3) for which in (1, 2)]
    assert kept.written(module, norms) == ["blocks.*.norm*"]
    assert kept.written(module, [*norms[2:], "head"]) == [*norms[2:], "head"]
    assert kept.written(module, ["blocks.0.norm1", "blocks.1.norm1", "blocks.2.norm1"]) == norms[::2]
    assert kept.written(module, ["blocks.1"]) == ["blocks.1"]


def test_the_smallest_set_of_a_transformer_is_its_norms_behind_the_outlier():
    search, layers = searched(transformer([]), point(batch_size=2), 1e-3)
    found = search.smallest(layers)
    assert set(found) <= {name for name in layers.single if "norm" in name} and "norm" in found
    assert search.run("", found).rel_l2_error <= 1e-3
    for name in found:  # none can be left out
        assert search.run("", [other for other in found if other != name]).rel_l2_error > 1e-3


def test_the_smallest_set_of_a_detector_is_its_boxes():
    search, layers = searched(detector(), point("fragile.Detector"), 1e-3)
    assert search.run("none", []).rel_l2_error == float("inf")
    assert search.smallest(layers) == ["boxes"]
    assert search.own_error("boxes") > 1 and 0 < search.own_error("head") < 1e-3


def test_nothing_is_kept_where_nothing_need_be():
    search, layers = searched(transformer(["*norm*"]), point(keep_fp32=["*norm*"]), 1e-2)
    assert search.smallest(layers) == []


def test_a_limit_that_every_module_in_fp32_misses():
    search, layers = searched(detector(), point("fragile.Detector"), 1e-7)
    with pytest.raises(SweepError, match=r"not even every module in FP32 keeps the limit: .* is 0\.000\d+, since"):
        search.smallest(layers)


def test_what_is_needed_no_longer_once_others_are_out_is_left_out_too(monkeypatch):
    """Errors may cancel: the first can go only when the last has gone."""
    search, layers = searched(transformer([]), point(batch_size=2), 1e-3)
    names = layers.inside("")
    first, last = names[0], names[-1]
    monkeypatch.setattr(search, "own_error", names.index)
    monkeypatch.setattr(search, "_good", lambda tried: names[2] in tried and (first in tried or last not in tried))
    assert search._thinned(names) == [names[2]]


def test_a_model_of_one_layer():
    model = Model(torch.nn.Sequential(torch.nn.Linear(4, 4)).eval(), Inputs((torch.randn(1, 4),), {}))
    with pytest.raises(SweepError, match="the model has one layer"):
        kept.groups(kept.Layers(model), 2, [])


@without_gpu
def test_the_command(capfd):
    assert app.main([*FRAGILE, "batch_size=2", "--max-error=0.1%"]) == 0
    out = capfd.readouterr().out
    rows = {line[1:18].strip(): line.split() for line in out.splitlines()}
    assert float(rows["none"][2]) > 0.5 and float(rows["smallest set"][-2]) <= 1e-3
    assert float(rows["norms (by kind)"][-2]) <= 1e-3
    assert "first wrong: blocks.1.norm1 (Norm) overflows in fp16" in out and "was not timed" in out
    setting = re.search(r"'keep_fp32=\[(.*)\]'", out)
    assert setting is not None
    # The setting that is to be pasted does what is said of it.
    capfd.readouterr()
    assert app.main([*FRAGILE, "batch_size=2", "--max-error=1e-3", f"keep_fp32=[{setting[1]}]"]) == 0
    assert "smallest set for an error of at most 0.001: none, fp16 keeps it" in capfd.readouterr().out


@without_gpu
def test_by_what_the_users_function_says(capfd):
    digits = ["--config-dir", str(EXAMPLE), "model=digits_transformer", "precision=autocast_bf16", "backend=eager"]
    evaluate = "+accuracy.evaluate._target_=digits.top1"
    assert app.main([*digits, evaluate, "--max-change=0.5", "--groups=head,norm"]) == 0
    out = capfd.readouterr().out
    assert "evaluation" in out and re.search(r"smallest set for accuracy.evaluate within 0.5 of 0\.\d+: none", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*FRAGILE, "precision=fp32"], "precision=fp32 keeps every layer in FP32: use fp16, bf16 or autocast_fp16"),
        ([*FRAGILE, "--max-change=0.1"], "--max-change needs a function of yours: +accuracy.evaluate._target_="),
        ([*FRAGILE, "--max-error=much"], "argument --max-error: much is no number above 0"),
        ([*FRAGILE, "--max-error=1e-7"], "not even every module in FP32 keeps the limit"),
        ([*FRAGILE, "keep_fp32=[nrom]"], "keep_fp32=nrom matches no module: there are norm"),
    ],
)
def test_mistakes_are_one_line(capfd, arguments, said):
    assert app.main(arguments) == (2 if said.startswith("argument ") else 1)
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and said in last


def test_a_cost_has_its_interval(capfd):
    measured = [Damage("none", 0, 0.5), Damage("norms", 7, 1e-4, timed=Timed(-0.02, -0.03, -0.01, 2e-4))]
    app._show(app.Found(measured, point(), ["said"]), Console(width=120))
    out = capfd.readouterr().out
    assert "costs ms" in out and "0.02 [0.01, 0.03]" in out and "2.0e-04" in out and "was not timed" not in out


def test_the_change_of_the_engines_of_two_records():
    common = dict.fromkeys(
        ("rounds", "builds", "gpu_ms_between_rounds", "gpu_ms_between_builds", "latency_ms_visits"), None
    ) | {"status": "ok", "finite": True, "gpu_ms_method": "graph", "gpu_ms_captures": 5, "rel_l2_error": 1e-3}
    base = common | {"gpu_ms": 1.0, "gpu_ms_between_captures": 0.001}
    slower = common | {"gpu_ms": 1.1, "gpu_ms_between_captures": 0.001}
    found = sensitivity._timed(base, slower)
    assert found.gain_ms == pytest.approx(-0.1) and found.low < found.gain_ms < found.high < 0
    assert sensitivity._timed(base, slower | {"gpu_ms_method": "queued"}).gain_ms is None
