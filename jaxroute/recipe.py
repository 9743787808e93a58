"""The recommended recipe: the stacked plug-in with debiased model levels and shrunken contrasts.

    quality_k(x) = m_k + share (r_k(x) - mean r_k)

r is the cross-fitted stack of outcome models, m_k the mean quality of model k on the log's prompts, estimated
doubly robustly. A plug-in takes a maximum over K predictions, so it prefers what happens to be overestimated:
the levels m_k take out what the outcome model gets wrong on average (a biased logger shows it each model
where that model looked good), and ``share`` takes part of the prompt-to-prompt differences back, which are
noisier than the squared error of a single prediction tells. share = 0 is the best single model, 1 the plug-in.
Costs stay as predicted, so utilities remain affine in the cost weight.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxroute import counterfactual, nuisance
from jaxroute.numerics import safe_divide
from jaxroute.types import Key, Logs, Nuisances, NuisanceSpec, Outcomes

CLIP = 0.1
SHARE = 0.5


class Recommended(NamedTuple):
    """The fitted recipe: nuisances for new prompts, [K] levels and the predictions' means on the log."""

    nuisances: nuisance.NuisanceModel
    level: Float[Array, " K"]
    centre: Float[Array, " K"]
    share: Float[Array, ""]


def fit(
    key: Key, logs: Logs, spec: NuisanceSpec = NuisanceSpec(), *, clip: float = CLIP, share: float = SHARE
) -> tuple[Nuisances, Recommended]:
    """The recipe from a log alone.

    Args:
        key: of the folds and the networks.
        logs: N rows.
        spec: learners and settings of the nuisances.
        clip: smaller propensities are raised to it where levels are estimated.
        share: of the predicted contrasts that is kept, 0 to 1.

    Returns:
        (cross-fitted nuisances of the log's rows, what ``predict`` needs).

    Raises:
        ValueError: too few rows for the folds, an unknown learner.

    Example:
        >>> import jax
        >>> from jaxroute.data import logging, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300)
        >>> logs = logging.simulate(jax.random.key(1), table, logging.uniform())
        >>> _, model = fit(jax.random.key(2), logs, NuisanceSpec(("mean",), folds=3))
        >>> predict(model, table.features).quality.shape
        (300, 10)
    """
    nuisances, model = nuisance.fit(key, logs, spec)
    level = log_levels(logs, nuisances, clip=clip)
    return nuisances, Recommended(model, level, jnp.mean(nuisances.outcomes.quality, 0), jnp.asarray(share))


def predict(model: Recommended, features: Float[Array, "N D"]) -> Outcomes:
    """Quality and cost [N, K] of new prompts, quality tempered; a plug-in decides on them at any cost weight.

    Args:
        model: of ``fit``. features: [N, D], of the log's width.

    Returns:
        Outcomes; quality may leave [0, 1] by a little.
    """
    predicted = nuisance.predict_outcomes(model.nuisances.outcomes, features)
    return temper(predicted, model.level, model.centre, share=model.share)


def temper(
    predicted: Outcomes, level: Float[Array, " K"], centre: Float[Array, " K"], *, share: Float[Array, ""] | float
) -> Outcomes:
    """Predictions with new model levels and a share of their contrasts.

        quality_ik = level_k + share (r_ik - centre_k)

    Args:
        predicted: [N, K]. level: [K] quality units.
        centre: [K] mean prediction on the prompts that ``level`` is the mean of.
        share: 0 keeps the levels alone, 1 all contrasts; traced.

    Returns:
        Outcomes [N, K], cost as it was.

    Example:
        >>> r = jnp.array([[0.2, 0.6], [0.6, 0.4]])
        >>> print(temper(Outcomes(r, r), jnp.array([0.5, 0.5]), jnp.mean(r, 0), share=0.5).quality)
        [[0.4  0.55]
         [0.6  0.45]]
    """
    level, centre = (jnp.asarray(x)[None, :] for x in (level, centre))
    return Outcomes(level + share * (predicted.quality - centre), predicted.cost)


def levels(
    quality: Float[Array, "N K"],
    observed: Bool[Array, "N K"],
    weight: Float[Array, "N K"],
    predicted: Float[Array, "N K"],
) -> Float[Array, " K"]:
    """Mean quality of every model over the rows, self-normalised doubly robust.

        m_k = mean_i r_ik + sum_i o_ik w_ik (q_ik - r_ik) / sum_i o_ik w_ik

    Args:
        quality: [N, K], anything where not observed.
        observed: [N, K]; one model a row for a log, all of them for a full table.
        weight: [N, K] one over the probability of being observed, anything where not observed.
        predicted: [N, K], cross-fitted for these rows.

    Returns:
        [K]; the mean prediction for a model without an observed answer.

    Example:
        >>> seen = jnp.array([[True, False], [True, True]])
        >>> half, one = jnp.full((2, 2), 0.5), jnp.ones((2, 2))
        >>> print(levels(jnp.array([[1.0, jnp.nan], [0.5, 0.0]]), seen, one, half))
        [0.75 0.  ]

    Reference:
        Data-Efficient Off-Policy Policy Evaluation for Reinforcement Learning, by Thomas and Brunskill
        (https://arxiv.org/abs/1604.00923), 2016 (weighted doubly robust, horizon one, one model a policy).
    """
    weight = jnp.where(observed, weight, 0.0)
    error = jnp.where(observed, quality - predicted, 0.0)
    return jnp.mean(predicted, 0) + safe_divide(jnp.sum(weight * error, 0), jnp.sum(weight, 0), 0.0)


def log_levels(logs: Logs, nuisances: Nuisances, *, clip: float = CLIP) -> Float[Array, " K"]:
    """``levels`` of a log: w = 1 / (max(p, clip) h), h the response propensity where there is one.

    Args:
        logs: N rows; those without feedback are left out of the correction.
        nuisances: cross-fitted for these rows.
        clip: smaller propensities are raised to it.

    Returns:
        [K] in quality units.

    Raises:
        InputError: a propensity is NaN.
    """
    outcomes, chosen = nuisance.as_cells(logs)
    weight = 1 / jnp.maximum(counterfactual.propensity_of_action(logs, nuisances), clip)
    if nuisances.response is not None:
        weight = weight / nuisances.response
    seen = chosen & ~jnp.isnan(outcomes.quality)
    return levels(outcomes.quality, seen, jnp.broadcast_to(weight[:, None], seen.shape), nuisances.outcomes.quality)
