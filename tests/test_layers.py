"""The layers of the package: a layer imports only from below, and a heavy library has one importer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autoparallel"

# From the bottom up. Names in one row may not import each other.
LAYERS = [
    {"errors"},
    {"staging", "reading"},
    {"domain"},
    {"catalog"},
    {"problem_file"},
    {"performance"},
    {"calibration", "simulation"},
    {"pareto"},
    {"solver"},
    {"tuning"},
    {"answer"},
    {"proof"},
    {"searching"},
    {"planner"},
    {"fleet_planner"},
    {"explanation"},
    {"placement_file"},
    {"results_folder"},
    {"sweeping"},
    {"verification"},
    {"report", "exporters", "audit"},
    {"importers"},
    {"documents"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ONLY_IMPORTER = {"ortools": "solver", "optuna": "tuning", "plotly": "report"}
# The public faces, of the library and of `python -m autoparallel`, stand above all layers.
FACES = [PACKAGE / "__init__.py", PACKAGE / "__main__.py"]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path not in FACES)


def imports(tree: ast.AST) -> Iterator[str]:
    """Every absolute module name that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def violations(layer: str, source: str) -> list[str]:
    found = []
    for name in sorted(set(imports(ast.parse(source)))):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "autoparallel" and target in LEVEL and target != layer and LEVEL[target] >= LEVEL[layer]:
            found.append(f"{layer} imports {name} from above")
        if ONLY_IMPORTER.get(top, layer) != layer:
            found.append(f"{layer} imports {name}, which only {ONLY_IMPORTER[top]} may")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    layer = layer_of(path)
    assert layer in LEVEL, f"{layer} has no place in the layers: give it one"
    assert violations(layer, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("layer", "source", "count"),
    [
        ("domain", "from autoparallel.catalog import load_gpu", 2),
        ("domain", "def f():\n    import autoparallel.cli.main", 1),
        ("domain", "from autoparallel import planner", 1),
        ("pareto", "from autoparallel.solver import front", 2),
        ("cli", "from autoparallel.planner import search\nimport click", 0),
        ("cli", "import plotly.graph_objects as go", 1),
        ("tuning", "import optuna\nfrom ortools.sat.python import cp_model", 2),
    ],
)
def test_the_check_itself(layer: str, source: str, count: int) -> None:
    assert len(violations(layer, source)) == count


def test_files_are_small() -> None:
    long = [path.name for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []
