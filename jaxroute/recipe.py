"""The recommended recipe: the stacked plug-in with the log's best guess of model levels and shrunken contrasts.

    quality_k(x) = m_k + share (r_k(x) - mean r_k)

r is the cross-fitted stack of outcome models, m_k the mean quality of model k on the log's prompts (`levels`).
A plug-in takes a maximum over K predictions, so it prefers what happens to be overestimated: the levels m_k take
out what the outcome model gets wrong on average (a biased logger shows it each model where that model looked
good, and rare models hardly at all), and ``share`` takes part of the prompt-to-prompt differences back, which are
noisier than the squared error of a single prediction tells. share = 0 is the best single model, 1 the plug-in;
a half unless the log clearly says otherwise, and with a shadow sample what its paired answers say. Costs stay as
predicted: utilities remain affine in the cost weight.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute import counterfactual, estimators, levels, nuisance, policies
from jaxroute.numerics import safe_divide
from jaxroute.types import Examples, Key, Logs, Nuisances, NuisanceSpec, Outcomes

SHARE = 0.5
OTHERS = (0.0, 0.25, 0.75, 1.0)
EVIDENCE = 2.0
"""Standard errors by which another share must beat SHARE on the log."""
DOUBT = 0.2
"""Standard deviation of the share about what the log says, before a shadow sample is asked."""
GRID = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Normalised cost weights that the evidence is pooled over."""


class Recommended(NamedTuple):
    """The fitted recipe: nuisances for new prompts, [K] levels and the predictions' means on the log."""

    nuisances: nuisance.NuisanceModel
    level: Float[Array, " K"]
    centre: Float[Array, " K"]
    share: Float[Array, ""]


