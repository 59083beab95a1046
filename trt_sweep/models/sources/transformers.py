"""Models of Hugging Face's transformers: `model=transformers model.name=BertModel`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from trt_sweep.config.model import InputConfig
from trt_sweep.errors import SweepError, not_allowed, one_line
from trt_sweep.models.sources import (
    Described,
    image,
    require_package,
    require_settings,
    unknown,
    whole,
)

TOKENS = 128  # of a text, where its model takes more
SAMPLES = 16000  # one second of sound, as most models of raw sound are trained on
FRAMES = 128  # of a spectrogram, where the configuration names no number
PIXELS = 224  # height and width, where the configuration names none
# Settings that every configuration takes, though its fields do not show them.
COMMON = ("attn_implementation", "num_labels", "output_attentions", "output_hidden_states", "return_dict", "use_cache")


def describe(
    name: str,
    task: str | None = None,
    config: dict[str, Any] | None = None,
    *,
    sequence_length: int | None = None,
    image_size: int | list[int] | None = None,
    audio_length: int | None = None,
) -> Described:
    """Describe a model by its class or that of its configuration, with random weights.

    A folder that `save_pretrained` wrote, or OWNER/NAME of the Hub, comes with its weights. `task` chooses the head:
    sequence-classification stands for `AutoModelForSequenceClassification`. `config` holds settings of the
    configuration. `audio_length` is in samples, or in frames for models of spectrograms. No model caches keys and
    values between calls.
    """
    require_package("transformers")
    settings, saved = dict(config or {}), Path(name).is_dir() or "/" in name
    model_class, found = _saved(name, settings) if saved else _by_class(name, settings)
    if task is not None or model_class is None:
        model_class = _with_head(task, type(found), name)
    target = _address(model_class)
    effective = {"use_cache": False, **settings} if hasattr(found, "use_cache") else settings
    if saved:
        place = str(Path(name).absolute()) if Path(name).is_dir() else name
        call = {"_target_": f"{target}.from_pretrained", "pretrained_model_name_or_path": place, **effective}
    else:
        call = {"_target_": target, "config": {"_target_": _address(type(found)), **effective}}
    sizes = {"sequence_length": sequence_length, "image_size": image_size, "audio_length": audio_length}
    return Described(name if saved else model_class.__name__, call, _inputs(model_class, found, sizes))


def _by_class(name: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Return the class of a model, or None for a configuration's, and its configuration with these settings."""
    import transformers

    try:
        found = _class(name)
    except Exception as error:  # transformers imports a model's module only here, with what that needs
        raise SweepError(f"model.name={name} cannot be imported: {one_line(error, 200)}") from error
    kind: Any = found if isinstance(found, type) else object
    if issubclass(kind, transformers.PretrainedConfig):
        return None, _configured(kind, settings)
    if issubclass(kind, transformers.PreTrainedModel) and kind.config_class is not None:
        return kind, _configured(kind.config_class, settings)
    names = {each for each in dir(transformers) if _names_a_model(each)}
    otherwise = "use a class such as BertModel, a folder, or OWNER/NAME of the Hub"
    raise unknown(name, "a model or a configuration of transformers", names, otherwise)


def _names_a_model(name: str) -> bool:
    return name[:1].isupper() and not name.startswith("Auto") and ("For" in name or name.endswith(("Model", "Config")))


def _class(name: str) -> Any:
    """Return a class of transformers, also one within a model's module, as WhisperEncoder is; None for other names."""
    import transformers

    if hasattr(transformers, name):
        return getattr(transformers, name)
    for end in range(len(name) - 1, 1, -1):
        config = getattr(transformers, f"{name[:end]}Config", None)
        if config is not None:
            beside = config.__module__.replace(".configuration_", ".modeling_")
            return getattr(importlib.import_module(beside), name, None)
    return None


def _configured(config_class: Any, settings: dict[str, Any]) -> Any:
    fields = inspect.signature(config_class).parameters.keys() - {"kwargs"}
    known = {*fields, *config_class().to_dict(), *config_class.attribute_map, *COMMON}
    require_settings(settings, known, "model.factory.config", config_class.__name__)
    try:
        return config_class(**settings)
    except Exception as error:
        raise SweepError(f"model.factory.config is not allowed: {one_line(error, 300)}") from error


