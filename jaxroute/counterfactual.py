"""What every model would have answered: logs and nuisances -> one [N, K] table of outcomes.

Every estimator here is prediction + weight * (observed - prediction) at the chosen model; they differ in the
prediction and in the weight:

    direct                  r_k
    inverse propensity      1{t=k} v a
    doubly robust           r_k + 1{t=k} v (a - r_k)           v = 1 / max(p_t, clip)
    switch                  v becomes v 1{v <= threshold}
    shrinkage               v becomes s v / (v^2 + s)

The weight does not depend on the outcome, so all of them are linear in it, and the two tables (quality, cost) are
computed once for every cost weight:  u_k = a_k - cost_weight * c_k  exactly.

Missing feedback (NaN) is not corrected: where quality is NaN its prediction stays (0 for inverse propensity), and
likewise for cost. With ``nuisances.response``, the probability of feedback, the weight of quality is divided by it,
which is unbiased if feedback is missing at random given prompt and model. Unavailable models are not masked here:
masks act in losses, policies and metrics.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxroute.arguments import checked, known
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes

Scalar = Float[Array, ""] | float


@checked
@jax.jit
def utility(outcomes: Outcomes, cost_weight: Scalar | Float[Array, "*#batch"]) -> Float[Array, "*batch K"]:
    """Utility of every model, in quality units.

        u_k = quality_k - cost_weight * cost_k

    Args:
        outcomes: quality and cost [..., K].
        cost_weight: quality per unit of the cost array; a scalar, or one per row [...].

    Returns:
        [..., K].

    Example:
        >>> outcomes = Outcomes(jnp.array([0.75, 0.5]), jnp.array([1.0, 0.25]))
        >>> print(utility(outcomes, 0.5))
        [0.25  0.375]

    Reference: Causal LLM Routing: End-to-End Regret Minimization from Observational Data, by Tsiourvas,
    Sun and Perakis, https://arxiv.org/abs/2505.16037 (2025).
    """
    quality, cost = jnp.asarray(outcomes.quality), jnp.asarray(outcomes.cost)
    chex.assert_equal_shape([quality, cost])
    cost_weight = jnp.asarray(cost_weight)
    return quality - (cost_weight[..., None] if cost_weight.ndim else cost_weight) * cost


@checked
def direct(logs: Logs, nuisances: Nuisances) -> Outcomes:
    """The outcome model's prediction, unchanged: no variance from weights, but all of the model's bias.

        a_k = r_k

    Args:
        logs: N rows.
        nuisances: cross-fitted for these rows, [N, K].

    Returns:
        Outcomes [N, K].

    Example:
        >>> print(direct(*_example()).quality)
        [[0.5 0.5]
         [0.5 0.5]]

    Reference: Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li,
    https://arxiv.org/abs/1103.4601 (2011).
    """
    _check(logs, nuisances)
    return Outcomes(jnp.asarray(nuisances.outcomes.quality), jnp.asarray(nuisances.outcomes.cost))


@checked
def inverse_propensity(logs: Logs, nuisances: Nuisances | None = None, *, clip: Scalar = 0.0) -> Outcomes:
    """The observed outcome over its propensity, 0 for every other model: unbiased, very noisy.

        a_k = 1{t=k} a / max(p_t, clip)

    Its argmax prefers a model that was not chosen (utility 0) to a chosen one of negative utility.

    Args:
        logs: N rows; NaN quality or cost counts as not observed and gives 0.
        nuisances: where the propensity of the chosen model comes from; None: ``logs.propensity``.
        clip: raises smaller propensities to this value.

    Returns:
        Outcomes [N, K].

    Raises:
        InputError: a propensity is NaN (outside jit; inside, the NaN stays in the result).

    Example:
        >>> print(inverse_propensity(*_example()).quality)
        [[2. 0.]
         [0. 1.]]

    Reference: Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li,
    https://arxiv.org/abs/1103.4601 (2011).
    """
    weight = _weights(logs, nuisances, clip)
    nothing = jnp.zeros(logs.available.shape, jnp.asarray(logs.quality).dtype)
    return _correct(logs, Outcomes(nothing, nothing), weight)


@checked
def doubly_robust(logs: Logs, nuisances: Nuisances, *, clip: Scalar = 0.0) -> Outcomes:
    """The prediction plus its weighted error at the chosen model.

        a_k = r_k + 1{t=k} (a - r_k) / max(p_t, clip)

    Unbiased if either the propensity or the prediction is right: E[a_k | x] - mu_k = (1 - p_k / p^_k)
    (r_k - mu_k), with p_k, mu_k the truth and p^_k, r_k what was estimated. Values may leave [0, 1].

    Args:
        logs: N rows; NaN quality or cost counts as not observed and leaves the prediction.
        nuisances: cross-fitted for these rows, [N, K].
        clip: raises smaller propensities to this value, which shrinks towards the prediction.

    Returns:
        Outcomes [N, K].

    Raises:
        InputError: a propensity is NaN (outside jit; inside, the NaN stays in the result).

    Example:
        >>> print(doubly_robust(*_example()).quality)
        [[1.5 0.5]
         [0.5 1. ]]

    Reference: Doubly Robust Policy Evaluation and Learning, by Dudík, Langford and Li,
    https://arxiv.org/abs/1103.4601 (2011).
    """
    return _correct(logs, nuisances.outcomes, _weights(logs, nuisances, clip))


@checked
def switch_doubly_robust(logs: Logs, nuisances: Nuisances, *, clip: Scalar = 0.0, threshold: Scalar) -> Outcomes:
    """Doubly robust where the weight is at most ``threshold``, the direct method elsewhere.

        a_k = r_k + 1{t=k} v 1{v <= threshold} (a - r_k),   v = 1 / max(p_t, clip)

    Args:
        logs: N rows; NaN quality or cost counts as not observed and leaves the prediction.
        nuisances: cross-fitted for these rows, [N, K].
        clip: raises smaller propensities to this value.
        threshold: largest weight kept (equality is kept); inf is ``doubly_robust``.

    Returns:
        Outcomes [N, K].

    Raises:
        InputError: a propensity is NaN (outside jit; inside, the NaN stays in the result).

    Example:
        >>> print(switch_doubly_robust(*_example(), threshold=1.5).quality)
        [[0.5 0.5]
         [0.5 1. ]]

    Reference: Optimal and Adaptive Off-policy Evaluation in Contextual Bandits, by Wang, Agarwal and
    Dudík, https://arxiv.org/abs/1612.01205 (2017).
    """
    weight = jax.tree.map(lambda v: switch(v, threshold), _weights(logs, nuisances, clip))
    return _correct(logs, nuisances.outcomes, weight)


@checked
def shrinkage_doubly_robust(logs: Logs, nuisances: Nuisances, *, clip: Scalar = 0.0, shrinkage: Scalar) -> Outcomes:
    """Doubly robust with optimistically shrunk weights: large weights move towards the direct method.

        a_k = r_k + 1{t=k} s v / (v^2 + s) (a - r_k),   v = 1 / max(p_t, clip),  s = shrinkage

    Args:
        logs: N rows; NaN quality or cost counts as not observed and leaves the prediction.
        nuisances: cross-fitted for these rows, [N, K].
        clip: raises smaller propensities to this value.
        shrinkage: s; 0 is ``direct``, inf is ``doubly_robust``.

    Returns:
        Outcomes [N, K].

    Raises:
        InputError: a propensity is NaN (outside jit; inside, the NaN stays in the result).

    Example:
        >>> print(shrinkage_doubly_robust(*_example(), shrinkage=4.0).quality)
        [[1.  0.5]
         [0.5 0.9]]

    Reference: Doubly robust off-policy evaluation with shrinkage, by Su, Dimakopoulou, Krishnamurthy and
    Dudík, https://arxiv.org/abs/1907.09623 (2020).
    """
    weight = jax.tree.map(lambda v: shrink(v, shrinkage), _weights(logs, nuisances, clip))
    return _correct(logs, nuisances.outcomes, weight)


@checked
def examples(logs: Logs, nuisances: Nuisances, shadow: Examples | None = None, *, clip: Scalar = 0.0) -> Examples:
    """What a router learns from: a log with its doubly robust outcomes, then the shadow sample's rows as observed.

    Args:
        logs: N rows. nuisances: cross-fitted for them.
        shadow: S further prompts with every model's outcome; None: the log alone.
        clip: raises smaller propensities to this value.

    Returns:
        Examples of N (or N + S) rows. What they stand for (``logs.weight``) is not in them: means over them are to be
        weighted by it, as `learn` does.

    Raises:
        InputError: a propensity is NaN (outside jit; inside, the NaN stays in the result).

    Example:
        >>> print(examples(*_example()).outcomes.quality[0])
        [1.5 0.5]
    """
    of_log = Examples(logs.features, doubly_robust(logs, nuisances, clip=clip), logs.available)
    if shadow is None:
        return of_log
    answered = jnp.isfinite(shadow.outcomes.quality) & jnp.isfinite(shadow.outcomes.cost)
    observed = shadow._replace(available=shadow.available & answered)
    with nan_is_unknown():  # the answers that the shadow lacks
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), of_log, observed)


@checked
@jax.jit
def switch(weight: Float[Array, "*batch"], threshold: Scalar) -> Float[Array, "*batch"]:
    """Weights above ``threshold`` become 0; equality is kept.

    >>> print(switch(jnp.array([1.0, 4.0, 5.0]), 4.0))
    [1. 4. 0.]
    """
    return jnp.where(weight > threshold, 0, weight)


@checked
@jax.jit
def shrink(weight: Float[Array, "*batch"], shrinkage: Scalar) -> Float[Array, "*batch"]:
    """s w / (w^2 + s) for s = ``shrinkage``: s = 0 gives 0, s = inf gives w, w = 0 gives 0.

    >>> print(shrink(jnp.array([0.0, 1.0, 2.0]), 4.0))
    [0.  0.8 1. ]
    """
    # w / (1 + w w/s) is exact at s = inf; a denominator that overflows belongs to the limit 0.
    positive = jnp.asarray(shrinkage) > 0
    denominator = 1 + weight * (weight / jnp.where(positive, shrinkage, 1))
    return jnp.where(positive & (denominator != jnp.inf), weight / denominator, 0)


@checked
def propensity_of_action(logs: Logs, nuisances: Nuisances | None = None, *, clip: Scalar = 0.0) -> Float[Array, " N"]:
    """Logging propensity of the model that was chosen, one per row.

    Args:
        logs: N rows.
        nuisances: None takes the log's own ``logs.propensity``; else ``nuisances.propensity[i, action_i]``.
        clip: smaller propensities are raised to it.

    Returns:
        [N].

    Raises:
        InputError: a propensity is NaN, or 0 or less without a clip (outside jit only: inside, values
            cannot be looked at).

    Example:
        >>> print(propensity_of_action(*_example()))
        [0.5 1. ]
    """
    _check(logs, nuisances)
    if nuisances is None:
        propensity, source = jnp.asarray(logs.propensity), "logs.propensity"
    else:
        propensity = at_action(nuisances.propensity, logs.action)
        source = "nuisances.propensity of the chosen model"
    if known(propensity):
        unknown = np.flatnonzero(np.isnan(np.asarray(propensity)))
        if unknown.size:
            raise InputError(
                f"{source} is NaN in {unknown.size} of {propensity.shape[0]} rows (first: row {unknown[0]}): "
                "pass nuisances with estimated propensities (nuisance.fit), or drop these rows"
            )
    raised = jnp.maximum(propensity, clip)
    if known(raised) and (rows := np.flatnonzero(raised <= 0)).size:
        raise InputError(
            f"{source} is 0 or less in {rows.size} of {propensity.shape[0]} rows (first: row {rows[0]}): it is "
            "the probability of the model that was chosen; correct it, or give a clip"
        )
    return raised


def _weights(logs: Logs, nuisances: Nuisances | None, clip: Scalar) -> Outcomes:
    """Inverse probability [N] of having seen the chosen model's quality, and its cost."""
    weight = 1 / propensity_of_action(logs, nuisances, clip=clip)
    response = None if nuisances is None else nuisances.response
    return Outcomes(weight if response is None else weight / response, weight)


