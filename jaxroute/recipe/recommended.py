"""The recommended recipe: the stacked plug-in with corrected model means and shrunken contrasts.

    quality_k(x) = m_k + share (r_k(x) - mean r_k)

r_k is the cross-fitted stack of outcome models and m_k the mean quality of model k on the log's prompts (`levels`).
A plug-in takes a maximum over K predictions, so it prefers models that happen to be overestimated. The means m_k
remove what the outcome model gets wrong on average: a biased logging policy shows it each model where that model
looked good, and rare models hardly at all. ``share`` is the part of the predicted differences between models that the
log confirms (`contrasts`); 0 gives the best single model and 1 the plug-in. Costs stay as predicted, so utilities
remain affine in the cost weight.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute import nuisance
from jaxroute.numerics import relative, weighted_mean
from jaxroute.recipe import attributes, caution, contrasts, levels, priors
from jaxroute.types import Examples, Key, Logs, Nuisances, NuisanceSpec, Outcomes

GRID = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
"""The normalised cost weights at which tables report and over which evidence is pooled."""


class Recommended(NamedTuple):
    """The fitted recipe.

    nuisances: predicts new prompts. level: [K] mean quality of every model. centre: [K] mean prediction on the log.
    share: of the contrasts that is kept, a scalar in [0, 1]. trusted: what the log says of the prior, if there is one.
    """

    nuisances: nuisance.NuisanceModel
    level: Float[Array, " K"]
    centre: Float[Array, " K"]
    share: Float[Array, ""]
    trusted: priors.Trusted | None = None


def recommend(
    logs: Logs,
    nuisances: Nuisances,
    model: nuisance.NuisanceModel,
    shadow: Examples | None = None,
    *,
    prior: priors.Prior | None = None,
) -> Recommended:
    """The recipe from nuisances that are already fitted.

    Args:
        logs: N rows.
        nuisances: cross-fitted for these rows.
        model: their fit, which keeps the cross-fitted predictions of the shadow's rows.
        shadow: S prompts that every available model answered, fitted on together with the log; None: no such sample.
        prior: what is known of the models' mean quality beside the log, see `priors`; it corrects the levels alone.

    Returns:
        Recommended.

    Raises:
        InputError: a propensity is NaN.

    Example:
        >>> import jax
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=200, num_models=3)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> nuisances, model = nuisance.fit(jax.random.key(2), logs, NuisanceSpec(("mean",), folds=3))
        >>> fitted = recommend(logs, nuisances, model)
        >>> fitted.level.shape, bool(0 <= fitted.share <= 1)
        ((3,), True)
    """
    share, centre = (
        estimate_share(logs, model, shadow),
        weighted_mean(nuisances.outcomes.quality, relative(logs.weight)),
    )
    if prior is None:
        return Recommended(model, estimate_levels(logs, nuisances, model, shadow), centre, share)
    predicted = None if shadow is None else shadow_predictions(model, len(logs.action))
    trusted = priors.fit(logs, nuisances, prior, shadow, predicted)
    return Recommended(model, trusted.level.mean, centre, share, trusted)


def fit(
    key: Key,
    logs: Logs,
    spec: NuisanceSpec = NuisanceSpec(),
    *,
    shadow: Examples | None = None,
    share: float | None = None,
) -> tuple[Nuisances, Recommended]:
    """The recipe from a log, and from a shadow sample where there is one.

    Args:
        key: of the folds and the networks.
        logs: N rows.
        spec: learners and settings of the nuisances.
        shadow: S other prompts that every available model answered. The outcome models are fitted on them as on the
            log's rows, and they are a second, paired sample for the levels and the share.
        share: of the predicted contrasts that is kept, 0 to 1; None: ``estimate_share``.

    Returns:
        (cross-fitted nuisances of the log's rows, the fitted recipe).

    Raises:
        InputError: too few rows for the folds, an unknown learner, a propensity that is NaN.

    Example:
        >>> import jax
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> _, fitted = fit(jax.random.key(2), logs, NuisanceSpec(("mean",), folds=3))
        >>> predict(fitted, table.features).quality.shape
        (300, 10)
    """
    nuisances, model = nuisance.fit(key, logs, spec, shadow=shadow)
    fitted = recommend(logs, nuisances, model, shadow)
    return nuisances, fitted if share is None else fitted._replace(share=jnp.float32(share))


def predict(fitted: Recommended, features: Float[Array, "N D"]) -> Outcomes:
    """Quality and cost [N, K] of new prompts as the recipe predicts them; a plug-in decides on them at any cost weight.

    Args:
        fitted: of ``fit``. features: [N, D], of the log's width.

    Returns:
        Outcomes; quality may leave [0, 1] by a little.
    """
    return apply(fitted, nuisance.predict_outcomes(fitted.nuisances.outcomes, features))


def apply(fitted: Recommended, predicted: Outcomes) -> Outcomes:
    """The recipe's correction of the stack's predictions [N, K], out of fold or of new prompts."""
    return shrink_contrasts(predicted, fitted.level, fitted.centre, share=fitted.share)


def shrink_contrasts(
    predicted: Outcomes, level: Float[Array, " K"], centre: Float[Array, " K"], *, share: Float[Array, ""] | float
) -> Outcomes:
    """Predictions with other model means and a share of their contrasts.

        quality_ik = level_k + share (r_ik - centre_k)

    Args:
        predicted: [N, K]. level: [K] quality units.
        centre: [K] mean prediction on the prompts that ``level`` is the mean of.
        share: 0 keeps the levels alone, 1 all contrasts; traced.

    Returns:
        Outcomes [N, K], cost as it was.

    Example:
        >>> r = jnp.array([[0.2, 0.6], [0.6, 0.4]])
        >>> print(shrink_contrasts(Outcomes(r, r), jnp.array([0.5, 0.5]), jnp.mean(r, 0), share=0.5).quality)
        [[0.4  0.55]
         [0.6  0.45]]
    """
    level, centre = (jnp.asarray(x)[None, :] for x in (level, centre))
    return Outcomes(level + share * (predicted.quality - centre), predicted.cost)


def estimate_levels(
    logs: Logs, nuisances: Nuisances, model: nuisance.NuisanceModel, shadow: Examples | None = None
) -> Float[Array, " K"]:
    """Mean quality of every model, as the recipe estimates it.

    From a log alone what `caution` makes of `levels.fit`; with a shadow sample, its posterior mean.

    Args:
        logs, nuisances, model, shadow: see ``recommend``.

    Returns:
        [K] quality units.
    """
    if shadow is None:
        predicted = weighted_mean(nuisances.outcomes.quality, relative(logs.weight))
        return caution.settled(levels.fit(logs, nuisances), predicted, attributes.requests(logs))
    return levels.fit(logs, nuisances, shadow, shadow_predictions(model, len(logs.action))).mean


def estimate_share(logs: Logs, model: nuisance.NuisanceModel, shadow: Examples | None = None) -> Float[Array, ""]:
    """The share of contrasts that the log, and a shadow sample where there is one, confirm; see `contrasts`."""
    slopes = [contrasts.of_log(logs, model)]
    if shadow is not None:
        slopes.append(contrasts.of_shadow(shadow, model))
    return contrasts.share(*slopes)


def shadow_predictions(model: nuisance.NuisanceModel, rows: int) -> Outcomes:
    """Out-of-fold predictions [S, K] of a shadow sample, which follow those of the log's ``rows`` rows."""
    return jax.tree.map(lambda y: y[rows:], nuisance.out_of_fold(model.outcomes))