def fit(
    key: Key,
    logs: Logs,
    spec: NuisanceSpec = NuisanceSpec(),
    *,
    shadow: Examples | None = None,
    cost_scale: float = 1.0,
    share: float | None = None,
) -> tuple[Nuisances, Recommended]:
    """The recipe from a log, and from a shadow sample beside it where there is one.

    Args:
        key: of the folds and the networks.
        logs: N rows.
        spec: learners and settings of the nuisances.
        shadow: S other prompts that every available model answered: rows of the outcome models like the log's,
            and a second, paired sample of the levels.
        cost_scale: cost units per normalised unit; 1 for normalised costs.
        share: of the predicted contrasts that is kept, 0 to 1; None: ``choose_share``.

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
    nuisances, model = nuisance.fit(key, logs, spec, shadow=shadow)
    level = log_levels(logs, nuisances, model, shadow)
    chosen = choose_share(logs, nuisances, level, cost_scale=cost_scale) if share is None else jnp.float32(share)
    if share is None and shadow is not None:
        chosen = recalibrate(chosen, *shadow_slope(shadow, model))
    return nuisances, Recommended(model, level, jnp.mean(nuisances.outcomes.quality, 0), chosen)


def log_levels(
    logs: Logs, nuisances: Nuisances, model: nuisance.NuisanceModel, shadow: Examples | None = None
) -> Float[Array, " K"]:
    """What the recipe takes for the models' mean quality, [K].

        m = (posterior of `levels.fit` + mean r) / 2;   with a shadow sample, the posterior alone

    From a log alone the posterior leans on what its Gaussian prior makes of a rare model, the mean prediction on
    what the outcome model makes of it; each goes wrong where the other does not.

    Args:
        logs: N rows. nuisances: cross-fitted for them.
        model: their fit, which keeps the cross-fitted predictions of the shadow's rows.
        shadow: S prompts that every available model answered.

    Returns:
        [K] quality units.
    """
    if shadow is None:
        return (levels.fit(logs, nuisances).mean + jnp.mean(nuisances.outcomes.quality, 0)) / 2
    return levels.fit(logs, nuisances, shadow, _shadow_predictions(model, shadow)).mean


def _shadow_predictions(model: nuisance.NuisanceModel, shadow: Examples) -> Outcomes:
    """Cross-fitted predictions [S, K] of the shadow's rows, which come after the log's."""
    return jax.tree.map(lambda y: y[-len(shadow.available) :], nuisance.out_of_fold(model.outcomes))


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


def choose_share(
    logs: Logs, nuisances: Nuisances, level: Float[Array, " K"], *, cost_scale: Float[Array, ""] | float = 1.0
) -> Float[Array, ""]:
    """The share of contrasts: SHARE, unless the log is sure of another one.

        argmax_s V(s)   over SHARE and the s with V(s) - V(SHARE) > EVIDENCE standard errors

    V(s): self-normalised doubly robust value of the tempered plug-in, each row decided out of fold, mean over
    the grid of cost weights; differences are paired. Evidence from one log is weak, so a default that was good on
    other tables stays unless the difference is clear.

    Args:
        logs: N rows. nuisances: cross-fitted for them. level: [K] of ``levels.fit``.
        cost_scale: cost units per normalised unit.

    Returns:
        Scalar, one of SHARE and OTHERS.
    """
    return _choose_share(jax.tree.map(jnp.asarray, logs), nuisances, level, jnp.asarray(cost_scale))


@jax.jit
def _choose_share(logs: Logs, nuisances: Nuisances, level: Array, cost_scale: Array) -> Array:
    clip = min(0.05, 0.5 / logs.available.shape[1])
    centre = jnp.mean(nuisances.outcomes.quality, 0)

    def pooled(share: Array) -> estimators.Rows:
        tempered = temper(nuisances.outcomes, level, centre, share=share)

        def at(normalised: Array) -> estimators.Rows:
            weight = normalised / cost_scale
            policy = policies.greedy(counterfactual.utility(tempered, weight), available=logs.available)
            return estimators.rows(logs, policy, weight, nuisances, clip=clip, self_normalised=True)

        every = jax.lax.map(at, jnp.asarray(GRID))
        one = jax.tree.map(lambda y: y[0], every)
        return one._replace(influence=jnp.mean(every.influence, 0))

    default = pooled(jnp.float32(SHARE))

    def lead(share: Array) -> tuple[Array, Array]:
        gain = estimators.difference(pooled(share), default)
        return gain.value, gain.standard_error

    others = jnp.asarray(OTHERS)
    value, error = jax.lax.map(lead, others)
    sure = jnp.where(value > EVIDENCE * error + 1e-5, value, 0.0)  # equal policies differ by rounding
    best = jnp.argmax(sure)
    return jnp.where(sure[best] > 0, others[best], SHARE)


def shadow_slope(shadow: Examples, model: nuisance.NuisanceModel) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How much of the predicted contrasts came true where every model answered: a least-squares slope and its error.

        b = sum_i h_i / sum_i g_i,   h_i = sum_k q_ik r_ik,   g_i = sum_k r_ik^2
        error^2 = S/(S-1) sum_i (h_i - b g_i)^2 / (sum_i g_i)^2

    q and r less their models' means over the shadow, then less their prompts' means: answers and cross-fitted
    predictions as contrasts. 1: differences between models are as large as predicted; 0: they are noise. Prompts
    are independent, the models' answers to one are not, hence an error clustered by prompt.

    Args:
        shadow: S prompts; a prompt counts with the models that answered it.
        model: nuisances fitted with this shadow sample.

    Returns:
        (slope, standard error), scalars; (0, inf) where nothing is predicted or one prompt is all there is.

    Reference:
        Regression, Prediction and Shrinkage, by Copas (1983): the slope of new answers on predictions.
    """
    quality = jnp.asarray(shadow.outcomes.quality)
    seen = jnp.asarray(shadow.available) & jnp.isfinite(quality)

    def contrasts(y: Array) -> Array:
        for axis in (0, 1):
            count = jnp.maximum(jnp.sum(seen, axis, keepdims=True), 1)
            y = jnp.where(seen, y, 0.0)
            y = y - jnp.sum(y, axis, keepdims=True) / count
        return jnp.where(seen, y, 0.0)

    q, r = contrasts(quality), contrasts(_shadow_predictions(model, shadow).quality)
    h, g, total = jnp.sum(q * r, 1), jnp.sum(r**2, 1), jnp.sum(r**2)
    slope = safe_divide(jnp.sum(h), total, 0.0)
    prompts = jnp.sum(g > 0)
    squares = safe_divide(prompts * jnp.sum((h - slope * g) ** 2), (prompts - 1.0) * total**2, jnp.inf)
    return slope, jnp.sqrt(squares)


def recalibrate(
    share: Float[Array, ""] | float, slope: Float[Array, ""] | float, error: Float[Array, ""] | float
) -> Float[Array, ""]:
    """The share after a shadow sample: mean of a normal posterior, what the log says being its prior.

        share ~ N(share of the log, DOUBT^2),   slope ~ N(share, error^2);   cut to [0, 1]

    Example:
        >>> print(*(round(float(recalibrate(0.5, 1.0, error)), 2) for error in (0.0, 0.2, jnp.inf)))
        1.0 0.75 0.5
    """
    trust = DOUBT**2 / (DOUBT**2 + jnp.square(error))
    return jnp.clip(share + trust * (slope - share), 0.0, 1.0)
