"""A point is saved to deploy, and runs in a process without trt_sweep."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from conftest import EXAMPLE
from test_table import put

from trt_sweep.app.main import main
from trt_sweep.backends.paths import aot_inductor
from trt_sweep.points import export
from trt_sweep.results import table

BRIEF = ("device=cpu", "measure.visits=6", "measure.max_s=0.05", "baselines=false")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The embedder, which takes integers and a keyword and returns a dict: by eager, and by jit, which has no form."""
    folder = tmp_path_factory.mktemp("export") / "sweep"
    command = [sys.executable, "-m", "trt_sweep", "--config-dir", str(EXAMPLE), "-m", "model=embedder"]
    command += ["backend=eager,jit", "batch_size=2", "precision=bf16", *BRIEF, f"hydra.sweep.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = table.load(folder)
    assert set(rows["status"]) <= {"ok", "run_failed", "build_failed", "unsupported"}, done.stderr
    return {row["backend"]: folder / row["folder"] for row in rows.to_dict("records")}


@pytest.mark.parametrize("form", ["exported_program", "aot_inductor"])
def test_what_is_saved_runs_without_trt_sweep(sweep, tmp_path, form, capsys):
    if form == "aot_inductor" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    assert main(["export", str(sweep["eager"]), "--format", form, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "in a fresh process: loaded in" in said and "NOT ACCURATE" not in said
    found = json.loads((tmp_path / "out/artifact.json").read_text())
    assert found["accurate"] and 0 < found["rel_l2_error"] < 0.05 and found["torch"] == torch.__version__
    assert found["artifact_bytes"] == (tmp_path / "out" / export.FILES[form]).stat().st_size > 1000
    assert min(found[name] for name in ("save_s", "load_s", "first_call_ms_cold", "first_call_ms_warm")) > 0
    code = "import runpy, sys; runpy.run_path('load.py'); print('trt_sweep' in sys.modules)"
    loaded = [sys.executable, "-c", code]
    done = subprocess.run(loaded, cwd=tmp_path / "out", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert all(leaf.dtype == torch.bfloat16 for leaf in torch.load(tmp_path / "out/outputs.pt"))


def test_what_has_no_such_form(sweep, tmp_path, capsys):
    cases = {
        (
            sweep["jit"],
            "engine",
        ): "--format=engine is not allowed: backend=jit has nothing of the kind; give a point of",
        (sweep["eager"], "engine"): "backend=eager has nothing of the kind; use --format exported_program or aot_ind",
        (tmp_path, "engine"): "is not the folder of a point: give SWEEP/points/POINT_ID",
    }
    for (point, form), why in cases.items():
        assert main(["export", str(point), "--format", form, "--out", str(tmp_path / "out")]) == 1
        assert why in capsys.readouterr().err
    assert main(["export", str(sweep["eager"])]) == 2
    put(tmp_path, "a", 1.0)
    assert main(["export", str(tmp_path / "points/a"), "--out", str(tmp_path / "out")]) == 1
    assert "export needs" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_does_not_load_is_told(sweep, tmp_path, monkeypatch, capsys):
    broken = export.LOADS | {"exported_program": "raise RuntimeError('no such model')"}
    monkeypatch.setattr(export, "LOADS", broken)
    assert main(["export", str(sweep["eager"]), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "error: what was saved does not run in a fresh process: RuntimeError: no such model" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("form", "flavor"), [("exported_program", "rtx"), ("engine", "rtx"), ("engine", "standard")])
def test_loaders_of_engines_are_programs(tmp_path, form, flavor):
    put(tmp_path, "p", 1.0, backend="dynamo", precision="fp16", cuda_graphs=True, cuda_graphs_method="rtx")
    row = table.load(tmp_path).to_dict("records")[0] | {"tensorrt_flavor": flavor, "device": "cuda:0"}
    config = type("Config", (), {"backend": "dynamo"})
    text = export.loader(config, torch.device("cuda"), form, row)
    compile(text, "load.py", "exec")
    name = "tensorrt_rtx as trt" if flavor == "rtx" else "tensorrt as trt"
    assert (name in text) == (form == "engine") and ("import torch, torch_tensorrt" in text) == (form != "engine")
    assert ("enable_cudagraphs(model, cuda_graph_strategy='whole_graph_capture') as replayed" in text) == (
        form != "engine"
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize(("linked", "known"), [("-lstdc++", False), ("-nostdlib", True)])
def test_a_package_that_ends_the_process_says_whether_the_compiler_is_why(tmp_path, linked, known):
    """Its library is replaced by one that crashes as it is loaded, and is linked to the C++ library or not."""
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "model.pt2"))
    aot_inductor.require_loadable(package)
    (tmp_path / "crash.c").write_text(
        "__attribute__((constructor)) static void crash(void) { *(volatile int *)0 = 1; }"
    )
    library = tmp_path / "crash.so"
    command = ["gcc", "-shared", "-fPIC", "-Wl,--no-as-needed", str(tmp_path / "crash.c"), "-o", str(library), linked]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(package) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, library.read_bytes() if name.endswith(".so") else data)
    with pytest.raises(RuntimeError, match="ends with SIGSEGV") as raised:
        aot_inductor.require_loadable(str(tmp_path / "other.pt2"))
    assert ("set CXX to a compiler that links libstdc++.so" in str(raised.value)) is known
