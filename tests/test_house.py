"""The house: imports go down only, nothing imports in a circle, and no module outgrows a reader."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "trt_sweep"
# From the ground up. `results` and `config` do not know each other, nor the machine.
FLOORS = [
    {"errors"},
    {"config", "results"},
    {"machine"},
    {"measure"},
    {"models"},
    {"backends"},
    {"points"},
    {"workers"},
    {"sweep"},
    {"analysis"},
    {"benchmarks"},
    {"app"},
]
LEVEL = {name: number for number, floor in enumerate(FLOORS) for name in floor}
FILES = {
    ".".join(("trt_sweep", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def room(module: str) -> str:
    """Return the package of the house that a module stands in."""
    return [*module.split("."), "app"][1]


def imported(module: str, *, inside_functions: bool) -> set[str]:
    """Return the modules of ours that a module imports, those that its functions import too if asked."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if inside_functions else tree.body:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= names & FILES.keys() or {node.module}
    return {name for name in found if name in FILES} - {module}


def test_every_package_has_its_floor():
    assert {room(name) for name in FILES} - {"__main__"} == set(LEVEL)


@pytest.mark.parametrize("module", sorted(FILES.keys() - {"trt_sweep", "trt_sweep.__main__"}))
def test_imports_go_down(module):
    def below(other: str) -> bool:
        mine, theirs = room(module), room(other)
        return mine == theirs or LEVEL[theirs] < LEVEL[mine]

    assert [other for other in imported(module, inside_functions=True) - {"trt_sweep"} if not below(other)] == []


def test_no_module_imports_itself_by_way_of_others():
    known = {module: imported(module, inside_functions=False) for module in FILES}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in known[module]:
                visit(other, (*way, module))
            done.add(module)

    for module in known:
        visit(module, ())


def test_modules_stay_small():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert {name: number for name, number in lines.items() if number > 350} == {}
    assert statistics.median(lines.values()) <= 150


def test_the_house_has_few_doors():
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 15
