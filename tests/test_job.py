"""One point from end to end in this process; the rest of job.py is tested through the command line."""

from __future__ import annotations

import pytest
from conftest import needs_tensorrt, without_gpu

from trt_sweep import job, records
from trt_sweep.config import InputConfig, ModelConfig, SweepConfig


def config(**values) -> SweepConfig:
    factory = {"_target_": "torchvision.models.get_model", "name": "squeezenet1_1"}
    model = ModelConfig(name="squeezenet1_1", factory=factory, inputs=[InputConfig(shape=[3, 64, 64])])
    return SweepConfig(model=model, backend="dynamo", device="cpu", **values)


@needs_tensorrt
@without_gpu
def test_a_build_that_fails_keeps_what_was_planned(tmp_path):
    """Without a driver the real builder fails; the row still holds the export and the partition before it."""
    heard: list[str] = []
    with job.Job("sweep", heard.append) as run:
        record = run.run(job.Point(config(min_block_size=5), [3]), tmp_path)
    assert (record.status, record.phase, record.jobs) == ("build_failed", "build", [3])
    assert record.reason and "\n" not in record.reason
    assert heard == ["model", "reference", "export", "partition", "build"]
    assert record.engines == 3 and record.export_s is not None and record.build_s is None and record.engine_id is None
    assert records.read(tmp_path / records.RECORD) == record


@needs_tensorrt
@without_gpu
def test_effective_fills_in_defaults_and_plans():
    (found,) = job.effective(config())
    assert (found.min_block_size, found.dryrun, found.device) == (5, True, "cpu")
    assert job.effective(config(min_block_size=5))[0].point_id == found.point_id


def test_an_interrupt_passes_once_the_record_is_written(tmp_path):
    def interrupt(phase: str) -> None:
        if phase == "reference":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), job.Job("sweep", interrupt) as run:
        run.run(job.Point(config()), tmp_path)
    assert records.read(tmp_path / records.RECORD).status == "interrupted"
