"""How the runtimes report their layers, as far as that shows without a GPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from trt_sweep.backends.tensorrt import layer_timers
from trt_sweep.machine import versions

FILE = """[
  {{
    "name": "conv "quoted" \\back",
    "timeMs": {0},
    "averageMs": 0.1,
    "percentage": 10.5
  }},
  {{
    "name": "fc",
    "timeMs": {1},
    "averageMs": 0.1,
    "percentage": 89.5
  }}
]
"""


class Module:
    """Writes what Torch-TensorRT's C++ runtime writes after a call: the sums so far, names not escaped."""

    def enable_profiling(self, profiling_results_dir: str, profile_format: str) -> None:
        assert profile_format == "trex"
        self.folder, self.on = Path(profiling_results_dir), True

    def disable_profiling(self) -> None:
        self.on = False

    def write(self, *sums: float | str) -> None:
        (self.folder / "_run_on_acc_0_engine_engine_execution_profile.trace").write_text(FILE.format(*sums))


def test_the_cpp_runtime_reports_sums_and_each_call_is_their_difference():
    module = Module()
    timer = layer_timers.of_module(module)
    assert isinstance(timer, layer_timers.CppLayerTimer) and timer.runtime == "cpp"
    timer.attach()
    with pytest.raises(RuntimeError, match="wrote no profile"):
        timer.reported()
    module.write(0.5, "1e-05")
    assert timer.reported() == [('conv "quoted" \\back', 0.5), ("fc", 1e-05)]
    module.write(0.75, "0.1")
    assert [ms for _, ms in timer.reported()] == pytest.approx([0.25, 0.09999])
    folder = module.folder
    timer.detach()
    assert not module.on and not folder.exists()
    timer.attach()  # sums begin anew
    module.write(0.5, 0.5)
    assert timer.reported()[1] == ("fc", 0.5)
    timer.detach()


def test_the_runtime_is_told_by_the_modules():
    class PythonTorchTensorRTModule:
        pass

    class TRTEngine:
        pass

    assert layer_timers.runtime_of(PythonTorchTensorRTModule()) == "python"  # up to 2.12
    assert layer_timers.runtime_of(SimpleNamespace(engine=TRTEngine())) == "python"  # from 2.13 on
    assert layer_timers.runtime_of(SimpleNamespace(engine=object())) == "cpp"
    assert isinstance(layer_timers.of_module(PythonTorchTensorRTModule()), layer_timers.PythonLayerTimer)


@pytest.mark.skipif(versions.flavor() is None, reason="no TensorRT installed")
@pytest.mark.parametrize("own_context", [True, False])
def test_the_python_runtime_hands_times_to_our_profiler(own_context):
    context = SimpleNamespace(profiler=None)

    class PythonTorchTensorRTModule:
        def get_engine(self):
            return SimpleNamespace(context=context)

        def enable_profiling(self):
            assert context.profiler is not None  # or it would set one that prints

    if own_context:
        PythonTorchTensorRTModule.context = context
    timer = layer_timers.of_module(PythonTorchTensorRTModule())
    timer.attach()
    context.profiler.report_layer_time("conv", 0.5)
    context.profiler.report_layer_time("fc", 0.25)
    assert timer.reported() == [("conv", 0.5), ("fc", 0.25)] and timer.reported() == []
