"""Rooms import only to the right in `GRAPH`, files in no circle, and tests have names to be read."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GRAPH = {
    "forecast": {
        "cli": {"plots"},
        "plots": {"report"},
        "report": {"verify"},
        "verify": {"decide", "classical"},
        "decide": {"bayes"},
        "bayes": {"model"},
        "model": {"runs"},
        "classical": {"runs"},
        "runs": {"published"},
        "published": {"arguments", "files", "shown"},
        "arguments": {"errors"},
        "shown": {"numbers"},
        "files": set(),
        "numbers": set(),
        "errors": set(),
    },
    "training": {
        "cli": {"sweeps", "record"},
        "sweeps": {"learn", "design"},
        "learn": {"batches", "play"},
        "record": {"bot", "play", "shards"},
        "batches": {"shards"},
        "play": {"policies"},
        "design": {"policies", "shards"},
        "policies": {"games"},
        "games": {"config"},
        "bot": {"config"},
        "shards": {"config"},
        "config": {"files", "schema", "toml", "interrupts", "processes", "durations"},
        "toml": {"errors"},
        "processes": {"errors"},
        "files": set(),
        "schema": set(),
        "interrupts": set(),
        "durations": set(),
        "errors": set(),
    },
}
"""What stands directly to the right of a room; what stands right of that may be imported too."""


@cache
def right_of(package: str, room: str) -> frozenset[str]:
    direct = GRAPH[package][room]
    return frozenset(direct).union(*(right_of(package, other) for other in direct))


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files_of(package: str) -> dict[str, Path]:
    return {module_of(file): file for file in sorted((ROOT / package).rglob("*.py"))}


def imports_of(module: str, files: dict[str, Path]) -> set[str]:
    """Modules of both packages that a file imports at any level: the submodule where a submodule is named."""
    names = set()
    for node in ast.walk(ast.parse(files[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in files else str(node.module))
    return {name for name in names if name.split(".")[0] in GRAPH}


def room_of(module: str) -> str:
    """The folder or file below the package, empty for the package's own `__init__`, which re-exports what it likes."""
    return (*module.split("."), "")[1]


@pytest.mark.parametrize("package", GRAPH)
def test_an_import_goes_only_to_a_room_on_the_right(package):
    files = files_of(package)
    wrong = [
        f"{module} imports {other}"
        for module in files
        for other in sorted(imports_of(module, files))
        if other.split(".")[0] == package and room_of(module)
        and room_of(other) not in {room_of(module), *right_of(package, room_of(module))}
        and not (other == package and room_of(module) == "cli")  # the commands use what the package offers to all
    ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_forecast_and_training_never_import_each_other():
    for package, other in (("forecast", "training"), ("training", "forecast")):
        files = files_of(package)
        wrong = [m for m in files if any(name.split(".")[0] == other for name in imports_of(m, files))]
        assert not wrong, f"{wrong} import {other}"


@pytest.mark.parametrize("package", GRAPH)
def test_files_import_in_no_circle(package):
    """An `__init__` that re-exports its own files is left out, as what it imports; what others import of it is not."""
    files = files_of(package)
    graph = {}
    for module, file in files.items():
        own = f"{module}." if file.name == "__init__.py" else None
        graph[module] = {name for name in imports_of(module, files) if own is None or not name.startswith(own)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_every_room_of_the_packages_is_in_the_graph():
    for package, rooms in GRAPH.items():
        assert {room_of(module) for module in files_of(package)} - {"", *rooms} == set()
