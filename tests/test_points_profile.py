"""The pass that looks inside, on a CPU: marks, calls, files and columns; what a GPU reports is stood in for."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import time
from pathlib import Path
from unittest import mock

import pytest
import torch

from trt_sweep import backends
from trt_sweep.backends.base import BuildContext, Compiled
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig
from trt_sweep.errors import Unsupported
from trt_sweep.machine import locks
from trt_sweep.models.model import Inputs
from trt_sweep.points import profile, trace
from trt_sweep.points.phases import WAITING
from trt_sweep.results.columns import Build
from trt_sweep.results.layers import profiles
from trt_sweep.results.measured import Profile

REAL = Path(__file__).parent / "data/layers/resnet18-cpp/0"
ENGINE_ID = "0123456789abcdef"


class LayerTimer:
    """Reports the layers of a real engine, each call longer than the one before."""

    runtime = "cpp"

    def __init__(self, module: torch.nn.Module | None, modules: dict[str, str] | None = None) -> None:
        self.module, self.modules, self.calls, self.on = module, modules or {}, 0, False
        self.names = list(json.loads((REAL / profiles.LATENCY).read_text()))

    def information(self) -> str:
        return (REAL / profiles.INFO).read_text()

    def attach(self) -> None:
        self.on = True

    def detach(self) -> None:
        self.on = False

    def reported(self):
        self.calls += 1
        return [(name, float(self.calls)) for name in self.names]


def look(tmp_path: Path, whole: bool = False) -> tuple[Profile, list[LayerTimer], list[float], list[int]]:
    net, held, run = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)), [], []
    net.register_forward_hook(lambda *_: run.append(1))
    timers = [LayerTimer(None, {"node_a": "0"})] if whole else [LayerTimer(net[0]), LayerTimer(net[2])]
    compiled = Compiled(lambda inputs: lambda: net(*inputs.args), build=Build(engine_id=ENGINE_ID), layer_timers=timers)
    with (
        mock.patch.object(torch.cuda, "Stream", lambda device: None),
        mock.patch.object(torch.cuda, "stream", lambda stream: contextlib.nullcontext()),
        mock.patch("trt_sweep.measure.clocks.spin", lambda device, seconds: held.append(seconds)),
        torch.no_grad(),
    ):
        inputs = Inputs((torch.randn(2, 8),), {})
        found = profile.look_inside(compiled, inputs, torch.device("cpu"), tmp_path)
    return found, timers, held, run


def test_the_files_are_what_layers_reads(tmp_path):
    found, timers, held, run = look(tmp_path)
    table = profiles.load(tmp_path)
    assert table["engine"].nunique() == 2 and table["samples"].map(len).eq(profile.CALLS).all()
    first = profile.DROPPED_CALLS + 1  # the first calls are dropped
    assert table["samples"][0][:2] == [first, first + 1] and not any(timer.on for timer in timers)
    about = json.loads((tmp_path / profiles.ENGINES / profiles.PROFILE).read_text())
    assert about == {"engine_id": ENGINE_ID, "engines": 2, "calls": profile.CALLS, "runtime": "cpp"}
    assert found.profile_engine_id == ENGINE_ID and found.layers == len(table)
    assert found.layers_ms == pytest.approx(table["median_ms"].sum()) and 0 < found.moves_ms < found.layers_ms
    assert found.layer_precisions == "fp16:" + str(2 * 23)
    assert len(run) == profile.WARMUP_CALLS + profile.TRACED_CALLS + profile.DROPPED_CALLS + profile.CALLS
    # The GPU is held up before each engine, once it is known for how long.
    assert len(held) == 2 * (profile.DROPPED_CALLS + profile.CALLS - profile.LEARNED_CALLS)
    assert all(0 < seconds <= profile.LEAD_S for seconds in held)


def test_the_trace_bears_the_marks(tmp_path):
    look(tmp_path)
    events = json.loads(gzip.decompress((tmp_path / profile.TRACE).read_bytes()))["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert names.count(trace.CALL) == profile.TRACED_CALLS
    assert names.count(f"{trace.ENGINE} 0") == names.count(f"{trace.ENGINE} 1") == profile.TRACED_CALLS
    assert json.loads((tmp_path / profiles.TIME).read_text())["calls"] == profile.TRACED_CALLS


def test_an_engine_that_is_the_whole_call(tmp_path):
    _, _, held, _ = look(tmp_path, whole=True)
    assert json.loads((tmp_path / profiles.ENGINES / "0" / profiles.ONNX_MODULES).read_text()) == {"node_a": "0"}
    events = json.loads(gzip.decompress((tmp_path / profile.TRACE).read_bytes()))["traceEvents"]
    assert sum(event["name"] == f"{trace.ENGINE} 0" for event in events) == profile.TRACED_CALLS
    assert len(held) == profile.DROPPED_CALLS + profile.CALLS - profile.LEARNED_CALLS


def test_slow_calls_are_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "TRACED_S", 0.0)
    monkeypatch.setattr(profile, "LAYERS_S", 0.0)
    _, _, _, run = look(tmp_path)
    assert json.loads((tmp_path / profiles.TIME).read_text())["calls"] == 1
    assert profiles.load(tmp_path)["samples"].map(len).eq(profile.LEAST_CALLS).all()
    assert len(run) == 2 + 1 + profile.DROPPED_CALLS + profile.LEAST_CALLS


def test_a_slow_first_call_makes_the_trace_no_shorter(tmp_path, monkeypatch):
    """It compiles what it needs, and says nothing of those to come."""
    monkeypatch.setattr(profile, "TRACED_S", 1.0)
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        time.sleep(1.1 if len(calls) == 1 else 0.0)

    assert profile._trace(call, torch.device("cpu"), tmp_path)["calls"] == profile.TRACED_CALLS


def test_a_second_look_replaces_the_first(tmp_path):
    look(tmp_path)
    look(tmp_path, whole=True)
    assert [path.name for path in sorted((tmp_path / profiles.ENGINES).iterdir())] == ["0", "profile.json"]


def test_a_name_that_comes_twice_in_a_call_counts_with_its_sum():
    samples: dict[str, list[float]] = {}
    profile._add(samples, [("a", 1.0), ("b", 2.0), ("a", 0.5)])
    profile._add(samples, [("a", 1.0)])
    assert samples == {"a": [1.5, 1.0], "b": [2.0]}


def settings(tmp_path: Path, **values) -> BuildContext:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.Identity"}, inputs=[InputConfig(shape=[8])])
    config = SweepConfig(model=model, backend="dynamo", device="cpu", **values)
    return BuildContext(config, torch.device("cpu"), tmp_path, lambda _: None, lambda _: None, contextlib.ExitStack())


def of_point(
    tmp_path: Path, monkeypatch, how: BuildContext, key: str | None = None
) -> tuple[Profile, list[BuildContext]]:
    """Look into a point whose backend is stood in for; also the settings of the builds made for that."""
    timed = Compiled(lambda inputs: lambda: None, build=Build(engine_id="timed"), layer_timers=[LayerTimer(None)])
    other = dataclasses.replace(timed, build=Build(engine_id="other"))
    built: list[BuildContext] = []
    backend = mock.Mock(compile=lambda model, settings: built.append(settings) or other)
    monkeypatch.setattr(backends, "get", lambda name: backend)
    monkeypatch.setattr(
        profile, "look_inside", lambda compiled, *_: Profile(profile_engine_id=compiled.build.engine_id)
    )
    return profile.of_point(mock.Mock(), timed, how, key), built


@pytest.mark.parametrize(
    ("values", "engine"),
    [
        ({"profiling_verbosity": "detailed"}, "timed"),
        ({"profiling_verbosity": "layer_names_only"}, "other"),
        ({"profiling_verbosity": "detailed", "cuda_graphs": True}, "other"),
    ],
)
def test_engines_that_tell_nothing_are_built_again_for_it(tmp_path, monkeypatch, values, engine):
    found, built = of_point(tmp_path, monkeypatch, settings(tmp_path, **values))
    assert found.profile_engine_id == engine and len(built) == (engine == "other")
    for how in built:
        assert how.config.profiling_verbosity == "detailed" and not how.config.cuda_graphs
        assert how.folder != tmp_path  # what was timed keeps its own files
    # The row still says what was timed.
    assert settings(tmp_path, **values).config.profiling_verbosity == values["profiling_verbosity"]


def test_points_of_one_engine_share_a_profile(tmp_path, monkeypatch):
    how = settings(tmp_path)
    first, _ = of_point(tmp_path, monkeypatch, how, "key")
    second, built = of_point(tmp_path, monkeypatch, how, "key")
    assert first.profile_from is None and not built
    assert second == dataclasses.replace(first, profile_from=how.config.point_id)


def test_a_look_that_had_to_wait_for_the_gpu_counts_as_one_again(tmp_path, monkeypatch):
    """Limits do not count the wait."""
    heard: list[str] = []
    with contextlib.ExitStack() as another:
        another.enter_context(locks.device_lock(torch.device("cpu")))

        def phase(name: str) -> None:
            heard.append(name)
            if name.startswith(WAITING):
                another.close()

        how = dataclasses.replace(settings(tmp_path, profiling_verbosity="detailed"), phase=phase)
        of_point(tmp_path, monkeypatch, how)
    assert heard == ["waiting for another sweep to leave cpu", "profile"]


def test_engines_that_are_kept_back_are_unsupported(tmp_path):
    with pytest.raises(Unsupported, match="backend=dynamo keeps its engines to itself"):
        profile.of_point(mock.Mock(), Compiled(None), settings(tmp_path), None)


def test_a_point_without_engines_is_traced_only(tmp_path):
    compiled = Compiled(lambda inputs: lambda: inputs.args[0] * 2, layer_timers=[])
    with (
        mock.patch.object(torch.cuda, "Stream", lambda device: None),
        mock.patch.object(torch.cuda, "stream", lambda stream: contextlib.nullcontext()),
    ):
        inputs = Inputs((torch.randn(2, 8),), {})
        found = profile.look_inside(compiled, inputs, torch.device("cpu"), tmp_path)
    assert found.profile_engine_id is None and found.layers is None and found.traced_span_ms == 0
    assert (tmp_path / profiles.TIME).exists() and not (tmp_path / profiles.ENGINES).exists()
