"""Modules that stay in FP32: what runs there in which type, what the graph shows, and what is said of mistakes."""

from __future__ import annotations

import dataclasses
import json
import sys
from itertools import pairwise

import pytest
import torch
from conftest import EXAMPLE, build_group, needs_tensorrt, without_gpu
from test_backends_reproduction import BLOCK, FEEDS, TINY, run, up_to_model
from test_backends_reproduction import point as pasted

sys.path.insert(0, str(EXAMPLE))
import fragile

from trt_sweep.backends import reproduction
from trt_sweep.backends.torchtrt import autocasting
from trt_sweep.config.groups import QuantizationConfig, TorchScriptConfig
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.options import SweepOptions
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, Unsupported
from trt_sweep.models import mixed, patterns, tracing
from trt_sweep.models.model import Inputs, Model, autocast
from trt_sweep.points import plan

CPU = torch.device("cpu")
NORMS = ["*.norm?", "norm"]


def transformer(keep: list[str]) -> Model:
    torch.manual_seed(0)
    module = fragile.Transformer().eval()
    return Model(module, Inputs((torch.randn(2, 8, 16),), {}), keep_fp32=frozenset(patterns.within(module, keep, "x")))


def point(net: str = "fragile.Transformer", **values) -> SweepConfig:
    shape = [8, 16] if net.endswith("Transformer") else [3, 32, 32]
    model = ModelConfig(name="m", factory={"_target_": net}, inputs=[InputConfig(shape=shape)])
    return SweepConfig(**{"model": model, "backend": "eager", "device": "cpu", "precision": "fp16", **values})


def rows(folder, *points: SweepConfig):
    found = []
    for config in points:
        (effective,) = plan.effective(config)
        with build_group([plan.point_of(effective, SweepOptions())], folder) as group:
            found += [run.start() for run in group.runs]
    return found


@torch.no_grad()
def test_a_model_that_fp16_breaks_is_mended_by_its_norms():
    model = transformer([])
    reference = model()
    for keep, low, high in (([], 0.5, 2), (NORMS, 1e-5, 1e-3), (["blocks.1.norm1"], 0.5, 2), (["*"], 1e-5, 1e-3)):
        found = transformer(keep).to(torch.float16)()
        assert found.dtype == torch.float16
        assert low < float((found.float() - reference).norm() / reference.norm()) < high
    assert all(tensor.dtype == torch.float32 for tensor in model.module.state_dict().values())


@torch.no_grad()
def test_what_is_kept_computes_in_fp32_with_the_weights_that_were_given():
    model = transformer(["blocks.1"])
    made, seen = model.to(torch.float16).module, dict[str, torch.dtype]()
    for name, part in made.named_modules():
        part.register_forward_hook(lambda _, args, output, name=name: seen.update({name: args[0].dtype}))
    made(*model.inputs.to(torch.float16).args)
    assert {name for name, dtype in seen.items() if dtype == torch.float32} == {
        name for name in seen if name.startswith("blocks.1")
    }
    assert torch.equal(made.blocks[1].mlp[0].weight, model.module.blocks[1].mlp[0].weight)
    assert made.blocks[0].mlp[0].weight.dtype == torch.float16


@torch.no_grad()
def test_recurrent_and_shared_weights():
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.lstm = torch.nn.Embedding(9, 8), torch.nn.LSTM(8, 8, batch_first=True)
            self.head = torch.nn.Linear(8, 9, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids):
            return self.head(self.lstm(self.table(ids))[0])

    model = Model(Tied().eval(), Inputs((torch.randint(9, (2, 5)),), {}))
    for keep in ({"lstm"}, {"head"}, {"table", "head"}):
        found = dataclasses.replace(model, keep_fp32=frozenset(keep)).to(torch.float16)()
        assert found.dtype == torch.float16 and torch.allclose(found.float(), model(), atol=1e-2)


def test_parts_of_an_attention_stand_for_all_of_it():
    module = fragile.Transformer()
    inside = ["blocks.0.attention.out_proj", "blocks.0.norm1", "blocks.1", "blocks.1.norm1"]
    assert mixed.outermost(module, inside) == ["blocks.0.norm1", "blocks.0.attention", "blocks.1"]
    with torch.no_grad():
        assert transformer(["*.out_proj"]).to(torch.float16)().dtype == torch.float16


