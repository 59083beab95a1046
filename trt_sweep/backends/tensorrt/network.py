"""Parse an ONNX file and build an engine from it by TensorRT's own Python API."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from trt_sweep.backends.tensorrt.library import _logger, library, verbosity
from trt_sweep.config.checks import Range
from trt_sweep.config.point import LAYER_NAMES
from trt_sweep.errors import Unsupported
from trt_sweep.models import model


class Network:
    """Hold an ONNX file as a strongly typed TensorRT network: the types in the file are the precision."""

    def __init__(self, file: Path, dynamic: dict[int | str, dict[int, Range]]) -> None:
        """Parse the file; raise Unsupported with the parser's own reasons where TensorRT does not take the model.

        The folder of the file holds the weights too, and nothing else.
        """
        trt = library()
        self._builder = trt.Builder(_logger())
        self._network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(self._network, _logger())
        if not parser.parse_from_file(str(file)):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise Unsupported(f"TensorRT's ONNX parser does not take this model: {reasons}")
        self._dynamic = dynamic
        self._content = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(file.parent.iterdir())
        }

    def describe(self) -> dict[str, Any]:
        """Return what the network is made from, as plain data."""
        return {"onnx": self._content, "dynamic": {str(name): sizes for name, sizes in self._dynamic.items()}}

    def build(
        self,
        optimization_level: int | None,
        tf32: bool,
        timing_cache: Path | None = None,
        profiling_verbosity: str = LAYER_NAMES,
    ) -> bytes:
        """Return the serialized engine; raise RuntimeError where the builder gives none (the log says why).

        The builder starts from the content of the file `timing_cache`, where that is there, and leaves its own in it.
        """
        trt = library()
        config = self._builder.create_builder_config()
        config.profiling_verbosity = verbosity(profiling_verbosity)
        if timing_cache is not None:
            known = timing_cache.read_bytes() if timing_cache.is_file() else b""
            config.set_timing_cache(config.create_timing_cache(known), False)
        if optimization_level is not None:
            config.builder_optimization_level = optimization_level
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if self._dynamic:
            config.add_optimization_profile(self._profile())
        engine = self._builder.build_serialized_network(self._network, config)
        if engine is None:
            raise RuntimeError("TensorRT built no engine; log.txt says why")
        if timing_cache is not None:
            timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
        return bytes(engine)

    def _profile(self) -> Any:
        profile = self._builder.create_optimization_profile()
        for index in range(self._network.num_inputs):
            tensor = self._network.get_input(index)
            ranges = self._dynamic.get(index) or self._dynamic.get(tensor.name)
            if ranges:
                profile.set_shape(tensor.name, *model.shapes_over_range(tuple(tensor.shape), ranges))
        return profile
