"""The architecture, held against the imports as they are."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxroute"
LEVEL = {
    "types": 0, "system": 0, "settings": 0, "arguments": 0, "numerics": 0, "_lazy": 0, "_aliases": 0,
    "losses": 1, "policies": 1, "counterfactual": 1, "metrics": 1, "projection": 1,
    "sweep": 2, "engine": 2,
    "nuisance": 3, "estimators": 3, "recipe": 4,
    "serving": 5, "learn": 5, "report": 5, "gateway": 5, "data": 5,
    "api": 6, "cli": 7, "__main__": 8, "__init__": 8,
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Dotted names that the file imports, inside functions too."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


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
        if name_of(path) == "data":
            at_top = {name.split(".")[0] for name in imported_at_top(path)}
            assert not at_top & {"pandas", "datasets", "torch", "sklearn"}, path


def imported_at_top(path: Path) -> set[str]:
    """Dotted names that importing the file imports: not those inside functions or for type checkers alone."""
    found = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_importing_jaxroute_queries_no_device():
    code = (
        "import jax\n"
        "import sys, jaxroute.engine\n"
        "assert not {'flax', 'orbax', 'optax'} & set(sys.modules), 'importing jaxroute.engine imported its libraries'\n"
        "import jaxroute, jaxroute.nuisance, jaxroute.engine.loop, jaxroute.losses, jaxroute.metrics\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'importing jaxroute started a backend'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_computes_while_it_is_imported():
    """A backend begun by an import has threads, and a process forked after it waits for them for ever."""

    def computations(node: ast.AST):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Call) and re.match(r"jnp\.|jax\.(random|nn|numpy|lax)\.", ast.unparse(node.func)):
            yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from computations(child)

    files = [*FILES, *(ROOT / "experiments").rglob("*.py")]
    assert [f"{path}:{line}" for path in files for line in computations(tree_of(path))] == []


def test_the_root_holds_at_most_ten_modules():
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(modules) <= 10, sorted(modules)


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTION = {"iree": "iree-base-compiler", "sklearn": "scikit-learn", "orbax": "orbax-checkpoint", "yaml": "pyyaml"}
DISTRIBUTION |= {"sentence_transformers": "sentence-transformers", "prometheus_client": "prometheus-client"}
WITH_AN_EXTRA = {
    "gateway/hooks.py": {"litellm"},
    "gateway/handler.py": {"litellm"},
    "gateway/abilities.py": {"litellm"},
    "gateway/endpoints.py": {"litellm", "fastapi"},
    "gateway/service.py": {"starlette"},
}
"""Modules that are of no use without an extra, and import it as every module imports its libraries."""


def bounds(requirements: list[str]) -> dict[str, str]:
    """{distribution: its versions} of requirement lines."""
    return {re.split(r"[\[><=]", line)[0].strip().lower(): re.sub(r"^[^><=]*", "", line) for line in requirements}


def test_requirements_are_the_eight_of_the_design_and_what_experiments_need():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    required = bounds([line for line in lines if line and not line.startswith("#")])
    eight = {"jax", "flax", "optax", "chex", "numpy", "datasets", "orbax-checkpoint", "pytest"}
    assert set(list(required)[:8]) == eight
    own, experiments = bounds(PROJECT["dependencies"]), bounds(EXTRAS["experiments"])
    assert required == own | experiments | {"pytest": required["pytest"]}
    assert not own.keys() & {"pytest", *experiments}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_wheel_declares_what_it_imports(path):
    own, extras = bounds(PROJECT["dependencies"]), bounds([line for lines in EXTRAS.values() for line in lines])

    def distributions(names: set[str]) -> set[str]:
        libraries = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"jaxroute", "__future__"}
        return {DISTRIBUTION.get(library, library) for library in libraries}

    at_top = distributions(imported_at_top(path)) - WITH_AN_EXTRA.get(str(path.relative_to(PACKAGE)), set())
    assert at_top <= own.keys(), "a library that is no dependency of the wheel is imported when jaxroute is"
    assert distributions(imports_of(path)) <= own.keys() | extras.keys()
