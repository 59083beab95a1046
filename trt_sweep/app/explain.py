"""Say in one line what is wrong with a configuration, and how to mend it; imports no torch."""

from __future__ import annotations

import errno
import re
import shlex
import traceback
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from trt_sweep.app import type_errors
from trt_sweep.config.hydra import not_known
from trt_sweep.errors import SweepError, one_line

# Of a configuration that cannot be composed.
HYDRA_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)

# Settings of earlier versions, and what does their work now.
RENAMED = {
    "measure.rounds": "measure.visits, how often each point is visited (48)",
    "measure.target": "measure.visits or measure.max_s, which narrow an interval",
    "measure.min_samples": "measure.max_s, the seconds of calls that count",
    "measure.min_s": "measure.max_s, the seconds of calls that count",
}

# Groups whose keys the user names.
OPEN = {
    "compile": "a compilation argument of Torch-TensorRT",
    "accuracy.output_rel_l2": "the tolerance of an output",
    "accuracy.evaluate": "the function that is asked how good a model is",
    "quantization.calibration": "the data that a method looks at",
    "model.factory": "an argument of the model's factory",
}


def explain(error: BaseException) -> str:
    """Return one line for an error of ours, of Hydra's or of the file system, with the fix where we know it."""
    if isinstance(error, SweepError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        hint = " (or a source: model=timm model.name=NAME)" if group == "model" else ""
        return f"{group}={name} is not known: use one of {', '.join(error.options)}{hint}"
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        where = str(error.filename or "the results folder, or standard output")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{where}: {error.strerror}: finished rows are kept; free some space, then resume"
        return (
            f"{where}: {error.strerror}; if results go there, set hydra.sweep.dir (with -m) or hydra.run.dir elsewhere"
        )
    unknown = re.match(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and unknown:
        return _unknown(unknown[1], error)
    root, text = _root(error), str(error)
    known = _unreadable(error) or _of_file(error) or _several_points(text) or type_errors.line(root, text)
    return known or one_line(root)


def _of_file(error: BaseException) -> str | None:
    """Return the line for a file that is no YAML, or holds what has no place there; None for any other error."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name} is no YAML: line {mark.line + 1}: {error.problem}"
    merged = re.match(r"In '([^']+)': \w+ raised while composing config:\s*([^\n]*)", str(error))
    if not merged:
        return None
    hint = "; it has to begin with # @package _global_" * merged[1].startswith("sweep/")
    return f"{merged[1]}.yaml cannot be a part of the configuration: {merged[2]}{hint}"


def undecodable(error: UnicodeDecodeError) -> str | None:
    """Return the line for a file of Hydra's that is no text; None for an error from elsewhere."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith("hydra.") and "full_path" in frame.f_locals:
            return f"{frame.f_locals['full_path']} is no text in UTF-8: {error.reason} at byte {error.start}"
    return None


def _unreadable(error: BaseException) -> str | None:
    """Return what is said of an override that Hydra's grammar cannot read, with one that it can; None of no such."""
    if not isinstance(error, OverrideParseException):
        return None
    override = str(error.override)
    name, sign, value = override.partition("=")
    if not sign:
        return f"{override} is no setting: write NAME=VALUE, NAME being as in --help; a ready sweep is +sweep=NAME"
    escaped = value.replace('"', '\\"')
    quoted = f'{name}="{escaped}"'
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return f"{override} cannot be read: write NAME=VALUE, NAME being as in --help"
    return (
        f"{override} cannot be read: text with spaces, commas, quotes or = needs quotes for the shell and for Hydra, "
        f"{shlex.quote(quoted)}; a list is [a,b], a dict {{a:1}}"
    )


def _several_points(text: str) -> str | None:
    """Return what is said of a list of values without --multirun; None where that is not the mistake."""
    found = re.search(r"Ambiguous value for argument '([^']+)'", text)
    return f"{found[1]} asks for several points: write trt-sweep -m {found[1]}" if found else None


def _unknown(name: str, error: BaseException) -> str:
    cause: Any = error.__cause__
    if cause is not None and "not in" not in str(cause):
        return one_line(cause)
    for group, what in OPEN.items():
        if name == group or name.startswith(f"{group}."):
            return f"{name} is not a setting of trt_sweep; write +{name}=… for {what}"
    if name.startswith("hydra.") and cause is not None:
        place, node = str(cause.full_key).rpartition(".")[0], cause.parent_node
        who = str(node["_target_"]).rpartition(".")[2] if "_target_" in node else place
        taken = ", ".join(str(key) for key in node if key != "_target_")
        return f"{name} is not known: {who} takes {taken or 'nothing'}"
    if name in RENAMED:
        return f"{name} is gone: use {RENAMED[name]}"
    return not_known(name)


def _root(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, HydraException) and error.__cause__ is not None else error
