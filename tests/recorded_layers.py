"""The layers of engines as recorded on an H200, put into the folder of a point."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from trt_sweep.results.layers import profiles

DATA = Path(__file__).parent / "data" / "layers"
ENGINE_ID = "0123456789abcdef"


def point(folder: Path, sample: str, engine_id: str = ENGINE_ID) -> Path:
    """The folder of a point with the recorded profile `sample`."""
    source = DATA / sample
    for engine in sorted(path.name for path in source.iterdir()):
        shutil.copytree(source / engine, folder / "engines" / engine)
        info = DATA / sample.replace("python", "cpp") / engine / profiles.INFO
        shutil.copy(info, folder / "engines" / engine)
    profile = {"engine_id": engine_id, "engines": len(list(source.iterdir())), "calls": 3, "runtime": "cpp"}
    put(folder / "engines" / profiles.PROFILE, profile)
    put(folder / "record.json", {"schema_version": 2, "point_id": "p", "profile_engine_id": engine_id})
    return folder


def put(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def info(sample: str, engine: int = 0) -> list[dict]:
    return json.loads((DATA / sample / str(engine) / profiles.INFO).read_text(encoding="utf-8"))["Layers"]
