"""Networks of Hugging Face's diffusers: `model=diffusers model.name=UNet2DConditionModel`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from trt_sweep.config.model import InputConfig
from trt_sweep.errors import SweepError, not_allowed, one_line
from trt_sweep.models.sources import Described, image, require_package, require_settings, unknown, whole

TOKENS = 77  # of the text that a picture is drawn to, as CLIP has it
SIZES = 6  # of the image as it was, its crop and its target, in height and width
PIXELS = 64  # of latents, where the configuration names no size
STEPS = 1000  # of the noise schedule


def describe(
    name: str,
    part: str | None = None,
    config: dict[str, Any] | None = None,
    sample_size: int | None = None,
    sequence_length: int = TOKENS,
) -> Described:
    """Describe a network by its class, with random weights, or by a folder that `save_pretrained` wrote, with its own.

    `part=decoder` is the decoder of an autoencoder. `config` holds settings of the network's class.
    """
    diffusers = require_package("diffusers")
    settings, folder = dict(config or {}), Path(name)
    class_name, saved = _saved(folder) if folder.is_dir() else (name, {})
    network = getattr(diffusers, class_name, None)
    if not (isinstance(network, type) and issubclass(network, torch.nn.Module) and hasattr(network, "load_config")):
        names = [each for each in dir(diffusers) if each.endswith("Model") or each.startswith("Autoencoder")]
        otherwise = "use a class such as UNet2DConditionModel, or a folder"
        raise unknown(class_name, "a network of diffusers", names, otherwise)
    parameters = inspect.signature(network).parameters
    require_settings(settings, parameters, "model.factory.config", class_name)
    values = {key: each.default for key, each in parameters.items()} | saved | settings
    call = {"_target_": f"diffusers.{class_name}", **settings}
    if folder.is_dir():
        place = {"pretrained_model_name_or_path": str(folder.absolute())}
        call = {"_target_": f"diffusers.{class_name}.from_pretrained", **place, **settings}
    if part is not None:
        if part != "decoder" or not hasattr(network, "decode"):
            raise SweepError(not_allowed("model.factory.part", part, f"decoder, of an autoencoder ({class_name})"))
        call = {"_target_": f"{__name__}.Decoder", "autoencoder": call}
    shown = name if part is None else f"{name}.{part}"
    return Described(shown, call, _inputs(network, values, part, sample_size, sequence_length))


def _saved(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the class and the settings of a network that was saved."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return config["_class_name"], {key: value for key, value in config.items() if not key.startswith("_")}
    except (OSError, ValueError, KeyError) as error:
        fix = "name one network of the pipeline, as in FOLDER/unet" if (folder / "model_index.json").exists() else ""
        text = f"model.name={folder} holds no network of diffusers: {fix or one_line(error, 200)}"
        raise SweepError(text) from error


class Decoder(torch.nn.Module):
    """Call the decoder of an autoencoder."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, z: torch.Tensor) -> Any:
        return self.autoencoder.decode(z)


def _inputs(
    network: Any, values: dict[str, Any], part: str | None, size: int | None, sequence_length: int
) -> list[InputConfig] | str:
    """Return the inputs that the forward of a network takes; a sentence where one is not known here."""
    size = size or values.get("sample_size") or PIXELS
    if part is not None:
        # Each block but the last halves the height and the width.
        return [image(values["latent_channels"], size // 2 ** (len(values["block_out_channels"]) - 1), "z")]
    added = values.get("addition_embed_type")
    if added not in (None, "text_time"):
        return f"nothing is known here of added_cond_kwargs with addition_embed_type={added}"
    parameters = {name: each for name, each in inspect.signature(network.forward).parameters.items() if name != "self"}
    known = {name: _input(name, values, size, sequence_length) for name in parameters}
    missing = [name for name, each in parameters.items() if each.default is each.empty and known[name] is None]
    if missing:
        return f"nothing is known here of the {' and '.join(missing)} that {network.__name__} takes"
    return [item for item in known.values() if item is not None] + ([_text_and_sizes(values)] if added else [])


def _text_and_sizes(values: dict[str, Any]) -> InputConfig:
    """Return what the UNet of Stable Diffusion XL takes beside its text: all of that in one vector, and six sizes."""
    width = values["projection_class_embeddings_input_dim"] - SIZES * values["addition_time_embed_dim"]
    vector, sizes = InputConfig(shape=[width]), InputConfig(shape=[SIZES], low=0, high=1024)
    return InputConfig(name="added_cond_kwargs", items={"text_embeds": vector, "time_ids": sizes})


def _input(name: str, values: dict[str, Any], size: Any, sequence_length: int) -> InputConfig | None:
    """Return one input by its name; None where a network of these settings takes none, or it is not known here."""
    width = values.get("joint_attention_dim") or values.get("cross_attention_dim")
    pooled = values.get("pooled_projection_dim")
    classes = values.get("num_class_embeds") or values.get("num_embeds_ada_norm")
    if name == "sample" or (name == "hidden_states" and values.get("sample_size")):
        return image(values.get("in_channels", 3), size, name)
    if name == "controlnet_cond" and isinstance(size, int):
        return image(values.get("conditioning_channels", 3), 8 * size, name)
    if name == "timestep":
        return whole([], STEPS, name)
    if name == "encoder_hidden_states" and isinstance(width, int):
        return InputConfig(shape=[sequence_length, width], name=name)
    if name == "pooled_projections" and pooled:
        return InputConfig(shape=[pooled], name=name)
    return whole([], classes, name) if name == "class_labels" and classes else None
