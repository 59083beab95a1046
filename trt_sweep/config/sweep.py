"""The root of the configuration: a point and the sweep's options, side by side as Hydra's schema has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trt_sweep.config.options import SweepOptions
from trt_sweep.config.point import PointConfig
from trt_sweep.errors import SweepError


@dataclass
class SweepConfig(SweepOptions, PointConfig):
    """Hold what one job asks for: the fields of `PointConfig` and of `SweepOptions`, all at the root."""

    def __post_init__(self) -> None:
        PointConfig.__post_init__(self)
        SweepOptions.__post_init__(self)

    @property
    def point(self) -> PointConfig:
        """Return the point alone."""
        return PointConfig(**_only(self, PointConfig))

    @property
    def options(self) -> SweepOptions:
        """Return the options alone."""
        return SweepOptions(**_only(self, SweepOptions))


def _only(config: SweepConfig, part: type) -> dict[str, Any]:
    return {item.name: getattr(config, item.name) for item in dataclasses.fields(part)}


def common_options(configs: Mapping[int, SweepConfig]) -> SweepOptions:
    """Return the options of a sweep's jobs, by job number; raise SweepError where two jobs differ in one."""
    (first, config), *others = configs.items()
    options = config.options
    for number, other in others:
        for item in dataclasses.fields(SweepOptions):
            one, two = getattr(options, item.name), getattr(other, item.name)
            if one != two:
                raise SweepError(
                    f"{item.name} differs between job {first} and job {number}, and holds for a whole sweep: give it "
                    "one value, or start a sweep for each"
                )
    return options
