"""Numerics shared by the pure functions: masked reductions, safe division, blocks of prompts.

Every masked function takes ``where`` (None: everything counts), reduces the LAST axis, ignores whatever
stands in masked entries (NaN and infinity included, also in gradients) and returns 0 for a row in which
nothing is left, so that padding rows are harmless inside jit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxroute.arguments import floats, known

Mask = Bool[Array, "*batch K"] | None


@contextmanager
def nan_is_unknown() -> Iterator[None]:
    """Inside, ``jax_debug_nans`` does not look: a NaN that is made here says that something is not known.

    For the few places whose documented results hold NaN in ordinary use (a log's missing feedback, the weights of an
    estimator that has none); also a decorator of a function.

    >>> with jax.debug_nans(True), nan_is_unknown():
    ...     print(jnp.asarray(np.array([0.5, np.nan])))
    [0.5 nan]
    """
    with jax.debug_nans(False):
        yield


@nan_is_unknown()
def as_arrays(tree: Any) -> Any:
    """A log, a table's outcomes, ... with JAX arrays for its leaves; NaN, which is missing feedback, stays NaN."""
    return jax.tree.map(jnp.asarray, tree)


def _fill(x: Array, where: Mask, fill: float) -> Array:
    x = jnp.asarray(floats(x, "x"))
    return x if where is None else jnp.where(where, x, jnp.asarray(fill, x.dtype))


def _any(x: Array, where: Mask) -> Array:
    return jnp.ones(x.shape[:-1], bool) if where is None else jnp.any(jnp.broadcast_to(where, x.shape), -1)


def masked_max(x: Float[Array, "*batch K"], where: Mask = None) -> Float[Array, "*batch"]:
    """Largest available entry; 0 where nothing is available.

    >>> print(masked_max(jnp.array([3.0, 7.0]), jnp.array([True, False])))
    3.0
    """
    return jnp.where(_any(x, where), jnp.max(_fill(x, where, -jnp.inf), -1), 0.0)


def masked_argmax(x: Float[Array, "*batch K"], where: Mask = None) -> Int[Array, "*batch"]:
    """Index of the largest available entry, the lowest index on ties; 0 where nothing is available.

    >>> print(masked_argmax(jnp.array([1.0, 7.0, 7.0])))
    1
    """
    # No x == max(x), and no isnan, which is x != x: XLA may compute x twice and round it otherwise the second time.
    x = _fill(x, where, -jnp.inf)
    best = jnp.argmax(jnp.where(x > -jnp.inf, x, -jnp.inf), -1)
    if where is None:
        return best
    # Availability first, then the value: an available -inf beats a masked entry. NaN counts as -inf.
    where = jnp.broadcast_to(where, x.shape)
    kept = jnp.take_along_axis(where, best[..., None], -1)[..., 0]
    return jnp.where(kept, best, jnp.argmax(where, -1))


@jax.jit
def masked_softmax(x: Float[Array, "*batch K"], where: Mask = None) -> Float[Array, "*batch K"]:
    """Softmax over the available entries; masked entries are exactly 0, with gradient 0.

    >>> print(masked_softmax(jnp.array([0.0, 0.0, jnp.nan]), jnp.array([True, True, False])))
    [0.5 0.5 0. ]
    """
    if where is None:
        return jax.nn.softmax(x, -1)
    return jnp.where(where, jnp.exp(masked_log_softmax(x, where)), 0.0)


def masked_log_softmax(x: Float[Array, "*batch K"], where: Mask = None) -> Float[Array, "*batch K"]:
    """Log-softmax over the available entries; 0 (not -inf) at masked ones, so products stay finite."""
    if where is None:
        return jax.nn.log_softmax(x, -1)
    x = jnp.where(where, x, 0.0)
    return jnp.where(where, x - masked_logsumexp(x, where)[..., None], 0.0)


def masked_logsumexp(x: Float[Array, "*batch K"], where: Mask = None) -> Float[Array, "*batch"]:
    """log sum exp over the available entries; 0 where nothing is available."""
    x = _fill(x, where, 0.0)
    peak = jax.lax.stop_gradient(masked_max(x, where))
    terms = jnp.exp(jnp.where(True if where is None else where, x - peak[..., None], -jnp.inf))
    total = jnp.sum(terms, -1)
    nothing = total == 0  # NaN passes: a row whose every score is -inf is no distribution
    return jnp.where(nothing, 0.0, peak + jnp.log(jnp.where(nothing, 1.0, total)))


