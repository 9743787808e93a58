"""Checkpoints of training states. The only file that imports orbax.

    with checkpoint.open_folder(folder) as checkpoints:
        restored = checkpoint.restore(checkpoints, template)       # (step, state) or None
        checkpoint.save(checkpoints, step, state)

A save is atomic: a killed run leaves the one before it. States come back onto the template's devices, so
what eight devices wrote loads on one. Parameters are stored as arrays; nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp


def open_folder(folder: Path | str, keep: int = 2) -> ocp.training.Checkpointer:
    """Checkpoints of one run; the last ``keep`` are kept. Use as a context manager."""
    return ocp.training.Checkpointer(
        Path(folder).resolve(),
        preservation_policy=ocp.training.preservation_policies.LatestN(keep),
        cleanup_tmp_directories=True,
    )


def save(checkpoints: ocp.training.Checkpointer, step: int, state: Any) -> None:
    """Write ``state`` (a pytree of arrays) as the checkpoint of ``step``."""
    checkpoints.save(step, state, overwrite=True)


def restore(checkpoints: ocp.training.Checkpointer, template: Any) -> tuple[int, Any] | None:
    """The newest checkpoint that can be read, as (step, state); None if there is none.

    Args:
        template: a state of the same structure, shapes and shardings (a freshly initialised one).
    """
    abstract = jax.tree.map(ocp.arrays.to_shape_dtype_struct, template)
    for metadata in sorted(checkpoints.checkpoints, key=lambda m: m.step, reverse=True):
        try:
            return metadata.step, checkpoints.load(metadata.step, abstract)
        except Exception as error:  # a damaged checkpoint: say so, and take the one before it
            print(
                f"checkpoint {metadata.step} in {checkpoints.directory} is damaged "
                f"({type(error).__name__}); the one before it is used"
            )
    return None