def _saved(name: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Return the class that a folder was saved from, and its configuration with these settings."""
    import transformers

    try:
        found = transformers.AutoConfig.from_pretrained(name)
        model_class = _class((found.architectures or [""])[0])
    except Exception as error:
        raise SweepError(f"model.name={name} holds no model of transformers: {one_line(error, 200)}") from error
    require_settings(settings, {*found.to_dict(), *found.attribute_map, *COMMON}, "model.factory.config", name)
    for key, value in settings.items():
        setattr(found, key, value)
    return model_class, found


def _with_head(task: str | None, config_class: Any, name: str) -> Any:
    """Return the class of a configuration's models that has the head for a task, or no head."""
    import transformers

    prefix = "AutoModelFor"
    heads = {each.removeprefix(prefix).lower(): each for each in dir(transformers) if each.startswith(prefix)}
    mappings = {head: getattr(transformers, each)._model_mapping for head, each in heads.items()}
    mapping = transformers.AutoModel._model_mapping
    if task is not None:
        mapping = mappings.get(task.replace("-", "").replace("_", "").lower(), {})
    if config_class not in mapping:
        fitting = [heads[head].removeprefix(prefix) for head, each in mappings.items() if config_class in each]
        hyphened = [re.sub(r"(?<=[a-z])(?=[A-Z])", "-", each).lower() for each in fitting]
        allowed = "one of " + ", ".join(hyphened) if hyphened else "a model's class as model.name"
        raise SweepError(not_allowed("model.factory.task", task, f"{allowed} for {name}"))
    classes = mapping[config_class]
    return classes[0] if isinstance(classes, tuple | list) else classes


def _address(found: type) -> str:
    """Return where a class is imported from: transformers itself, where it has it."""
    import transformers

    at_top = getattr(transformers, found.__name__, None) is found
    return f"transformers.{found.__name__}" if at_top else f"{found.__module__}.{found.__qualname__}"


def _inputs(model_class: Any, config: Any, sizes: dict[str, Any]) -> list[InputConfig] | str:
    """Return the inputs that the forward of a model takes; a sentence where one is not known here."""
    parameters = inspect.signature(model_class.forward).parameters
    found: dict[str, InputConfig | None] = {}
    if "input_ids" in parameters:
        ids = found["input_ids"] = _ids("input_ids", config.get_text_config(), sizes)
        if "attention_mask" in parameters and ids is not None:
            found["attention_mask"] = InputConfig(ids.shape, dtype="int64", low=1, high=2, name="attention_mask")
    # A model of text with images in it asks for as many as the text names, and random text names none.
    if "pixel_values" in parameters and not ("input_ids" in found and hasattr(config, "image_token_id")):
        found["pixel_values"] = _pixels(config, sizes["image_size"])
    for name in ("input_values", "input_features"):
        if name in parameters:
            found[name] = _sound(name, config, sizes["audio_length"])
    if "decoder_input_ids" in parameters and config.is_encoder_decoder:
        found["decoder_input_ids"] = _ids("decoder_input_ids", config.get_text_config(decoder=True), sizes)
    needed = [name for name, each in parameters.items() if each.default is each.empty and each.kind != each.VAR_KEYWORD]
    missing = [name for name in (*needed, *found) if name != "self" and found.get(name) is None]
    if missing or not found:
        return f"nothing is known here of {', '.join(missing) or 'what'} that {model_class.__name__} takes"
    return [item for item in found.values() if item is not None]


def _ids(name: str, config: Any, sizes: dict[str, Any]) -> InputConfig | None:
    """Return tokens; None where the configuration does not tell how many there are."""
    length, words = sizes["sequence_length"], getattr(config, "vocab_size", None)
    most = getattr(config, "max_position_embeddings", None) or 0  # -1 stands for no limit, too
    if not words:
        return None
    if length and 0 < most < length:
        allowed = f"at most {most}, the positions that the model has"
        raise SweepError(not_allowed("model.factory.sequence_length", length, allowed))
    return whole([length or (min(TOKENS, most) if most > 0 else TOKENS)], words, name)


def _pixels(config: Any, size: int | list[int] | None) -> InputConfig:
    seeing = getattr(config, "vision_config", config)
    channels = getattr(seeing, "num_channels", 3)
    found = image(channels, size or getattr(seeing, "image_size", None) or PIXELS, "pixel_values")
    frames = getattr(seeing, "num_frames", None)
    return dataclasses.replace(found, shape=[frames, *found.shape]) if frames else found  # of a video


def _sound(name: str, config: Any, length: int | None) -> InputConfig | None:
    """Return raw sound or a spectrogram; None where the configuration does not tell."""
    bins, most = getattr(config, "num_mel_bins", None), getattr(config, "max_length", None)
    positions = getattr(config, "max_source_positions", None)
    width = getattr(config, "feature_projection_input_dim", None) or getattr(config, "input_feat_per_channel", None)
    if name == "input_values":
        shape = [length or most, bins] if bins and most else [length or SAMPLES]
    elif bins and positions:
        shape = [bins, length or 2 * positions]  # a position for two frames
    elif width:
        shape = [length or FRAMES, width]
    else:
        return None
    return InputConfig(shape=shape, name=name)
