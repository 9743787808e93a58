"""Which of the library's compiled programs a run of the tests has gone through.

python -m pytest -m modes -p programs        fails, and names them, where some were left out
"""

import importlib
import inspect
import pkgutil
import sys
import threading
from types import CodeType, FrameType, FunctionType
from typing import Any

import jax
import pytest

import jaxroute

JIT = type(jax.jit(lambda: None))
OPTIONAL = ("jaxroute.gateway", "jaxroute.cli", "jaxroute.__main__", "jaxroute.serving.exports", "jaxroute.data")
"""Packages that compile nothing, or import what may not be installed."""


def compiled() -> dict[CodeType, str]:
    """The code of every function under ``jax.jit``, and of every function that applies it, by its name."""
    found = {}
    for module in pkgutil.walk_packages(jaxroute.__path__, "jaxroute."):
        if module.name.startswith(OPTIONAL):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            function = inspect.unwrap(value) if callable(value) else value
            if not isinstance(function, FunctionType) or function.__module__ != module.name:
                continue
            if _under_jit(value) or "jit" in function.__code__.co_names:
                found[function.__code__] = f"{module.name}.{name}"
    return found


def _under_jit(value: Any) -> bool:
    while value is not None:
        if isinstance(value, JIT):
            return True
        value = getattr(value, "__wrapped__", None)
    return False


class Programs:
    """A plugin that notes what is called."""

    def __init__(self) -> None:
        self.called: set[CodeType] = set()

    def note(self, frame: FrameType, event: str, _: object) -> None:
        self.called.add(frame.f_code)

    def pytest_sessionstart(self) -> None:
        threading.settrace(self.note)
        sys.settrace(self.note)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        sys.settrace(None)
        threading.settrace(None)
        every = compiled()
        left = sorted(name for code, name in every.items() if code not in self.called)
        print(f"\n{len(every) - len(left)} of {len(every)} compiled programs")
        if left:
            print("not gone through: " + ", ".join(left))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Programs())
