"""Read the configuration of a point from its folder, to make the point again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trt_sweep.config import hydra
from trt_sweep.config.model import IN_MEMORY
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import SweepError, one_line
from trt_sweep.machine import devices
from trt_sweep.results import files, store
from trt_sweep.results.record import RECORD, Record
from trt_sweep.sweep import command

ELSEWHERE = "run it where the records were made, or sweep again and take that"


def configured(point: Path, asked: str) -> tuple[SweepConfig, Record]:
    """Return the configuration and the record of the point in this folder, on a device that is here.

    `asked` is what asks for it, as an error names it. Raises SweepError where the point cannot be made again: without
    its config.json, on another device, of a module that was in memory only, or in a folder that is not to be trusted.
    """
    record, file, folder = store.read(point / RECORD), point / "config.json", point.parent.parent
    try:
        command.require_trusted(folder, file, folder / command.COMMAND, folder / command.OPTIONS)
    except SweepError as error:
        raise SweepError(f"{asked} is refused: {error}") from None
    try:
        content = files.read_json(file) | command.options_of(folder)
        found = hydra.from_hydra(OmegaConf.create(content))
    except (OSError, ValueError, TypeError, OmegaConfBaseException, SweepError) as error:
        raise SweepError(f"{asked} needs {file}, which cannot be read ({one_line(error)}): sweep again") from error
    if found.point_id != record.point_id:
        raise SweepError(f"{asked}: {file} is not of the point beside it ({found.point_id} in it): sweep again")
    if found.model.factory.get("_target_") == IN_MEMORY:
        raise SweepError(f"{asked}: {found.model.name} of {point} was in memory only: sweep it again by trt_sweep.run")
    try:
        devices.resolve(found.device)
    except SweepError as error:
        where = f"device={found.device}, {record.gpu_name} ({record.gpu_uuid})"
        raise SweepError(f"{asked} is refused: the records are of {where}, which is not here; {ELSEWHERE}") from error
    # A sweep that took one of several GPUs saw no other: which it was the record tells.
    return dataclasses.replace(found, device="auto" if found.device == "cuda:0" else found.device), record