def test_a_program_has_the_casts():
    model = transformer(NORMS).to(torch.float16)
    for program in (tracing.export(model).module(), tracing.torchscript(model, "trace")):
        with torch.no_grad():
            assert torch.allclose(program(*model.inputs.args), model(), atol=5e-3)
    nodes = tracing.export(model).graph.nodes
    types = {node.meta["val"].dtype for node in nodes if "pow" in node.name}
    assert types == {torch.float32}
    assert {node.meta["val"].dtype for node in nodes if "linear" in node.name} == {torch.float16}


@torch.no_grad()
def test_autocast_is_off_in_what_is_kept():
    model = transformer(["blocks.1"]).to(torch.float32)
    seen: list[tuple[str, torch.dtype]] = []
    for name in ("blocks.0", "blocks.1", "blocks.2"):
        part = model.module.get_submodule(name).mlp[0]
        part.register_forward_hook(lambda _, args, output, name=name: seen.append((name, output.dtype)))
    with autocast("autocast_bf16", CPU):
        model()
    assert [dtype for _, dtype in seen] == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_points_of_eager(tmp_path):
    broken, kept, auto = rows(
        tmp_path, point(), point(keep_fp32=NORMS), point(precision="autocast_bf16", keep_fp32=NORMS)
    )
    assert (kept.status, auto.status) == ("ok", "ok") and broken.rel_l2_error > 0.5
    assert kept.keep_fp32 == "*.norm? norm" and kept.rel_l2_error < 1e-3 < auto.rel_l2_error == auto.eager_rel_l2_error
    (boxes,) = rows(tmp_path, point("fragile.Detector", keep_fp32=["boxes"]))
    assert boxes.status == "ok" and boxes.rel_l2_error < 1e-3


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"keep_fp32": ["blocks.*.nrom1"]},
            "keep_fp32=blocks.*.nrom1 matches no module: there are blocks.2.norm1",
        ),
        ({"precision": "autocast_fp16", "backend": "jit"}, "precision=autocast_fp16: backend=jit has no autocast"),
    ],
)
def test_mistakes_are_one_line_of_the_row(tmp_path, values, reason):
    (record,) = rows(tmp_path, point(**values))
    assert record.status in ("unsupported", "build_failed", "run_failed") and reason in record.reason


@needs_tensorrt
@pytest.mark.parametrize("backend", ["jit", "torchscript"])
def test_what_cannot_be_scripted_is_unsupported_before_anything_is_made(tmp_path, backend):
    script = TorchScriptConfig(mode="script")
    (kept,) = rows(tmp_path, point(backend=backend, torchscript=script, keep_fp32=NORMS))
    assert (kept.status, kept.export_s, kept.phase) == (
        "unsupported",
        None,
        "model",
    ) and "use torchscript.mode=trace" in kept.reason
    others = [point(backend=backend, torchscript=script), point(torchscript=script, keep_fp32=NORMS)]
    assert "unsupported" not in [row.status for row in rows(tmp_path, *others)]  # eager scripts nothing


def test_keep_fp32_is_a_point_only_where_it_means_something():
    plain, kept = plan.effective(point(precision="fp32")), plan.effective(point(precision="fp32", keep_fp32=["a"]))
    assert plain == kept and "keep_fp32" not in plain[0].to_dict()
    made = plan.plan({0: point(keep_fp32=["a"]), 1: point(keep_fp32=["b"])}, SweepOptions())
    assert [(each.config.precision, each.config.keep_fp32) for each in made.points] == [
        *(("fp16", []), ("fp32", [])),
        *(("fp16", ["a"]), ("fp16", ["b"])),
    ]
    pytest.importorskip("modelopt")
    how = QuantizationConfig("modelopt_int8_default")
    with pytest.raises(SweepError, match=r"keep_fp32 is not allowed with precision=int8: .* quantization\.skip"):
        plan.effective(point(precision="int8", quantization=how, keep_fp32=["a"]))


def test_a_tolerance_of_its_own_and_digests_as_they_were():
    assert point().accuracy.rel_l2["autocast_bf16"] == 1e-1
    assert "autocast_fp16" not in point().to_dict()["accuracy"]["rel_l2"]
    strict = point()
    strict.accuracy.rel_l2["autocast_fp16"] = 1e-3
    assert strict.to_dict()["accuracy"]["rel_l2"]["autocast_fp16"] == 1e-3


