"""Imports that wait: names of a package until they are first used (PEP 562), and libraries that are extras."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def extra(module: str, name: str) -> Any:
    """A module of a library that only an extra of jaxroute installs.

    Args:
        module: its dotted name.
        name: of the extra.

    Raises:
        InputError: the library is not installed; the message says how to install it.

    Example:
        >>> extra("no_such_library", "experiments")
        Traceback (most recent call last):
        jaxroute.types.InputError: this needs no_such_library; run pip install 'datasets...' 'huggingface_hub...' (...)
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        from jaxroute.types import InputError

        library = module.partition(".")[0]
        raise InputError(f"this needs {library}; {install(name)}") from None


def install(name: str) -> str:
    """How to install an extra: the packages that it names, which pip finds wherever jaxroute itself came from.

    Args:
        name: of the extra.

    Returns:
        An instruction; it names the extra alone where jaxroute runs from a folder that was never installed.

    Example:
        >>> print(install("onnx"))
        run pip install 'onnx...' 'onnxruntime...' (jaxroute's extra onnx)
    """
    try:
        wanted = importlib.metadata.requires("jaxroute") or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    parts = [line.partition(";") for line in wanted]
    packages = [package.strip() for package, _, marker in parts if marker.strip() in _of_extra(name)]
    if not packages:
        return f"install jaxroute's extra {name}"
    quoted = " ".join(f"'{package}'" for package in packages)
    return f"run pip install {quoted} (jaxroute's extra {name})"


def _of_extra(name: str) -> tuple[str, str]:
    return f'extra == "{name}"', f"extra == '{name}'"


def lazy(
    package: str, modules: Sequence[str], names: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its dotted name.
        modules: its modules that are attributes of it.
        names: other attributes, each with the module that defines it.

    Returns:
        The two functions, to be assigned to ``__getattr__, __dir__`` in the package.

    Example:
        >>> get, names = lazy("json", ["decoder"], {"dumps": "json"})
        >>> get("decoder").__name__, get("dumps")([1])
        ('json.decoder', '[1]')
    """
    defined_in = dict(names or {})

    def get(name: str) -> Any:
        if name in defined_in:
            value = getattr(importlib.import_module(defined_in[name]), name)
        elif name in modules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def names_of() -> list[str]:
        return sorted({*(name for name in vars(sys.modules[package]) if name.startswith("__")), *modules, *defined_in})

    return get, names_of