@jax.jit
def at_action(table: Float[Array, "N K"], action: Int[Array, " N"]) -> Float[Array, " N"]:
    """The chosen model's entry of every row."""
    return jnp.take_along_axis(table, action[:, None], axis=1)[:, 0]


def _correct(logs: Logs, prediction: Outcomes, weight: Outcomes) -> Outcomes:
    """prediction + weight * (observed - prediction) at the chosen model, where something was observed."""
    quality = _corrected(prediction.quality, logs.action, logs.quality, weight.quality)
    return Outcomes(quality, _corrected(prediction.cost, logs.action, logs.cost, weight.cost))


@jax.jit
def _corrected(
    predicted: Float[Array, "N K"], action: Int[Array, " N"], observed: Float[Array, " N"], weight: Float[Array, " N"]
) -> Float[Array, "N K"]:
    seen = jax.nn.one_hot(action, predicted.shape[-1], dtype=bool) & ~jnp.isnan(observed)[:, None]
    error = jnp.where(seen, observed[:, None] - predicted, 0)
    return jnp.where(seen, predicted + weight[:, None] * error, predicted)


def _check(logs: Logs, nuisances: Nuisances | None) -> None:
    rows, models = logs.available.shape
    chex.assert_shape([logs.action, logs.quality, logs.cost, logs.propensity], (rows,))
    if nuisances is not None:
        chex.assert_shape([nuisances.propensity, *nuisances.outcomes], (rows, models))


def _example() -> tuple[Logs, Nuisances]:
    """The log of the docstring examples: two prompts, two models, a half predicted and a one observed."""
    one, half = jnp.ones(2), jnp.full((2, 2), 0.5)
    propensity = jnp.array([[0.5, 0.5], [0.0, 1.0]])
    logs = Logs(
        features=jnp.zeros((2, 1)),
        action=jnp.array([0, 1]),
        quality=one,
        cost=one,
        propensity=jnp.array([0.5, 1.0]),
        available=jnp.ones((2, 2), bool),
    )
    return logs, Nuisances(propensity, Outcomes(half, half))