@needs_tensorrt
@without_gpu
def test_torch_tensorrts_autocast(tmp_path):
    values = {"backend": "dynamo", "precision": "autocast_fp16", "min_block_size": 1, "device": "auto"}
    points = [point("fragile.Detector", **values, keep_fp32=keep, compile=more) for keep, more in MORE]
    found = rows(tmp_path, *points)
    assert [record.status for record in found] == ["dryrun"] * len(MORE)
    bare, kept, excluded, by_value, all_low = (record.ops_total for record in found)
    assert kept == excluded > bare and by_value != all_low == bare
    assert set(found[4].ignored_axes) <= {"disable_tf32"}  # by the version of TensorRT-RTX


MORE: list[tuple[list[str], dict]] = [
    ([], {}),
    (["body.3"], {}),
    ([], {"autocast_excluded_nodes": [r"body\.3$"]}),
    ([], {"autocast_max_output_threshold": 0.5}),
    ([], {"autocast_max_output_threshold": 1e9}),
]


@needs_tensorrt
@without_gpu
def test_autocast_refuses_in_one_line(tmp_path):
    values = {"backend": "dynamo", "precision": "autocast_fp16", "device": "auto"}
    for given, said in (
        (["bdoy"], "compile.autocast_excluded_nodes=bdoy matches no module: there are body"),
        (["("], "compile.autocast_excluded_nodes=( is no regular expression"),
    ):
        (record,) = rows(tmp_path, point("fragile.Detector", **values, compile={"autocast_excluded_nodes": given}))
        assert said in record.reason
    with pytest.raises(SweepError, match=r"enable_autocast is set by trt_sweep: use precision=autocast_fp16"):
        plan.effective(point(backend="dynamo", compile={"enable_autocast": True}))


def test_what_autocast_cannot_take_is_explained():
    with pytest.raises(Unsupported, match="returns several tensors"), autocasting.explained({"enable_autocast": True}):
        [].to()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError), autocasting.explained({}):
        [].to()  # type: ignore[attr-defined]


def test_names_stand_in_the_order_of_the_model():
    found = patterns.matching(fragile.Transformer(), ["norm", "blocks.1.norm?", "embed"], "x")
    assert found == ["embed", "blocks.1.norm1", "blocks.1.norm2", "norm"]
    assert all(one != other for one, other in pairwise(found))


KEPT = {"model": TINY | {"factory": BLOCK}, "batch_size": 2, "keep_fp32": ["0", "0.*"]}


@pytest.mark.parametrize(("backend", "dtype"), [("eager", torch.float16), ("jit", torch.float16)])
def test_what_stays_in_fp32_is_written_out(tmp_path, backend, dtype):
    row, folder = pasted(tmp_path, KEPT, backend=backend, precision="fp16", batch_size=2, keep_fp32="0 0.*")
    names = run(reproduction.source(row, folder))
    model = names["model"]
    assert [part.weight.dtype for part in (model[0], model[2])] == [torch.float32, dtype]
    assert names["output"].dtype == dtype
    torch.manual_seed(3)
    assert torch.equal(model[0].weight, torch.nn.Linear(8, 16).weight)  # not rounded


def test_autocast_is_written_out(tmp_path):
    values = {"precision": "autocast_bf16", "base_precision": "autocast_bf16", "batch_size": 2}
    row, folder = pasted(tmp_path, FEEDS, backend="eager", **values)
    assert run(reproduction.source(row, folder))["output"].dtype == torch.bfloat16
    row, folder = pasted(tmp_path, KEPT, backend="dynamo", **values, keep_fp32="0 0.*")
    saved = {"autocast_excluded_nodes": [r"0(\..*)?$"], "autocast_calibration_dataloader": "the inputs of the point"}
    (folder / "compile_arguments.json").write_text(json.dumps(saved))
    source = reproduction.source(row, folder)
    for argument in (
        "disable_tf32=True",
        "enable_autocast=True",
        "autocast_low_precision_type=torch.bfloat16",
        r"autocast_excluded_nodes=['0(\\..*)?$']",
        "autocast_calibration_dataloader=[args]",
    ):
        assert argument in source
    assert up_to_model(source)[0].weight.dtype == torch.float32
