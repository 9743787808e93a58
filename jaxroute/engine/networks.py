"""Networks as (init, apply) pairs of pure functions. The only file that imports flax.

Parameters are plain dicts, which vmap, optax and Orbax take as they are. Hidden widths are allocated
in full and masked to ``width`` (a traced number), so that one compiled program serves every width:
with the read-out scaled by sqrt(H / width) the masked network is the narrow network.

``router`` serves one cost weight. ``affine``, ``interval`` and ``plain`` serve all: ``apply(params, features [..., D],
initial, ends [J], cost_weight [...], width) -> [..., K]``. They see the cost weight as log(1 + w), which is of the
features' size for normalised cost.
"""

from __future__ import annotations

from functools import cache

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxroute.engine.interpolation import ETA, Weights, affine_scores, end_scores, interpolate, position
from jaxroute.types import Key, Network, Outcomes, Params

FULL_WIDTH = 2**30


class _Trunk(nn.Module):
    """GELU layers; units at and beyond ``width`` are silent, the others scaled to keep the variance."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array, width: Array | int) -> Array:
        for layer, units in enumerate(self.hidden):
            x = nn.gelu(nn.Dense(units, name=f"hidden_{layer}")(x))
            used = jnp.minimum(width, units)
            mask = (jnp.arange(units) < used) * jnp.sqrt(units / used)
            x = x * jnp.broadcast_to(mask.astype(x.dtype), x.shape)
        return x


class _Router(nn.Module):
    num_models: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array, width: Array | int) -> Array:
        x = _Trunk(self.hidden, name="trunk")(x, width)
        # A read-out of zeros: every router starts as the uniform policy, far from any plateau.
        return nn.Dense(self.num_models, kernel_init=nn.initializers.zeros, name="scores")(x)


class _Outcome(nn.Module):
    num_models: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        x = _Trunk(self.hidden, name="trunk")(x, FULL_WIDTH)
        zeros = nn.initializers.zeros
        logit = nn.Dense(self.num_models, kernel_init=zeros, name="quality")(x)
        relative = nn.Dense(self.num_models, kernel_init=zeros, name="cost")(x)
        return logit, 1.0 + relative


@cache  # the same network is the same object, so programs that take it statically compile once
def router(num_models: int, hidden: tuple[int, ...] = (128, 128)) -> Network:
    """Scores of every model for a prompt; ``hidden=()`` is a linear router.

    ``init(key, num_features) -> params``; ``apply(params, features [..., D], width=FULL_WIDTH) -> [..., K]``.

    Example:
        >>> import jax
        >>> network = router(num_models=3, hidden=(8,))
        >>> params = network.init(jax.random.key(0), 4)
        >>> print(network.apply(params, jnp.ones((2, 4))).shape)
        (2, 3)
    """
    module = _Router(num_models, hidden)

    def init(key: Key, num_features: int) -> Params:
        return module.init(key, jnp.zeros((1, num_features)), FULL_WIDTH)

    def apply(
        params: Params, features: Float[Array, "*batch D"], width: Int[Array, ""] | int = FULL_WIDTH
    ) -> Float[Array, "*batch K"]:
        return module.apply(params, features, width)

    return Network(init, apply)


@cache
def outcome(num_models: int, hidden: tuple[int, ...] = (128, 128)) -> Network:
    """Multi-head outcome model: ``apply(params, features) -> Outcomes(quality logit, relative cost)``.

    Cost is relative to each model's mean cost, so 1 is "as usual"; both heads start at zero weights,
    the cost head at 1. ``init(key, num_features, quality_logit=None)`` may set the quality biases [K].
    """
    module = _Outcome(num_models, hidden)

    def init(key: Key, num_features: int, quality_logit: Float[Array, " K"] | None = None) -> Params:
        params = module.init(key, jnp.zeros((1, num_features)))
        if quality_logit is not None:
            params["params"]["quality"]["bias"] = quality_logit
        return params

    def apply(params: Params, features: Float[Array, "*batch D"]) -> Outcomes:
        return Outcomes(*module.apply(params, features))

    return Network(init, apply)


@cache
def affine(num_models: int, hidden: tuple[int, ...] = (128, 128), eta: float = ETA) -> Network:
    """``affine_scores`` with residual and factor from one network; ``initial`` is predicted Outcomes [..., K]."""
    heads = router(num_models + 1, hidden)

    def apply(
        params: Params, features: Array, initial: Outcomes, ends: Array, cost_weight: Array, width: Array | int
    ) -> Array:
        out = heads.apply(params, features, width)
        return affine_scores(initial, cost_weight, out[..., :-1], out[..., -1], eta=eta)

    return Network(heads.init, apply)


@cache
def interval(num_models: int, hidden: tuple[int, ...] = (128, 128)) -> Network:
    """RM-Interval: ``interpolate`` with ONE residual network h(x, alpha, lo, hi) for all intervals.

    ``initial`` holds the scores of frozen routers at the ends, [..., J, K].
    """
    residual = router(num_models, hidden)

    def init(key: Key, num_features: int) -> Params:
        return residual.init(key, num_features + 3)

    def apply(
        params: Params, features: Array, initial: Array, ends: Array, cost_weight: Array, width: Array | int
    ) -> Array:
        number, alpha = position(ends, cost_weight)
        ends = jnp.log1p(ends)
        inputs = _appended(features, alpha, ends[number], ends[number + 1])
        low, high = end_scores(initial, number)
        return interpolate(low, high, alpha, residual.apply(params, inputs, width))

    return Network(init, apply)


@cache
def plain(num_models: int, hidden: tuple[int, ...] = (128, 128)) -> Network:
    """f(x, w) without any structure in w; ``initial`` is not looked at."""
    scores = router(num_models, hidden)

    def init(key: Key, num_features: int) -> Params:
        return scores.init(key, num_features + 1)

    def apply(
        params: Params, features: Array, initial: Params, ends: Array, cost_weight: Array, width: Array | int
    ) -> Array:
        return scores.apply(params, _appended(features, jnp.log1p(cost_weight)), width)

    return Network(init, apply)


def _appended(features: Float[Array, "*batch D"], *numbers: Weights) -> Array:
    """Features with further columns, each one number a row (or one for all)."""
    columns = [jnp.broadcast_to(x, features.shape[:-1])[..., None] for x in numbers]
    return jnp.concatenate([features, *columns], -1)


def num_outputs(params: Params) -> int:
    """Scores per prompt of a ``router``'s parameters, whatever axes are in front."""
    return int(params["params"]["scores"]["bias"].shape[-1])
