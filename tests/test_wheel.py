"""The wheel carries the configuration and the templates and works from another folder, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from trt_sweep.machine import versions

ROOT = Path(__file__).parent.parent


def test_wheel_runs_away_from_the_checkout(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "-o", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert (site / "trt_sweep/conf/model/resnet18.yaml").is_file()
    assert (site / "trt_sweep/analysis/report/templates/report.html.j2").is_file()
    folder = tmp_path / "sweep"
    code = "import sys, trt_sweep.__main__ as m; assert m.__file__.startswith(sys.argv.pop(1)); m.main()"
    # With Torch-TensorRT at hand the job that the README promises everywhere, else what runs without it.
    point = (
        ["model=squeezenet1_1", "dryrun=true"]
        if versions.flavor()
        else ["backend=eager", "device=cpu", "measure.max_s=1"]
    )
    command = [sys.executable, "-c", code, str(site), "-m", *point]
    done = subprocess.run(
        [*command, f"hydra.sweep.dir={folder}"], cwd="/", env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "results.csv").is_file()