def masked_sum(x: Float[Array, "*batch K"], where: Mask = None) -> Float[Array, "*batch"]:
    """Sum over the available entries."""
    return jnp.sum(_fill(x, where, 0.0), -1)


def expectation(weights: Float[Array, "*batch K"], x: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """sum_k w_k x_k in which a weight of 0 counts for nothing, also where x is infinite or NaN.

    >>> print(expectation(jnp.array([0.0, 0.5]), jnp.array([-jnp.inf, 3.0])))
    1.5
    """
    hole = (weights == 0) & ~jnp.isfinite(x)
    return jnp.sum(weights * jnp.where(hole, 0.0, x), -1)


def safe_divide(numerator: Array, denominator: Array, default: float = jnp.nan) -> Array:
    """numerator / denominator, ``default`` where the denominator is 0; finite gradients either way.

    >>> print(safe_divide(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0]), default=0.0))
    [0.  0.5]
    """
    zero = denominator == 0
    return jnp.where(zero, default, numerator / jnp.where(zero, 1.0, denominator))


def relative(weight: Float[Array, " N"] | None) -> Float[Array, " N"] | None:
    """Weights of rows as multiples of their mean; None where there are none, or where all are known to be equal.

    >>> print(relative(jnp.array([1.0, 3.0])), relative(jnp.array([4.0, 4.0])))
    [0.5 1.5] None
    """
    if weight is None or (known(weight) and np.ptp(np.asarray(weight)) == 0):
        return None
    share = jnp.asarray(weight) / jnp.max(jnp.asarray(weight))  # exactly 1 where equal ones are traced
    return share / jnp.mean(share)


def weighted_mean(y: Float[Array, N * rest], weight: Float[Array, " N"] | None) -> Float[Array, "*rest"]:
    """Mean over the rows, each counted ``weight`` times; None: once.

    >>> print(weighted_mean(jnp.array([0.0, 1.0]), jnp.array([0.5, 1.5])))
    0.75
    """
    return jnp.mean(y, 0) if weight is None else jnp.tensordot(weight, y, 1) / jnp.sum(weight)


def of_one_type(tree: Any) -> Any:
    """The arrays of a tree in the widest of their types, as where 64 bits are enabled and only some have them.

    >>> [x.dtype.name for x in of_one_type((jnp.zeros(2, jnp.bfloat16), jnp.zeros(3)))]
    ['float32', 'float32']
    """
    kind = jnp.result_type(*jax.tree.leaves(tree))
    return jax.tree.map(lambda x: jnp.asarray(x, kind), tree)


def at_least_single(tree: Any) -> Any:
    """Floating-point arrays of 16 bits in 32: a sum over rows in 16 bits has two or three digits, or overflows.

    >>> [x.dtype.name for x in at_least_single((jnp.zeros(2, jnp.float16), np.zeros(3), np.arange(2)))]
    ['float32', 'float64', 'int64']
    """
    narrow = (jnp.float16, jnp.bfloat16)
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.result_type(x) in narrow else x, tree)


def nesterov(number: Int[Array, ""] | int, dtype: Any) -> Float[Array, ""]:
    """Nesterov's momentum at a step, i / (i + 3), in the type of what moves.

    >>> print(nesterov(1, jnp.float16))
    0.25
    """
    i = jnp.asarray(number, dtype)
    return i / (i + 3)


def onto_simplex(x: Float[Array, " C"]) -> Float[Array, " C"]:
    """The nearest point whose entries are at least 0 and sum to one.

        max(x - t, 0),   t = max_k (sum of the k largest - 1) / k

    The sums are over pairs of entries, which for a few of them is faster than sorting, and far faster to compile.

    >>> print(onto_simplex(jnp.array([1.0, 0.5, -2.0])))
    [0.75 0.25 0.  ]

    Reference: Efficient projections onto the l1-ball for learning in high dimensions, by Duchi et al. (2008).
    """
    larger = (x[None] >= x[:, None]).astype(x.dtype)
    threshold = jnp.max((larger @ x - 1) / jnp.sum(larger, 1))
    return jnp.maximum(x - threshold, 0)


def map_blocks(function: Callable[..., Any], rows: Any, block: int) -> Any:
    """``vmap(function)`` over the leading axis of ``rows``, ``block`` rows at a time.

    Memory is that of one block: scores of all sweep points on all prompts are never formed at once.
    """
    return jax.lax.map(function, rows, batch_size=block)
