"""A router as StableHLO: (features [N, D], cost weight) -> scores [N, K], and quality and cost where it predicts them.

    content = stablehlo(router)                        # JAX's own container, for any batch size and three platforms
    call(content)(features, cost_weight)               # the scores; the argmax is the choice
    portable(router, batch=8)                          # MLIR bytecode for any compiler that reads StableHLO

Texts must be encoded before. No path of this machine is in either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export
from jaxtyping import Array, Float

from jaxroute.serving import kinds
from jaxroute.serving.exports import program
from jaxroute.serving.router import Router
from jaxroute.types import InputError

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(router: Router, batch: int | None = None) -> bytes:
    """Serialised program of a router's scores in the container of ``jax.export``.

        score_k = that of the router's kind at one cost weight for all prompts,   -inf for removed models

    Args:
        router: any. batch: number of rows; None: any.

    Returns:
        Bytes for a file; what ``jax.export.deserialize`` reads.
    """
    return bytes(_exported(router, batch, PLATFORMS, alone=True).serialize())


def portable(router: Router, batch: int | None = None) -> bytes:
    """StableHLO as MLIR bytecode, for compilers other than JAX: scores, then quality and cost where it predicts them.

    Args:
        router: any. batch: number of rows; None: any.
    """
    return bytes(_exported(router, batch, ("cpu",), alone=False).mlir_module_serialized)


def call(content: bytes) -> Callable[[Array, Array], Array]:
    """The exported program as a function of (features [N, D], cost weight) -> scores [N, K].

    Raises:
        InputError: not an exported program.
    """
    try:
        return jax.jit(jax_export.deserialize(bytearray(content)).call)
    except Exception as error:  # the parser of flatbuffers raises whatever the bytes lead it to
        raise InputError(f"not an exported router ({type(error).__name__}); export it again") from None


def _exported(router: Router, batch: int | None, platforms: tuple[str, ...], alone: bool) -> jax_export.Exported:
    kind = kinds.name_of(router.kind)
    arrays, settings = kinds.on_host(kinds.arrays(router.kind)), kinds.settings(router.kind)

    def scores(features: Float[Array, "N D"], cost_weight: Float[Array, ""]) -> Any:
        with jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
            named = program.outputs(jnp, router, kind, arrays, settings, features, cost_weight)
        return named["scores"] if alone else tuple(named.values())

    rows = jax_export.symbolic_shape("N")[0] if batch is None else batch
    width = router.kind.num_features
    arguments = jax.ShapeDtypeStruct((rows, width), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    with _no_paths():
        return jax_export.export(jax.jit(scores), platforms=platforms)(*arguments)


@contextlib.contextmanager
def _no_paths() -> Iterator[None]:
    """Programs that are lowered here name no file of this machine."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
