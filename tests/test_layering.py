"""The architecture, held against the imports as they are."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxroute"
LEVEL = {
    "types": 0, "printing": 0, "saving": 0, "arguments": 0, "numerics": 0, "_lazy": 0, "_aliases": 0,
    "losses": 1, "policies": 1, "counterfactual": 1, "metrics": 1, "projection": 1,
    "sweep": 2, "engine": 2,
    "nuisance": 3, "estimators": 3, "recipe": 4,
    "serving": 5, "learn": 5, "report": 5, "gateway": 5, "data": 5,
    "api": 6, "cli": 7, "__main__": 8, "__init__": 8,
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Dotted names that the file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def internal(path: Path) -> set[str]:
    return {i.split(".")[1] for i in imports_of(path) if i.startswith("jaxroute.")} - {name_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = LEVEL[name_of(path)]
    for other in internal(path):
        assert LEVEL[other] <= own, f"{path.name} (level {own}) imports {other} (level {LEVEL[other]})"
        if own <= 4:
            assert other != "data"
    assert not any(i.split(".")[0] == "experiments" for i in imports_of(path))


def test_modules_of_one_level_form_no_cycle():
    graph = {}
    for path in FILES:
        graph.setdefault(name_of(path), set()).update(internal(path))

    def visit(node: str, trail: tuple[str, ...]) -> None:
        assert node not in trail, " -> ".join((*trail, node))
        for other in graph.get(node, ()):
            visit(other, (*trail, node))

    for node in graph:
        if node != "__init__":
            visit(node, ())


@pytest.mark.parametrize(("library", "owner"), [("flax", "engine"), ("orbax", "engine"), ("litellm", "gateway")])
def test_one_owner_per_library(library, owner):
    users = {name_of(p) for p in FILES if any(i.split(".")[0] == library for i in imports_of(p))}
    assert users <= {owner}


def test_report_imports_no_jax():
    for path in FILES:
        if name_of(path) == "report":
            assert not {i for i in imports_of(path) if i.split(".")[0] in ("jax", "jaxlib")}


def test_heavy_libraries_are_imported_inside_functions():
    for path in FILES:
        if name_of(path) != "data":
            continue
        for node in ast.parse(path.read_text()).body:
            names = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            assert not {n.split(".")[0] for n in names} & {"pandas", "datasets", "torch", "sklearn"}, path


def test_importing_jaxroute_queries_no_device():
    import subprocess
    import sys

    code = (
        "import jax\n"
        "import sys, jaxroute.engine\n"
        "assert not {'flax', 'orbax', 'optax'} & set(sys.modules), 'importing jaxroute.engine imported its libraries'\n"
        "import jaxroute, jaxroute.nuisance, jaxroute.engine.loop, jaxroute.losses, jaxroute.metrics\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'importing jaxroute started a backend'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
