"""The sweeper one_at_a_time through real multiruns, and what counts as help."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from conftest import needs_tensorrt, without_gpu
from hydra._internal.core_plugins import basic_sweeper
from omegaconf import OmegaConf

from trt_sweep.app import one_at_a_time
from trt_sweep.app.one_at_a_time import OneAtATime, helping, told
from trt_sweep.config.compose import CONF
from trt_sweep.errors import SweepError
from trt_sweep.results import ranking

# What is given before a choice is its default.
DEFAULTS = ("hydra/sweeper=one_at_a_time", "model=patient", "backend=eager")
# Six of 24 visits are at the fast level, however noisy the host is: enough to prove what is a thousand times faster.
BRIEF = ("device=cpu", "measure.visits=24", "measure.max_s=1.2", "measure.warmup_s=0.05")


def test_what_helps_alone_is_tried_together(sweep):
    """A model that sleeps: another one helps, and so does a trace, which forgets the sleep."""
    done = sweep(*DEFAULTS, "model=choice(scale)", "backend=choice(jit)", *BRIEF)
    assert done.code == 0, done.out + done.err
    assert "each alone: model=scale, backend=jit" in done.err
    rows = done.rows
    jobs = {job: (row["model"], row["backend"]) for _, row in rows.iterrows() for job in row["jobs"]}
    assert jobs == {
        0: ("patient", "eager"),
        1: ("scale", "eager"),
        2: ("patient", "jit"),
        3: ("scale", "jit"),
    }
    assert (rows["status"] == "ok").all() and rows["final"].all() and (rows["rounds"] > 1).all()
    assert "3 points to do" in done.err and "1 point to do" in done.err  # what the first batch did is not done again


def test_a_failed_value_stops_nothing(sweep):
    done = sweep(*DEFAULTS, "model=choice(raises)", "backend=choice(jit)", *BRIEF)
    assert done.code == 1 and "error: 1 of 3 jobs did not succeed" in done.err, done.err
    assert "each alone: backend=jit" in done.err and len(done.rows) == 3


def row(job: int, latency_ms: float, status: str = "ok", **values) -> dict:
    visits = [latency_ms * (1 + place / 10_000) for place in range(24)]
    base = dict.fromkeys(ranking.VISITED) | {"jobs": [job], "status": status, "latency_ms": latency_ms, "reason": None}
    return base | {"sweep_id": "s", "visit_group": "g", "latency_ms_visits": visits, "batch_size": 1} | values


def test_only_what_is_proved_helps():
    rows = pd.DataFrame(
        [
            *(row(0, 1.0), row(1, 0.9), row(2, 0.9995), row(3, 1.1), row(4, 0.5, "inaccurate")),
            row(5, 0.8, visit_group="another"),
        ]
    )
    assert helping(rows, "latency", list("abcde")) == ["a"]
    assert helping(rows, "throughput", list("abcde")) == ["a"]
    larger = pd.DataFrame([row(0, 1.0), row(1, 1.8, batch_size=8), row(2, 0.9, batch_size=1)])
    assert helping(larger, "throughput", ["a", "b"]) == ["a", "b"] and helping(larger, "latency", ["a", "b"]) == ["b"]


def test_two_methods_of_gpu_ms_are_not_set_against_each_other():
    spread = {"gpu_ms_between_captures": 0.001, "gpu_ms_captures": 9}
    listed = [("queued", 1.0), ("graph", 0.5), ("queued", 0.5)]
    rows = pd.DataFrame(
        [row(job, 1.0, gpu_ms=ms, gpu_ms_method=name, **spread) for job, (name, ms) in enumerate(listed)]
    )
    assert helping(rows, "gpu", ["a", "b"]) == ["b"]


def test_without_the_defaults_nothing_can_be_said():
    rows = pd.DataFrame([row(0, float("nan"), "build_failed", reason="no converter"), row(1, 1.0)])
    with pytest.raises(SweepError, match="the defaults have no latency_ms: no converter"):
        helping(rows, "latency", ["a"])
    with pytest.raises(SweepError, match=r"objective=energy has no interval.*latency, throughput, gpu"):
        helping(rows, "energy", ["a"])


@needs_tensorrt
@without_gpu
def test_the_ready_sweep_is_planned_without_a_gpu(sweep):
    done = sweep("+sweep=one_at_a_time", "model=scale")
    assert done.code == 0 and "planned only: which values help is seen where there is a GPU" in done.err, done.err
    assert "Traceback" not in done.err and set(done.rows["status"]) <= {"dryrun", "unsupported"}


def swept(name: str, monkeypatch, version: set[str] | None = None) -> OneAtATime:
    """Return the sweeper of a ready sweep, which has looked at its arguments."""
    content = OmegaConf.to_container(OmegaConf.load(CONF / "sweep" / f"{name}.yaml"))
    how = content["hydra"]["sweeper"]
    # Hydra reads its own sweepers anew when it looks for plugins: the class that ours was made of is the one to call.
    base = next(each for each in OneAtATime.__mro__ if each.__name__ == "BasicSweeper")
    monkeypatch.setattr(basic_sweeper, "BasicSweeper", base)
    made = OneAtATime(how["params"], together=how["together"], not_tried=how.get("not_tried"))
    if version is not None:
        monkeypatch.setattr(one_at_a_time, "_taken", lambda frontend: version)
    made._parse_config()
    return made


@needs_tensorrt
def test_every_argument_of_the_installed_version_is_tried_or_said_not_to_be(monkeypatch, capsys):
    made = swept("everything", monkeypatch)
    assert capsys.readouterr().err == "" and "+compile.use_fp32_acc" in made.params
    swept("accuracy", monkeypatch)
    assert capsys.readouterr().err == ""


@needs_tensorrt
def test_what_a_version_lacks_is_left_out_and_what_is_new_is_named(monkeypatch, capsys):
    made = swept("everything", monkeypatch, {"use_fp32_acc", "invented", "dla_sram_size"})
    assert [name for name in made.params if "compile" in name] == ["+compile.use_fp32_acc"]
    assert made.params["optimization_level"] == "0,1,2,4,5"
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("left out, since torch-tensorrt") and "decompose_attention" in err[0]
    assert err[1] == "not tried, since this sweep does not know it: invented"
    assert "+compile.use_fp32_acc" in swept("accuracy", monkeypatch, set()).params  # without a library the rows say so


def test_each_value_is_told_with_its_interval():
    spread = {"gpu_ms_between_captures": 0.001, "gpu_ms_captures": 9, "gpu_ms_method": "graph", "rel_l2_error": 1e-3}
    engines = enumerate([("a", 1.0), ("b", 0.9), ("c", 1.0001), ("a", 1.0)])
    rows = pd.DataFrame([row(job, ms, gpu_ms=ms, engine_id=engine, **spread) for job, (engine, ms) in engines])
    failed = row(4, float("nan"), "build_failed", reason="no", gpu_ms=float("nan"), engine_id=None, **spread)
    rows = pd.concat([rows, pd.DataFrame([failed])])
    faster, none, same, broken = told(rows, "gpu", ["w=1", "x=1", "y=1", "z=1"])
    assert re.fullmatch(r"w=1: gpu_ms -10 % \[-1\d %, -9\.\d %\]; error 1.0e-03, was 1.0e-03", faster)
    assert none.startswith("x=1: none shown: gpu_ms +0.01 % [-") and same.startswith("y=1: none shown: the same engine")
    assert broken == "z=1: no gpu_ms, build_failed: no"


@needs_tensorrt
@without_gpu
def test_the_sweep_of_accuracy_is_planned_without_a_gpu(sweep):
    done = sweep("+sweep=accuracy", "model=scale")
    assert done.code == 0 and "planned only" in done.err, done.err
    assert {row["compile"] for row in done.rows.to_dict("records") if isinstance(row["compile"], str)} >= {
        "use_fp32_acc=True",
        "attn_bias_is_causal=False",
    }
