"""The published wheels of Torch-TensorRT, for tests that hold what is known of its versions against their files."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trt_sweep.backends.torchtrt.installed import FRONTENDS, InstalledTorchTensorRT
from trt_sweep.config.model import InputConfig, ModelConfig
from trt_sweep.config.sweep import SweepConfig

NAMES = {"rtx": "torch-tensorrt-rtx", "standard": "torch-tensorrt"}
VERSIONS = {"2.11": "2.11.0", "2.12": "2.12.1", "2.13": "2.13.0", "2.14": "2.14.0"}
HAVE_RUNTIMES = {
    "2.11": ("cpp", "python"),
    "2.12": ("cpp", "python"),
    "2.13": ("cpp",),
    "2.14": ("cpp",),
}
every_version = pytest.mark.parametrize("version", VERSIONS)
every_wheel = pytest.mark.parametrize(("flavor", "version"), list(itertools.product(NAMES, VERSIONS)))
Wheel = Callable[[str, str], InstalledTorchTensorRT]


def config(**values) -> SweepConfig:
    model = ModelConfig(name="m", factory={"_target_": "torch.nn.ReLU"}, inputs=[InputConfig(shape=[3])])
    return SweepConfig(model=model, backend="dynamo", **values)


def frontends(flavor: str) -> list[str]:
    return [name for name in FRONTENDS if name != "fx" or flavor == "standard"]


def written(api: InstalledTorchTensorRT, frontend: str) -> list[str]:
    """The names of a frontend's arguments by the layout of its source: indented by four, before a colon, = or comma."""
    file, name = FRONTENDS[frontend]
    opening, closing = (r"class {}:", r"    def ") if frontend == "torch_compile" else (r"def {}\(", r"\)")
    source = (api.package / file).read_text(encoding="utf-8")
    found = re.search(rf"^{opening.format(name)}$(.*?)^{closing}", source, re.DOTALL | re.MULTILINE)
    return re.findall(r"^    ([a-z]\w*)[:=,]", found[1], re.MULTILINE)


@contextlib.contextmanager
def published() -> Iterator[Wheel]:
    """A wheel's InstalledTorchTensorRT, by flavour and version; skips the test where it cannot be downloaded."""
    with tempfile.TemporaryDirectory() as folder:

        @functools.cache
        def unpacked(flavor: str, version: str) -> InstalledTorchTensorRT | str:
            requirement, target = f"{NAMES[flavor]}=={VERSIONS[version]}", Path(folder) / flavor / version
            command = [
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
                *("--python-version", "3.12", "--implementation", "cp"),
                *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_34_x86_64"),
                *("-d", str(target), requirement),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return f"{requirement} cannot be downloaded: " + (done.stderr.strip() or "pip failed").splitlines()[-1]
            (file,) = target.glob("*.whl")
            with zipfile.ZipFile(file) as archive:
                archive.extractall(target)
            return InstalledTorchTensorRT(target / "torch_tensorrt", flavor == "rtx")

        def api(flavor: str, version: str) -> InstalledTorchTensorRT:
            found = unpacked(flavor, version)
            if isinstance(found, str):
                pytest.skip(found)
            return found

        yield api
