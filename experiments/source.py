"""Which source made a result: the definitions of this repository that a function reaches, and a digest of what they do.

Found from the syntax alone, imports inside functions included: the names that a definition reads, in its own module or
in those that it imports, and what these read in turn. What is not reached (another method, loader or report, a
command's options) changes nothing; neither do comments, docstrings and layout, which are no part of the digest.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
EVERY = "*"


class Symbol(NamedTuple):
    """A name at the top of a module; EVERY stands for all of them, "" for what the module does when it is imported."""

    module: str
    name: str


class Module(NamedTuple):
    """What the top of a module binds. imports: name -> symbols of this repository; EVERY where a module is imported."""

    defined: dict[str, list[ast.stmt]]
    imports: dict[str, set[Symbol]]
    at_import: list[ast.stmt]


def closure(*functions: Any, root: Path = ROOT) -> set[Symbol]:
    """Everything that the functions reach, by module and name.

    >>> sorted(symbol.name for symbol in closure(describe))
    ['', 'Symbol', '_parts', 'describe']
    """
    found: set[Symbol] = set()
    waiting = [symbol for function in functions for symbol in _roots(function)]
    while waiting:
        symbol = waiting.pop()
        if symbol not in found:
            found.add(symbol)
            waiting += _reads(symbol, root)
    return found


def digest(*functions: Any, root: Path = ROOT) -> str:
    """Digest of what the functions reach, and of the arguments that are bound to them."""
    lines = [describe(function) for function in functions]
    lines += [f"{symbol} {_text(symbol, root)}" for symbol in sorted(closure(*functions, root=root))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def describe(function: Any) -> str:
    """A function with what is bound to it, in words that tell it from others.

    >>> describe(partial(closure, root=3))
    'experiments.source.closure(root=3)'
    """
    if not callable(function):
        return repr(function)
    inner, bound = _parts(function)
    given = ", ".join(f"{name}={describe(value)}" if name else describe(value) for name, value in bound)
    return f"{_home(inner)}.{inner.__qualname__}" + (f"({given})" if bound else "")


def _home(function: Callable[..., Any]) -> str:
    """The module that defines a function, also in the process of ``python -m MODULE``, which calls it ``__main__``.

    Raises:
        ImportError: it is defined in a file or in a session that is no module, so it cannot be followed.
    """
    if function.__module__ != "__main__":
        return function.__module__
    if (spec := getattr(sys.modules["__main__"], "__spec__", None)) is None:
        raise ImportError(
            f"{function.__qualname__} is not defined in a module: put it into one, and start that with -m"
        )
    return str(spec.name)


def _roots(function: Any) -> Iterator[Symbol]:
    """The top-level definitions of a function and of all that is bound to it."""
    if callable(function):
        inner, bound = _parts(function)
        yield Symbol(_home(inner), inner.__qualname__.split(".")[0])
        for _, value in bound:
            yield from _roots(value)


def _parts(function: Any) -> tuple[Callable[..., Any], list[tuple[str, Any]]]:
    """The function itself, and what is bound to it: by a partial application, or by the function that defined it."""
    if isinstance(function, partial):
        return function.func, [*(("", value) for value in function.args), *function.keywords.items()]
    inner = inspect.unwrap(function)
    return inner, list(inspect.getclosurevars(inner).nonlocals.items()) if inspect.isfunction(inner) else []


@cache
def _reads(symbol: Symbol, root: Path) -> frozenset[Symbol]:
    """What a symbol leads to directly.

    Raises:
        ImportError: its module makes it on demand, so it cannot be followed.
    """
    module = _module(symbol.module, root)
    if module is None:
        return frozenset()  # of another library
    known = symbol.name in ("", EVERY, *module.defined, *module.imports)
    if not known and "__getattr__" in module.defined:
        raise ImportError(f"{symbol.module} does not define {symbol.name}: import it from the module that does")
    read = {Symbol(symbol.module, "")}
    if symbol.name == EVERY:
        read |= {Symbol(symbol.module, name) for name in (*module.defined, *module.imports)}
    elif symbol.name in module.imports and symbol.name not in module.defined:
        read |= module.imports[symbol.name]
    for name, attribute in _names(_statements(symbol, module)):
        if name in module.defined:
            read.add(Symbol(symbol.module, name))
        targets = module.imports.get(name, ())
        read |= {_attribute(t, attribute, root) if t.name == EVERY and attribute else t for t in targets}
    return frozenset(read)


def _attribute(module: Symbol, name: str, root: Path) -> Symbol:
    """``module.name``: a definition, or a module inside a package."""
    inside = f"{module.module}.{name}"
    known = _module(module.module, root)
    defined = known is not None and (name in known.defined or name in known.imports)
    return Symbol(inside, EVERY) if not defined and _path(inside, root) else Symbol(module.module, name)


def _names(statements: list[ast.stmt]) -> set[tuple[str, str]]:
    """(name, attribute read of it or "") of every name that is read."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    chains = [(n.value, n.attr) for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    within = {id(name) for name, _ in chains}
    bare = {(node.id, "") for node in nodes if isinstance(node, ast.Name) and id(node) not in within}
    return bare | {(name.id, attribute) for name, attribute in chains if isinstance(name, ast.Name)}


