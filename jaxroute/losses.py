"""Surrogate losses of decision regret: what a router is trained on.

One protocol (``types.Loss``): ``loss(scores, utility, *, where=None) -> [...]``. The last axis holds the K
models, leading axes are a batch that is never reduced. Models with ``where`` False take no part in any
maximum, sum or softmax, whatever stands in their entries; a row with no model left has loss 0, gradient 0.
A utility of an available model that is NaN makes the loss of its row NaN: nobody knows which model is best.

    z = scores, u = utility, t = argmax_k u_k (lowest index on ties), g_k = max_j u_j - u_k

Utilities may be true, predicted or doubly robust: a loss does not know which. The gradients of the softmax
regret and of the squared error in z are linear in u, so they stay unbiased with doubly robust utilities;
those through labels, gaps and margins do not.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxroute.arguments import checked
from jaxroute.numerics import (
    Mask,
    expectation,
    masked_argmax,
    masked_log_softmax,
    masked_max,
    masked_softmax,
    masked_sum,
    safe_divide,
)

Scalar = Float[Array, ""] | float
Weighting = Literal["none", "gap", "margin"]


@checked
@jax.jit
def softmax_regret(
    scores: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    *,
    temperature: Scalar = 1.0,
    entropy: Scalar = 0.0,
    where: Bool[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Regret of the randomised policy softmax(scores / temperature), less an optional entropy bonus.

        L = sum_k pi_k g_k + entropy * sum_k pi_k log pi_k,   pi = softmax(z / temperature)

    Without the bonus it is the exact regret of pi, at least regret(argmax z) / K, and every vertex is
    stationary: a model that lost all its mass comes back exponentially slowly. With it (ours) the optimum
    is pi proportional to exp(u / entropy): no plateaus, and scores = temperature u / entropy + b, utilities
    on one common scale, which interpolation between cost weights needs.

    Args:
        scores: [..., K].
        utility: [..., K], quality units.
        temperature: of the softmax, > 0; traced.
        entropy: weight of the entropic term, >= 0, quality units; traced.
        where: [..., K], True where a model is available; broadcast to the scores' shape.

    Returns:
        [...], quality units; negative values are possible with ``entropy`` > 0.

    Example:
        >>> print(softmax_regret(jnp.array([0.0, 0.0]), jnp.array([1.0, 0.5])))
        0.25

    Reference: RM-Softmax of Causal LLM Routing: End-to-End Regret Minimization from Observational Data, by
    Tsiourvas, Sun and Perakis, https://arxiv.org/abs/2505.16037 (2025), reconstructed from its public
    summaries; the entropic term is ours.
    """
    scores, utility, where = _at_the_door(scores, utility, where)
    policy = masked_softmax(scores / temperature, where)
    # Through log-softmax: p log p has a NaN gradient where p underflows to 0.
    log_policy = masked_log_softmax(scores / temperature, where)
    return expectation(policy, _regrets(utility, where) + entropy * log_policy)


