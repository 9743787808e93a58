"""A router as StableHLO: one file that any XLA runtime can call, without this package.

    scores = call(content)(features [N, D], cost_weight)      # [N, K], the argmax is the choice

The batch size is symbolic and the program is lowered for CPU, CUDA and TPU. Texts must be encoded before.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export as jax_export
from jaxtyping import Array, Float

from jaxroute.serving.router import Router
from jaxroute.types import InputError

PLATFORMS = ("cpu", "cuda", "tpu")


def stablehlo(router: Router) -> bytes:
    """Serialised program of a router's scores.

        score_k = that of the router's kind at one cost weight for all prompts,   -inf for removed models

    Args:
        router: any.

    Returns:
        Bytes for a file; what ``jax.export.deserialize`` reads.
    """
    removed = ~jnp.asarray(router.available)

    def scores(features: Float[Array, "N D"], cost_weight: Float[Array, ""]) -> Float[Array, "N K"]:
        with jax.default_matmul_precision("highest"):
            found = router.kind.scores(features, jnp.broadcast_to(cost_weight, features.shape[:1]))
        return jnp.where(removed[None, :], -jnp.inf, found)

    (rows,) = jax_export.symbolic_shape("N")
    width = router.kind.num_features
    arguments = jax.ShapeDtypeStruct((rows, width), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    return bytes(jax_export.export(jax.jit(scores), platforms=PLATFORMS)(*arguments).serialize())


def call(content: bytes) -> Callable[[Array, Array], Array]:
    """The exported program as a function of (features [N, D], cost weight) -> scores [N, K].

    Raises:
        InputError: not an exported program.
    """
    try:
        return jax.jit(jax_export.deserialize(bytearray(content)).call)
    except Exception as error:  # the parser of flatbuffers raises whatever the bytes lead it to
        raise InputError(f"not an exported router ({type(error).__name__}); export it again") from None