def _statements(symbol: Symbol, module: Module) -> list[ast.stmt]:
    return module.defined.get(symbol.name, []) if symbol.name else module.at_import


@cache
def _text(symbol: Symbol, root: Path) -> str:
    module = _module(symbol.module, root)
    return "" if module is None else "\n".join(ast.dump(line) for line in _statements(symbol, module))


@cache
def _module(name: str, root: Path) -> Module | None:
    path = _path(name, root)
    if path is None:
        return None
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):  # strings that stand by themselves: docstrings
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    defined: dict[str, list[ast.stmt]] = {}
    at_import = []
    for line in tree.body:
        names = _bound(line)
        for bound in names:
            defined.setdefault(bound, []).append(line)
        if not names and not isinstance(line, ast.Import | ast.ImportFrom | ast.Pass) and not _is_guard(line):
            at_import.append(line)
    imports: dict[str, set[Symbol]] = {}
    for node in ast.walk(tree):
        for bound, symbol in _imported(node, root):
            imports.setdefault(bound, set()).add(symbol)
    return Module(defined, imports, at_import)


def _bound(line: ast.stmt) -> list[str]:
    """The names that a definition binds; none where it is one for its effect, as ``@f.defjvp`` and ``f[0] = 1`` are."""
    if isinstance(line, ast.FunctionDef | ast.ClassDef):
        decorators = [d.func if isinstance(d, ast.Call) else d for d in line.decorator_list]
        registers = any(isinstance(d, ast.Attribute) and d.attr in ("defjvp", "defvjp", "register") for d in decorators)
        return [] if registers else [line.name]
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    flat = [e for t in targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
    return [target.id for target in flat if isinstance(target, ast.Name)]


def _imported(node: ast.AST, root: Path) -> Iterator[tuple[str, Symbol]]:
    """(name, what it is) of every import of this repository."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if _path(alias.name, root):
                yield alias.asname or alias.name.split(".")[0], Symbol(alias.name, EVERY)
    elif isinstance(node, ast.ImportFrom) and node.module and _path(node.module, root):
        for alias in node.names:
            inside = f"{node.module}.{alias.name}"
            symbol = Symbol(inside, EVERY) if _path(inside, root) else Symbol(node.module, alias.name)
            yield alias.asname or alias.name, symbol


def _is_guard(line: ast.stmt) -> bool:
    """``if TYPE_CHECKING:`` or ``if __name__ == "__main__":``, of which nothing runs at import."""
    test = line.test if isinstance(line, ast.If) else None
    name = test.left if isinstance(test, ast.Compare) else test
    return isinstance(name, ast.Name) and name.id in ("TYPE_CHECKING", "__name__")


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _path(module: str, root: Path) -> Path | None:
    stem = root.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)
