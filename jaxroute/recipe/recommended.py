"""The recommended recipe: the stacked plug-in with the log's best guess of model levels and shrunken contrasts.

    quality_k(x) = m_k + share (r_k(x) - mean r_k)

r is the cross-fitted stack of outcome models, m_k the mean quality of model k on the log's prompts (`levels`).
A plug-in takes a maximum over K predictions, so it prefers what happens to be overestimated: the levels m_k take
out what the outcome model gets wrong on average (a biased logger shows it each model where that model looked
good, and rare models hardly at all), and ``share`` keeps of the prompt-to-prompt differences between models what the
log says is true (`contrasts`). share = 0 is the best single model, 1 the plug-in. Costs stay as predicted: utilities
remain affine in the cost weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute import nuisance
from jaxroute.recipe import contrasts, levels
from jaxroute.types import Examples, Key, Logs, Nuisances, NuisanceSpec, Outcomes

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
    share: float | None = None,
) -> tuple[Nuisances, Recommended]:
    """The recipe from a log, and from a shadow sample beside it where there is one.

    Args:
        key: of the folds and the networks.
        logs: N rows.
        spec: learners and settings of the nuisances.
        shadow: S other prompts that every available model answered: rows of the outcome models like the log's,
            and a second, paired sample of the levels and of the share.
        share: of the predicted contrasts that is kept, 0 to 1; None: ``choose_share``.

    Returns:
        (cross-fitted nuisances of the log's rows, what ``predict`` needs).

    Raises:
        ValueError: too few rows for the folds, an unknown learner.

    Example:
        >>> import jax
        >>> from jaxroute.data import simulate, synthetic
        >>> table = synthetic.make(jax.random.key(0), num_prompts=300)
        >>> logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
        >>> _, model = fit(jax.random.key(2), logs, NuisanceSpec(("mean",), folds=3))
        >>> predict(model, table.features).quality.shape
        (300, 10)
    """
    nuisances, model = nuisance.fit(key, logs, spec, shadow=shadow)
    level = log_levels(logs, nuisances, model, shadow)
    chosen = choose_share(logs, model, shadow) if share is None else jnp.float32(share)
    return nuisances, Recommended(model, level, jnp.mean(nuisances.outcomes.quality, 0), chosen)


class Ensemble(NamedTuple):
    """Members that differ in their folds and networks, and what they say together of the log's own rows.

    nuisances: means of cross-fitted ones, so cross-fitted themselves. tempered: [N, K] decided on, out of fold.
    beside: the same of a shadow sample's rows, [S, K].
    """

    nuisances: Nuisances
    tempered: Outcomes
    members: tuple[Recommended, ...]
    beside: Outcomes | None = None


def fit_ensemble(
    key: Key, logs: Logs, spec: NuisanceSpec = NuisanceSpec(), *, members: int = 1, shadow: Examples | None = None
) -> Ensemble:
    """Several recipes of one log, averaged: what depends on the draw of folds and initial weights averages out.

    Args:
        key: the first member's; the others' are folded in.
        members: at least 1, which is ``fit``. logs, spec, shadow: see ``fit``.

    Reference:
        Double/debiased machine learning for treatment and structural parameters, by Chernozhukov et al.
        (https://arxiv.org/abs/1608.00060), 2018: several sample splits, section 3.4.
    """
    keys = [key, *(jax.random.fold_in(key, member) for member in range(1, members))]
    fits = [fit(k, logs, spec, shadow=shadow) for k in keys]
    tempered = (temper(n.outcomes, m.level, m.centre, share=m.share) for n, m in fits)
    tempered_beside = None
    if shadow is not None:
        rest = ((beside(m.nuisances, len(logs.action)), m) for _, m in fits)
        tempered_beside = _mean(*(temper(r, m.level, m.centre, share=m.share) for r, m in rest))
    return Ensemble(_mean(*(n for n, _ in fits)), _mean(*tempered), tuple(m for _, m in fits), tempered_beside)


def predict_ensemble(members: Sequence[Recommended], features: Float[Array, "N D"]) -> Outcomes:
    """Mean of the members' ``predict``, [N, K]."""
    return _mean(*(predict(member, features) for member in members))


def beside(model: nuisance.NuisanceModel, rows: int) -> Outcomes:
    """Out-of-fold predictions [S, K] of a shadow sample, which come after those of the log's rows."""
    return jax.tree.map(lambda y: y[rows:], nuisance.out_of_fold(model.outcomes))


def _mean(*trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), 0), *trees)


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
    return levels.fit(logs, nuisances, shadow, beside(model, len(logs.action))).mean


def choose_share(logs: Logs, model: nuisance.NuisanceModel, shadow: Examples | None = None) -> Float[Array, ""]:
    """The share of contrasts that the log, and a shadow sample where there is one, say is true; see `contrasts`."""
    slopes = [contrasts.of_log(logs, model)]
    if shadow is not None:
        slopes.append(contrasts.of_shadow(shadow, model))
    return contrasts.share(*slopes)


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
