"""Models by name: each source builds a small one, with inputs of its own, and says clearly what it does not know."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import EXAMPLE
from source_models import CPU, build, finite, point, refused, settings

from trt_sweep.config import compose
from trt_sweep.errors import SweepError
from trt_sweep.models import factory, reproduction
from trt_sweep.models.sources import ultralytics as ultralytics_source
from trt_sweep.points import plan

SOURCES = ("timm", "transformers", "diffusers", "ultralytics")
BERT = ("num_hidden_layers=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=8", "vocab_size=50")
BLOCKS = "[DownBlock2D,CrossAttnDownBlock2D]", "[CrossAttnUpBlock2D,UpBlock2D]"


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture
def diffusers():
    return pytest.importorskip("diffusers")


def test_lines_to_paste_build_the_same_model_without_trt_sweep(timm, transformers):
    chosen = [("timm", "resnet10t", ()), ("transformers", "BertModel", settings(*BERT))]
    for group, name, overrides in chosen:
        config = point(group, name, "model.seed=3", *overrides)
        axes = plan.axes(config) | {"base_precision": None}
        lines = reproduction.lines(json.loads(json.dumps(config.to_dict())), axes, "cpu")
        assert not any("trt_sweep" in line for line in lines) and "# random weights" in "\n".join(lines)
        made: dict[str, Any] = {"torch": torch}
        exec("\n".join(lines), made)
        expected = factory.build(config, CPU)
        state = made["model"].state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.module.state_dict().items())
        assert made.get("kwargs", {}).keys() == expected.inputs.kwargs.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_package_names_its_extra(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)  # as Python has it for what must not be imported
    monkeypatch.setattr(ultralytics_source, "_files", ultralytics_source._files.__wrapped__)  # not what it has read
    said = refused(name, "anything")
    assert said == f"model={name} needs the package {name}: pip install -e '.[{name}]'"


def test_inputs_that_nobody_knows():
    with pytest.raises(
        SweepError, match=r"^model\.inputs=null is not allowed: nothing says what torch\.nn\.ReLU takes"
    ):
        point("transformer_mlp", "m", "model.factory._target_=torch.nn.ReLU", "model.inputs=null")


def test_given_inputs_are_kept(timm):
    config = point("timm", "convnext_atto", "model.inputs=[{shape:[3,64,32]}]")
    assert [item.shape for item in config.model.inputs] == [[3, 64, 32]]


def test_timm(timm):
    _, outputs = build("timm", "resnet10t", "model.factory.image_size=64", "+model.factory.num_classes=7")
    assert outputs == {"output": (2, 7)}
    config = point("timm", "inception_v3")
    assert [item.shape for item in config.model.inputs] == [[3, 299, 299]]
    assert config.model.factory == {"_target_": "timm.create_model", "model_name": "inception_v3"}
    assert point("timm", "vit_tiny_patch16_224", "+model.factory.img_size=96").model.inputs[0].shape == [3, 96, 96]
    named = point("timm", "resnet10t", "+model.factory.num_classes=7", "+model.factory.layers=[1,1,1,2]")
    assert named.model.name == "resnet10t"
    assert plan.axes(named)["factory"] == "layers=[1, 1, 1, 2] model_name=resnet10t num_classes=7"
    assert point("timm", "mine", "model.factory.name=resnet10t").model.name == "mine"


def test_timm_does_not_know_the_name(timm):
    assert refused("timm", "convnext_tinny").startswith(
        "model.name=convnext_tinny is not a model of timm: did you mean"
    )
    assert "convnext_tiny" in refused("timm", "convnext_tinny")
    assert refused("timm", "qqqqqq").endswith("timm.list_models() lists them")


def test_a_folder_of_timm(timm, tmp_path):
    pytest.importorskip("safetensors")
    saved = timm.create_model("resnet10t", num_classes=3).eval()
    timm.models.save_for_hf(saved, tmp_path / "saved", model_args={"num_classes": 3}, safe_serialization=True)
    model, outputs = build("timm", str(tmp_path / "saved"), "model.factory.image_size=64")
    assert outputs == {"output": (2, 3)}
    assert torch.equal(model.module.fc.weight, saved.fc.weight)
    (tmp_path / "empty").mkdir()
    assert "holds no model of timm" in refused("timm", str(tmp_path / "empty"))


def test_bert(transformers):
    model, outputs = build("transformers", "BertModel", *settings(*BERT))
    assert outputs == {"last_hidden_state": (2, 128, 16), "pooler_output": (2, 16)}
    ids, mask = model.inputs.kwargs["input_ids"], model.inputs.kwargs["attention_mask"]
    assert (ids.min() >= 0, ids.max() < 50, mask.all()) == (True, True, True)
    torch.export.export(model.module, (), model.inputs.kwargs)


@pytest.mark.parametrize("name", ["BertConfig", "BertModel"])
def test_a_task_chooses_the_head(transformers, name):
    tiny = (*settings(*BERT, "num_labels=5"), "model.factory.sequence_length=9")
    model, outputs = build("transformers", name, "model.factory.task=sequence-classification", *tiny)
    assert outputs == {"logits": (2, 5)}
    assert type(model.module).__name__ == "BertForSequenceClassification"
    said = refused("transformers", name, "model.factory.task=chess")
    assert said.startswith("model.factory.task=chess is not allowed: use one of ") and "masked-lm" in said


def test_settings_of_a_configuration_can_be_swept(transformers):
    found = []
    for value in ("sdpa", "eager"):
        found.append(point("transformers", "BertModel", *settings(*BERT, f"attn_implementation={value}")))
        assert factory.build(found[-1], CPU).module.config._attn_implementation == value
        assert f"config.attn_implementation={value}" in plan.axes(found[-1])["factory"]
    assert len({each.point_id for each in found}) == 2 and {each.model.name for each in found} == {"BertModel"}
    assert len({plan.axes(each)["task_id"] for each in found}) == 1  # so that they are ranked


def test_images_and_text(transformers):
    small = "{hidden_size:16,intermediate_size:8,num_hidden_layers:1,num_attention_heads:2"
    vision = f"vision_config={small},image_size:32,patch_size:16}}"
    model, outputs = build("transformers", "CLIPModel", *settings(f"text_config={small}}}", vision))
    assert model.inputs.kwargs["input_ids"].shape == (2, 77)
    assert model.inputs.kwargs["pixel_values"].shape == (2, 3, 32, 32)
    assert outputs["logits_per_image"] == (2, 2)


def test_sound(transformers):
    small = settings("d_model=16", "encoder_layers=1", "encoder_attention_heads=2", "encoder_ffn_dim=8")
    model, outputs = build("transformers", "WhisperEncoder", *small)
    assert model.inputs.kwargs["input_features"].shape == (2, 80, 3000)
    assert outputs == {"last_hidden_state": (2, 1500, 16)}
    small = ("num_hidden_layers=1", "hidden_size=16", "num_attention_heads=2", "intermediate_size=8", "vocab_size=9")
    convolutions = ("conv_dim=[8,8]", "conv_stride=[5,4]", "conv_kernel=[10,4]", "num_conv_pos_embeddings=4")
    model, outputs = build(
        "transformers",
        "Wav2Vec2ForCTC",
        *settings(*small, *convolutions, "num_conv_pos_embedding_groups=2"),
        "model.factory.audio_length=800",
    )
    assert model.inputs.kwargs == {"input_values": model.inputs.kwargs["input_values"]}
    assert model.inputs.kwargs["input_values"].shape == (2, 800)
    assert outputs == {"logits": (2, 39, 9)}


def test_text_is_written_without_a_cache(transformers):
    small = settings("n_layer=1", "n_embd=16", "n_head=2", "vocab_size=50")
    model, outputs = build("transformers", "GPT2LMHeadModel", *small, "model.factory.sequence_length=7")
    assert outputs == {"logits": (2, 7, 50)} and model.module.config.use_cache is False
    small = settings("num_layers=1", "d_model=16", "num_heads=2", "d_ff=8", "vocab_size=50", "d_kv=8")
    model, outputs = build("transformers", "T5Model", *small)
    assert list(model.inputs.kwargs) == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert outputs == {"last_hidden_state": (2, 128, 16), "encoder_last_hidden_state": (2, 128, 16)}


def test_a_folder_of_transformers(transformers, tmp_path):
    small = dict(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=8, vocab_size=50)
    saved = transformers.BertForMaskedLM(transformers.BertConfig(**small)).eval()
    saved.save_pretrained(tmp_path / "saved")
    model, outputs = build("transformers", str(tmp_path / "saved"))
    assert outputs == {"logits": (2, 128, 50)}
    state, expected = model.module.state_dict(), saved.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    headless, _ = build("transformers", str(tmp_path / "saved"), *settings("attn_implementation=eager"))
    assert headless.module.config._attn_implementation == "eager"
    (tmp_path / "empty").mkdir()
    assert "holds no model of transformers" in refused("transformers", str(tmp_path / "empty"))


def test_transformers_does_not_know_it(transformers):
    assert "did you mean BertModel" in refused("transformers", "BertModell")
    assert "use a class such as BertModel" in refused("transformers", "qqqqqq")
    for name in ("AutoModel", "pipeline", "PreTrainedModel"):  # of transformers, and no model
        assert "is not a model" in refused("transformers", name)
    said = refused("transformers", "BertModel", *settings("num_hidden_layer=3"))
    assert said.startswith(
        "model.factory.config.num_hidden_layer is not a setting of BertConfig: use num_hidden_layers"
    )
    assert "model.factory.config is not allowed" in refused("transformers", "BertModel", *settings("hidden_size=[1]"))
    said = refused("transformers", "BertModel", "model.factory.sequence_length=513")
    assert said == "model.factory.sequence_length=513 is not allowed: use at most 512, the positions that the model has"
    said = refused("transformers", "BertModel", "+model.factory.sequence_lenght=3")
    assert said.startswith("model.factory.sequence_lenght is not a setting of transformers: use sequence_length")
    said = refused("transformers", "BertModel", "model.factory.sequence_length=long")
    assert said.startswith("model.factory does not describe a model (TypeError")
    said = refused("transformers", "TimeSeriesTransformerModel", *settings("prediction_length=4"))
    assert "nothing is known here of input_ids that CanineModel" in refused("transformers", "CanineModel")
    assert "nothing is known here of past_values" in said and "give them, as in model.inputs=" in said


def test_a_unet(diffusers):
    down, up = BLOCKS
    small = ("block_out_channels=[8,16]", "norm_num_groups=4", "cross_attention_dim=12", "attention_head_dim=4")
    more = ("layers_per_block=1", f"down_block_types={down}", f"up_block_types={up}")
    model, outputs = build("diffusers", "UNet2DConditionModel", *settings(*small, *more), "model.factory.sample_size=8")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.inputs.kwargs.items()}
    assert shapes == {"sample": (2, 4, 8, 8), "timestep": (2,), "encoder_hidden_states": (2, 77, 12)}
    assert outputs == {"sample": (2, 4, 8, 8)}
    said = refused("diffusers", "UNet2DConditionModel", *settings("addition_embed_type=text_image"))
    assert "nothing is known here of added_cond_kwargs with addition_embed_type=text_image" in said


def test_the_unet_of_stable_diffusion_xl_takes_a_dict(diffusers):
    down, up = BLOCKS
    small = ("block_out_channels=[8,16]", "norm_num_groups=4", "cross_attention_dim=12", "attention_head_dim=4")
    more = ("layers_per_block=1", f"down_block_types={down}", f"up_block_types={up}", "addition_embed_type=text_time")
    added = ("addition_time_embed_dim=4", "projection_class_embeddings_input_dim=30")
    config = point("diffusers", "UNet2DConditionModel", *settings(*small, *more, *added), "model.factory.sample_size=8")
    model = factory.build(config, CPU)
    assert {"added_cond_kwargs.text_embeds", "added_cond_kwargs.time_ids"} < {*model.module.structure.names()}
    with torch.no_grad():
        assert model()["sample"].shape[1:] == (4, 8, 8)


def test_an_autoencoder_and_its_decoder(diffusers, tmp_path):
    small = ("block_out_channels=[4,8]", "norm_num_groups=4")
    blocks = ("down_block_types=[DownEncoderBlock2D,DownEncoderBlock2D]",)
    blocks += ("up_block_types=[UpDecoderBlock2D,UpDecoderBlock2D]",)
    model, outputs = build("diffusers", "AutoencoderKL", *settings(*small, *blocks))
    assert outputs == {"sample": (2, 3, 32, 32)}
    model, outputs = build("diffusers", "AutoencoderKL", *settings(*small, *blocks), "model.factory.part=decoder")
    assert model.inputs.kwargs["z"].shape == (2, 4, 16, 16)
    assert outputs == {"sample": (2, 3, 32, 32)}
    model.module.autoencoder.save_pretrained(tmp_path / "saved")
    saved, outputs = build("diffusers", str(tmp_path / "saved"), "model.factory.part=decoder")
    state, expected = saved.module.state_dict(), model.module.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_diffusion_transformer(diffusers):
    small = ("num_attention_heads=2", "attention_head_dim=4", "num_layers=1", "sample_size=8", "num_embeds_ada_norm=10")
    model, _ = build("diffusers", "DiTTransformer2DModel", *settings(*small, "norm_num_groups=4"))
    assert list(model.inputs.kwargs) == ["hidden_states", "timestep", "class_labels"]


def test_diffusers_does_not_know_it(diffusers, tmp_path):
    assert "did you mean UNet2DConditionModel" in refused("diffusers", "UNet2DConditonModel")
    assert "is not a network" in refused("diffusers", "DDPMScheduler")
    said = refused("diffusers", "UNet2DModel", *settings("layer_per_block=1"))
    assert "model.factory.config.layer_per_block is not a setting of UNet2DModel: use layers_per_block" in said
    assert "decoder, of an autoencoder" in refused("diffusers", "UNet2DModel", "model.factory.part=decoder")
    (tmp_path / "model_index.json").write_text("{}")
    assert "name one network of the pipeline, as in FOLDER/unet" in refused("diffusers", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "Nothing"}))
    assert "model.name=Nothing is not a network" in refused("diffusers", str(tmp_path))


def test_the_page_of_models_names_models_that_there_are():
    """Resolve each line of docs/models.md whose source is installed."""
    page = (Path(__file__).parents[1] / "docs/models.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| [^|]+ \| `(model=[^`]+)`", page, re.MULTILINE)
    assert len(lines) > 20
    for line in lines:
        source = line.split()[0].removeprefix("model=").split("_")[0]
        package = {"sd": "diffusers"}.get(source, source)
        if package not in SOURCES or importlib.util.find_spec(package) is not None:
            found = compose.composed([*line.split(), "backend=eager"], EXAMPLE)
            (effective,) = plan.effective(found.point)
            assert effective.model.inputs, line


@pytest.mark.parametrize("name", ["super_resolution", "tagger", "recommender"])
def test_the_small_models_of_that_page(name):
    found = compose.composed([f"model={name}", "backend=eager", "batch_size=2"], EXAMPLE)
    (effective,) = plan.effective(found.point)
    with torch.no_grad():
        assert [len(tensor) for tensor in finite(factory.build(effective, CPU)()).values()] == [2]
