"""What is slow about a problem: the outcome and propensity models of one seed, kept as the predictions they make.

The nuisances' own learners and the rivals are fitted together, rivals for their own plug-ins alone; every plug-in and
the stack are other weights on the same candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxroute import nuisance, recipe
from jaxroute.recipe import means
from jaxroute.types import Examples, Key, Logs, Nuisances, NuisanceSpec, Outcomes, Table


class Fitted(NamedTuple):
    """Predictions of one seed's outcome models; ``learn`` and ``validate`` are the stack's.

    learn: [N, K] of the training rows, out of fold, the shadow's after the log's. validate: of the validation rows.
    test: of the test prompts by outcome model, "stack" and "recommended" among them. propensity,
    validate_propensity: [N, K] of the logs' rows; None where the full table was fitted.
    """

    learn: Outcomes
    validate: Outcomes
    test: dict[str, Outcomes]
    propensity: Array | None = None
    validate_propensity: Array | None = None


def like(learners: Sequence[str], *, full: bool) -> Fitted:
    """The structure of what `on_log` or (``full``) `on_table` returns, without its arrays."""
    two: Any = Outcomes(*(0.0, 0.0))  # type: ignore[arg-type]
    propensities: Any = (None, None) if full else (0.0, 0.0)
    return Fitted(two, two, dict.fromkeys((*learners, "stack", "recommended"), two), *propensities)


def on_log(
    key: Key,
    logs: Logs,
    shadow: Examples | None,
    validation: Logs,
    features: Array,
    own: NuisanceSpec,
    rivals: Sequence[str] = (),
) -> Fitted:
    """Nuisances of the training log (and the shadow beside it) alone; the validation log is new to them.

    Args:
        features: of the test prompts. own: the nuisances. rivals: outcome models fitted beside them.
    """
    cells, seen = nuisance.as_cells(logs)
    if shadow is not None:
        cells = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), cells, shadow.outcomes)
        seen = jnp.concatenate([seen, shadow.available])
    nuisances, model = nuisance.fit(key, logs, with_rivals(own, rivals), shadow=shadow)
    every = model.outcomes
    nuisances, model = without_rivals(own, nuisances, model, cells, seen)
    held_out = nuisance.predict_logs(model, validation)
    test = predictions(own, every, cells, seen, features)
    test["recommended"] = recipe.apply(recipe.recommend(logs, nuisances, model, shadow), test["stack"])
    return Fitted(
        nuisance.out_of_fold(model.outcomes), held_out.outcomes, test, nuisances.propensity, held_out.propensity
    )


def on_table(
    key: Key, train: Table, validation: Array, features: Array, own: NuisanceSpec, fit: Sequence[str]
) -> Fitted:
    """The same with every answer of the training prompts, for the ceilings.

    Args:
        validation, features: of the validation and the test prompts. fit: outcome models, rivals among them.
    """
    answers, available = train.outcomes, jnp.asarray(train.available)
    spec, group = dataclasses.replace(own, outcome_models=tuple(fit)), jnp.asarray(train.group)
    _, every = nuisance.fit_outcomes(key, jnp.asarray(train.features), answers, available, spec, group=group)
    model = nuisance.reweigh(every, answers, available, own)
    cross_fitted = nuisance.out_of_fold(model)
    test = predictions(own, every, answers, available, features)
    quality = jnp.asarray(answers.quality, jnp.float32)
    level = means.doubly_robust(quality, available, jnp.ones(available.shape), cross_fitted.quality)
    centre = jnp.mean(cross_fitted.quality, 0)
    test["recommended"] = recipe.shrink_contrasts(test["stack"], level, centre, share=1.0)
    return Fitted(cross_fitted, nuisance.predict_outcomes(model, validation), test)


def with_rivals(own: NuisanceSpec, rivals: Sequence[str]) -> NuisanceSpec:
    """The nuisances' learners and the rivals."""
    models = own.outcome_models
    return dataclasses.replace(own, outcome_models=(*models, *(m for m in rivals if m not in models)))


def without_rivals(
    own: NuisanceSpec, nuisances: Nuisances, model: nuisance.NuisanceModel, outcomes: Outcomes, seen: Array
) -> tuple[Nuisances, nuisance.NuisanceModel]:
    """What was fitted `with_rivals`, from the nuisances' own learners alone."""
    part = nuisance.reweigh(model.outcomes, outcomes, seen, own)
    rows = len(nuisances.propensity)  # a shadow's come after the log's
    of_log = jax.tree.map(lambda y: y[:rows], nuisance.out_of_fold(part))
    return nuisances._replace(outcomes=of_log), model._replace(outcomes=part)


def plug_ins(
    own: NuisanceSpec, model: nuisance.OutcomeModel, outcomes: Outcomes, seen: Array
) -> dict[str, nuisance.OutcomeModel]:
    """Every learner that was fitted, by itself, and "stack": those of the nuisances together."""
    specs = {
        name: dataclasses.replace(own, outcome_models=(name,), combine="select") for name in model.spec.outcome_models
    }
    specs["stack"] = own
    return {name: nuisance.reweigh(model, outcomes, seen, spec) for name, spec in specs.items()}


def predictions(
    own: NuisanceSpec, model: nuisance.OutcomeModel, outcomes: Outcomes, seen: Array, features: Array
) -> dict[str, Outcomes]:
    """What every one of `plug_ins` predicts for new prompts."""
    candidates = nuisance.predict_candidates(model, features)
    parts = plug_ins(own, model, outcomes, seen)
    return {name: nuisance.mix(part.weights, candidates) for name, part in parts.items()}
