"""Whose checkpoints a folder holds: a digest of every part that a training's result depends on.

    own = identity.parts(program, points, learn, validate)      # {"points.seed": "5f0c...", "loss": "91ab...", ...}
    identity.refuse_another(folder, begun, own, ...)            # begun: the words that a checkpoint of the folder holds

The parts are the points' numbers, the Spec, network, loss and task, and the rows: shapes, types and contents. A
function is its name, its code and what is bound to it; what it reads from its module is not followed. Left out is what
may change when a training goes on: the number of steps, and on how many devices and how many at a time points train.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import jax
import numpy as np

from jaxroute import sweep
from jaxroute.engine.disk import Rows
from jaxroute.engine.program import Program
from jaxroute.types import Hyperparams, InputError

PART_BYTES = 2**26  # of rows that are read at a time
DIGITS = 16
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_CONTAINERS = (tuple, list, dict, set, frozenset, CodeType)


def parts(program: Program, points: Hyperparams, learn: Any, validate: Any) -> dict[str, str]:
    """What the result depends on: name -> digest, or the value itself for a field of the Spec.

    Args:
        program, points, learn, validate: as in `loop.train`. Rows on disk are read once from end to end.

    Example:
        >>> from jaxroute import engine, sweep
        >>> from jaxroute.engine import networks
        >>> from jaxroute.types import Spec
        >>> program = engine.Program(networks.router(2, ()), max, Spec(hidden=()), sweep.mesh())
        >>> slow, fast = (parts(program, sweep.grouped_grid(1, learning_rate=r), (), ()) for r in (0.01, 0.1))
        >>> [name for name in slow if slow[name] != fast[name]]
        ['points.learning_rate']
    """
    spec = {f"spec.{name}": repr(value) for name, value in dataclasses.asdict(program.spec).items() if name != "steps"}
    functions = {"network": program.network, "loss": program.objective, "task": program.task}
    examples = learn.examples if isinstance(learn, Rows) else learn
    return {
        **{f"points.{name}": of_array(value) for name, value in points._asdict().items()},
        **spec,
        **{name: _short(hashlib.sha256(described(value).encode())) for name, value in functions.items()},
        **_leaves("rows.learn", examples),
        **_leaves("rows.validate", validate),
        f"mesh.{sweep.DATA}": str(program.devices_of_rows),
    }


def refuse_another(
    folder: Path | None,
    begun: dict[str, Any],
    own: dict[str, Any],
    *,
    rows: dict[str, int] | None,
    done: int,
    steps: int,
    alike: Callable[[], bool],
) -> None:
    """InputError where a checkpoint is of another training, with the names of the parts that differ.

    Args:
        folder: of the checkpoint. begun: its words (`checkpoint.about`). done: its steps.
        own, rows, steps: of the training that would go on: parts, order of rows (`program.Source`), steps in all.
        alike: whether the checkpoint's arrays are like its own; asked where a former version wrote no parts.
    """
    way_out = "use another folder, or remove this one"
    if begun.get("rows") != rows:
        raise InputError(f"{folder}: was begun with other rows, block or run than {rows or 'these'}; {way_out}")
    if "training" not in begun and not alike():
        raise InputError(f"{folder}: was begun with other numbers of points or features, or another network; {way_out}")
    said = begun.get("training", {"steps": done, "parts": own})
    groups: dict[str, list[str]] = {}
    for name in (*own, *(name for name in said["parts"] if name not in own)):
        if own.get(name) != said["parts"].get(name):
            group, _, part = name.partition(".")
            groups.setdefault(group, []).extend([part] if part else [])
    if groups:
        named = [f"{group} ({', '.join(inside)})" if inside else group for group, inside in groups.items()]
        raise InputError(f"{folder}: was begun with other {', '.join(named)}; {way_out}")
    if steps < said["steps"]:
        raise InputError(f"{folder}: was begun with steps={said['steps']}, more than steps={steps}; {way_out}")


def of_array(values: Any) -> str:
    """Digest of an array's type, shape and bytes, the type being that which JAX gives it.

    Of an array that is partly on other hosts only type and shape are covered.
    """
    there = values if isinstance(values, jax.Array) else np.asarray(values)
    dtype = jax.dtypes.canonicalize_dtype(there.dtype)
    sha = hashlib.sha256(f"{dtype} {there.shape}".encode())
    if isinstance(there, np.ndarray) or there.is_fully_addressable:
        there = np.atleast_1d(jax.device_get(there) if isinstance(there, jax.Array) else there)
        rows = max(1, PART_BYTES * len(there) // max(1, there.nbytes))
        for start in range(0, len(there), rows):
            sha.update(np.asarray(there[start : start + rows], dtype).tobytes())
    return _short(sha)


def described(value: Any, seen: dict[int, Any] | None = None) -> str:
    """A function and what is bound to it, in words that are the same in another process.

    >>> described(functools.partial(len, [0.5])) == described(functools.partial(len, [0.25]))
    False
    """
    seen = {} if seen is None else seen
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return of_array(value)
    if not isinstance(value, _CONTAINERS):
        if id(value) in seen:  # a function that calls itself, say
            return "again"
        seen[id(value)] = value
    name, inside = _inside(value)
    words = [described(part, seen) for part in inside]
    return f"{name}({', '.join(sorted(words) if isinstance(value, set | frozenset) else words)})"


def _inside(value: Any) -> tuple[str, Iterable[Any]]:
    """What to call a value, and what it is made of."""
    kind = type(value).__qualname__
    if isinstance(value, CodeType):
        return kind, (value.co_code, value.co_names, value.co_consts)
    if isinstance(value, dict):
        return kind, [part for name in sorted(value, key=str) for part in (name, value[name])]
    if isinstance(value, tuple | list | set | frozenset):
        return kind, value
    if isinstance(value, functools.partial):
        return kind, (value.func, value.args, value.keywords)
    if isinstance(value, MethodType):
        return kind, (value.__func__, value.__self__)
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, FunctionType):
        bound = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]  # but for empty ones
        code = value.__code__.replace(co_consts=tuple(x for x in value.__code__.co_consts if x != value.__doc__))
        return value.__qualname__, (code, value.__defaults__, value.__kwdefaults__, bound)
    if callable(value) and hasattr(value, "__qualname__"):  # a class, or a function that has no Python code
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}", ()  # a slot of C has no module
    call = [type(value).__call__] if callable(value) else []
    if dataclasses.is_dataclass(value):
        return kind, (*call, *(getattr(value, field.name) for field in dataclasses.fields(value)))
    if type(value).__repr__ is object.__repr__:
        return kind, (*call, getattr(value, "__dict__", {}))
    return f"{kind} {re.sub(' at 0x[0-9a-f]+', '', repr(value))}", call


def _leaves(name: str, tree: Any) -> dict[str, str]:
    return {
        f"{name}{jax.tree_util.keystr(path)}": of_array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _short(sha: Any) -> str:
    return str(sha.hexdigest()[:DIGITS])