@checked
@partial(jax.jit, static_argnames="weighting")
def regret_cross_entropy(
    scores: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    *,
    weighting: Weighting = "none",
    label_temperature: Scalar | None = None,
    where: Bool[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Cross entropy of softmax(scores) to the best model: classification as an upper bound on regret.

        CE = - weight * sum_k label_k log softmax(z)_k

    With hard labels and gap = max u - min u:  regret(argmax z) <= gap / ln 2 * CE. Score temperature is 1.

    Args:
        scores: [..., K].
        utility: [..., K], quality units.
        weighting: "none" 1, "gap" best minus worst, "margin" best minus second best utility (0 on a tie
            and with one model). Static.
        label_temperature: None for hard labels, one-hot at argmax u; else softmax(u / label_temperature),
            quality units, traced.
        where: [..., K], True where a model is available; broadcast to the scores' shape.

    Returns:
        [...], nats; nats times quality units with a weighting.

    Raises:
        ValueError: unknown weighting.

    Example:
        >>> scores, utility = jnp.array([0.0, 0.0, 0.0]), jnp.array([1.0, 0.5, 0.0])
        >>> print(regret_cross_entropy(scores, utility).round(4))  # ln 3
        1.0986
        >>> print(regret_cross_entropy(scores, utility, weighting="margin").round(4))
        0.5493

    Reference: RM-Classification of Causal LLM Routing: End-to-End Regret Minimization from Observational
    Data, by Tsiourvas, Sun and Perakis, https://arxiv.org/abs/2505.16037 (2025), reconstructed from its
    public summaries; weightings and soft labels are ours.
    """
    scores, utility, where = _at_the_door(scores, utility, where)
    best = jax.nn.one_hot(masked_argmax(utility, where), utility.shape[-1], dtype=bool)
    if label_temperature is None:
        # The argmax passes over NaN, and so would the loss; a maximum does not.
        most = masked_max(utility, where)[..., None]
        label = jnp.where(jnp.isnan(most), most, best.astype(most.dtype)).astype(scores.dtype)
    else:
        label = masked_softmax(utility / label_temperature, where)
    cross_entropy = -expectation(label, masked_log_softmax(scores, where))
    if weighting == "none":
        return cross_entropy
    regrets = _regrets(utility, where)
    if weighting == "gap":
        return masked_max(regrets, where) * cross_entropy
    if weighting == "margin":
        others = ~best if where is None else ~best & where
        return -masked_max(-regrets, others) * cross_entropy
    raise ValueError(f"weighting must be 'none', 'gap' or 'margin', not {weighting!r}")


@checked
@jax.jit
def greedy_regret(
    scores: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    *,
    where: Bool[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Regret of the decision itself, argmax of the scores: what the other losses stand in for.

        g_f,   f = argmax_k z_k  (lowest index on ties)

    Its gradient in the scores is 0 everywhere: for evaluation, not for training.

    Args:
        scores: [..., K].
        utility: [..., K], quality units.
        where: [..., K], True where a model is available; broadcast to the scores' shape.

    Returns:
        [...], quality units, >= 0.

    Example:
        >>> print(greedy_regret(jnp.array([0.0, 2.0]), jnp.array([1.0, 0.25])))
        0.75

    Reference: Causal LLM Routing: End-to-End Regret Minimization from Observational Data, by Tsiourvas,
    Sun and Perakis, https://arxiv.org/abs/2505.16037 (2025).
    """
    scores, utility, where = _at_the_door(scores, utility, where)
    return _entry(_regrets(utility, where), masked_argmax(scores, where))


@checked
@jax.jit
def squared_utility_error(
    scores: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    *,
    where: Bool[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Mean squared error of the scores as predictions of the utilities: predict, then optimise.

        mean over available k of (z_k - u_k)^2

    Args:
        scores: [..., K], quality units.
        utility: [..., K], quality units.
        where: [..., K], True where a model is available; broadcast to the scores' shape.

    Returns:
        [...], squared quality units.

    Example:
        >>> print(squared_utility_error(jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0])))
        0.5

    Reference: the baseline of Smart "Predict, then Optimize", by Elmachtoub and Grigas,
    https://arxiv.org/abs/1710.08005 (2022).
    """
    scores, utility, where = _at_the_door(scores, utility, where)
    error = jnp.square(scores - utility)
    return safe_divide(masked_sum(error, where), masked_sum(jnp.ones_like(error), where), default=0.0)


@checked
@jax.jit
def spo_plus(
    scores: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    *,
    where: Bool[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """SPO+, the convex upper bound on the regret of predicted utilities, for choosing one of K models.

        max_k (2 z_k - u_k) - 2 z_t + u_t

    Args:
        scores: [..., K], predicted utilities, quality units.
        utility: [..., K], quality units.
        where: [..., K], True where a model is available; broadcast to the scores' shape.

    Returns:
        [...], quality units, >= greedy regret.

    Example:
        >>> print(spo_plus(jnp.array([0.0, 2.0]), jnp.array([1.0, 0.25])))
        4.75

    Reference: Smart "Predict, then Optimize", by Elmachtoub and Grigas, https://arxiv.org/abs/1710.08005
    (2022), signs turned from cost to utility.
    """
    scores, utility, where = _at_the_door(scores, utility, where)
    best = masked_argmax(utility, where)
    return masked_max(2 * scores - utility, where) - 2 * _entry(scores, best) + _entry(utility, best)


@checked
@jax.jit
def cost_sensitive_hinge(
    scores: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    *,
    where: Bool[Array, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Multiclass hinge whose margin is the regret at stake: another convex upper bound on regret.

        max_k (z_k + g_k) - z_t

    Args:
        scores: [..., K], quality units.
        utility: [..., K], quality units.
        where: [..., K], True where a model is available; broadcast to the scores' shape.

    Returns:
        [...], quality units, >= greedy regret.

    Example:
        >>> print(cost_sensitive_hinge(jnp.array([0.0, 2.0]), jnp.array([1.0, 0.25])))
        2.75

    Reference: margin rescaling of Large Margin Methods for Structured and Interdependent Output Variables,
    by Tsochantaridis, Joachims, Hofmann and Altun, https://jmlr.org/papers/v6/tsochantaridis05a.html (2005).
    """
    scores, utility, where = _at_the_door(scores, utility, where)
    best = masked_argmax(utility, where)
    return masked_max(scores + _regrets(utility, where), where) - _entry(scores, best)


def _at_the_door(scores: Array, utility: Array, where: Mask) -> tuple[Array, Array, Mask]:
    """Static shape checks, the mask in the scores' shape, and zeros for what masked entries hold.

    A NaN there times 0 would stay a NaN.
    """
    scores, utility = jnp.asarray(scores), jnp.asarray(utility)
    chex.assert_equal_shape([scores, utility])
    if where is None:
        return scores, utility, None
    where = jnp.broadcast_to(jnp.asarray(where), scores.shape)
    return jnp.where(where, scores, 0), jnp.where(where, utility, 0), where


def _regrets(utility: Float[Array, "*batch K"], where: Mask) -> Float[Array, "*batch K"]:
    """g_k = max_j u_j - u_k, the regret of choosing each model."""
    return masked_max(utility, where)[..., None] - utility


def _entry(x: Float[Array, "*batch K"], index: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    return jnp.take_along_axis(x, index[..., None], axis=-1)[..., 0]
