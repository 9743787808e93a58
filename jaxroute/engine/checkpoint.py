"""Checkpoints of training states. The only file that imports orbax.

    checkpoints = checkpoint.open_folder(folder)
    restored = checkpoint.restore(checkpoints, template)       # (step, state) or None
    checkpoint.save(checkpoints, step, state)                  # returns at once; written in the background
    checkpoint.close(checkpoints)                              # waits for what is still being written

A save is atomic: a killed run leaves the one before it, and what it left half-written is said. Every checkpoint
carries the digest of its own arrays, the package versions and the caller's words (a config), so that one which reads
back differently is found out. States come back onto the template's devices, so what eight devices wrote loads on
one. Parameters are stored as arrays; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxroute.types import InputError

HALF_WRITTEN = ".orbax-checkpoint-tmp"  # in the name of a checkpoint's folder until all of it is on disk
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
ORBAX = threading.Lock()
"""Held from the beginning of a save until it is on disk, and while a checkpoint is read. Orbax numbers its operations
for the whole process: saves of two folders in two threads would take each other's numbers, and fail or never end."""


class SaveError(OSError):
    """A checkpoint could not be written; those before it are intact."""


def open_folder(folder: Path | str, keep: int = 2) -> ocp.training.Checkpointer:
    """Checkpoints of one run; the last ``keep`` are kept, and the best if ``save`` is told their values.

    What a killed run left half-written is not among them, nor what cannot be listed; a line each says so.
    """
    folder = Path(folder).resolve()
    _look_over(folder)
    policies = ocp.training.preservation_policies
    best = policies.BestN(get_metric_fn=_value, n=1, keep_checkpoints_without_metrics=False)
    return ocp.training.Checkpointer(
        folder,
        save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
        cleanup_tmp_directories=True,
    )


def save(
    checkpoints: ocp.training.Checkpointer,
    step: int,
    state: Any,
    *,
    value: float | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Begin to write ``state`` (a pytree of arrays) as the checkpoint of ``step``; waits for the save before it.

    Threads may save to folders of their own; one save after another is written.

    Args:
        value: validation value (higher is better) by which the best checkpoint is kept.
        about: what to write beside the arrays, a config say; anything JSON can hold.

    Raises:
        SaveError: this save or the one before it failed (a full disk, say).
    """
    words = {"packages": {name: importlib.metadata.version(name) for name in PACKAGES}, **(about or {})}
    words = json.loads(json.dumps(words))  # as it will read back: tuples are lists
    # A copy: the caller may donate the state to its next chunk while this is being written.
    state = jax.tree.map(jnp.copy, state)
    seal = {"digest": digest(state, words), "about": words, "about_digest": digest((), words)}
    metrics = None if value is None else {"value": float(value)}
    ORBAX.acquire()
    writing = None
    try:
        writing = _said(
            checkpoints,
            lambda: checkpoints.save_async(step, state, overwrite=True, metrics=metrics, custom_metadata=seal),
        )
    finally:
        if writing is None:
            ORBAX.release()
        else:
            threading.Thread(target=_release_after, args=(writing,), name="checkpoint written").start()


def close(checkpoints: ocp.training.Checkpointer) -> None:
    """Wait until the last save is on disk. Raises SaveError if it could not be written."""
    with ORBAX:
        _said(checkpoints, checkpoints.close)


def restore(
    checkpoints: ocp.training.Checkpointer, template: Any | Callable[[int], Any], *, best: bool = False
) -> tuple[int, Any] | None:
    """The newest checkpoint that reads back as it was written, as (step, state); None if there is none.

    Args:
        template: a state of the same structure, shapes and shardings (a freshly initialised one, or
            ``jax.ShapeDtypeStruct`` leaves); or a function step -> such a template, which raises InputError where the
            checkpoint of the step is another training's.
        best: the one with the highest validation value instead, the newest of equals.
    """

    def rank(metadata: Any) -> tuple[float, int]:
        return (_value(metadata.metrics) if best and metadata.metrics else -math.inf), metadata.step

    ranked = sorted(checkpoints.checkpoints, key=rank, reverse=True)
    for place, metadata in enumerate(ranked, 1):
        try:
            expected = template(metadata.step) if callable(template) else template
            abstract = jax.tree.map(ocp.arrays.to_shape_dtype_struct, expected)
            with ORBAX:
                state = checkpoints.load(metadata.step, abstract)
            seal = checkpoints.metadata(metadata.step).custom_metadata
            if seal["digest"] != digest(state, seal["about"]):
                raise ValueError("its arrays differ from those that were written")
            return metadata.step, state
        except InputError:
            raise
        except Exception as error:  # a damaged checkpoint: say so, and take the next
            following = "the next best" if best else "the one before it"
            _say(metadata.path, f"damaged ({type(error).__name__}: {_line(error)})", len(ranked) - place, following)
    return None


def about(checkpoints: ocp.training.Checkpointer, step: int) -> dict[str, Any]:
    """What was written beside the arrays of ``step``: package versions and the caller's words.

    Raises:
        ValueError: they read back differently.
    """
    seal = checkpoints.metadata(step).custom_metadata
    if seal.get("about_digest", digest((), seal["about"])) != digest((), seal["about"]):  # older ones have none
        raise ValueError("its words differ from those that were written")
    return seal["about"]


def fits(checkpoints: ocp.training.Checkpointer, step: int, template: Any) -> bool:
    """Whether the arrays of ``step`` have the shapes and types of the template's; none of them is read."""

    def kinds(tree: Any) -> list[tuple[tuple[int, ...], str]]:
        return sorted((tuple(leaf.shape), str(np.dtype(leaf.dtype))) for leaf in jax.tree.leaves(tree))

    return kinds(checkpoints.metadata(step).metadata) == kinds(template)


def digest(state: Any, about: dict[str, Any]) -> str:
    """SHA-256 of every leaf's path, type, shape and bytes and of ``about``, whatever the devices.

    Arrays spread over several hosts cannot be read by one of them; only their names and shapes are covered then.
    """
    sha = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        sha.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        if leaf.is_fully_addressable:
            sha.update(np.ascontiguousarray(leaf).data)
    return sha.hexdigest()


def _release_after(writing: Any) -> None:
    with suppress(Exception):  # Orbax raises it once more in the thread that saves next, or closes
        writing.result()
    ORBAX.release()


def _said(checkpoints: ocp.training.Checkpointer, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:
        raise SaveError(
            f"{checkpoints.directory}: a checkpoint could not be written ({_line(error)}); earlier ones are intact; "
            "free some space and run the same command again"
        ) from error


def _look_over(folder: Path) -> None:
    """Say what is half-written (Orbax removes it), and set aside what it cannot list: it would not open the folder."""
    steps = sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: -int(path.name))
    for path in folder.glob(f"*{HALF_WRITTEN}*"):
        _say(path, "half-written", len(steps))
    for place, path in enumerate(steps, 1):
        try:
            ocp.checkpointables_metadata(path)
            values = path / "metrics" / "metrics"
            if values.exists():
                _value(json.loads(values.read_text()))
        except Exception as error:
            _say(path, f"damaged ({type(error).__name__}: {_line(error)})", len(steps) - place)
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def _say(path: Any, what: str, left: int, following: str = "the one before it") -> None:
    instead = f"{following} is used" if left else "no other is left, so training starts from the beginning"
    print(f"checkpoint {path.name.split('.')[0]} in {path.parent} is {what}; {instead}", flush=True)


def _value(metrics: dict[str, float]) -> float:
    value = metrics["value"]
    return -math.inf if math.isnan(value) else value  # Orbax would take NaN for the best


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
