"""Which outcome models a config needs: its nuisances' own, and rivals that are fitted beside them for their plug-ins.

One fit has them all; every plug-in and the stack are other weights on the same candidates.
"""

from __future__ import annotations

import dataclasses

import jax

from experiments.settings import Config
from jaxroute import nuisance
from jaxroute.types import Nuisances, NuisanceSpec, Outcomes


def needs_full(config: Config) -> bool:
    """Whether an outcome model of full feedback is wanted: by a method so named, or because all methods are."""
    return not config.methods or any(name.endswith("_full") or name == "*" for name in config.methods)


def fitted_learners(config: Config, feedback: str = "") -> NuisanceSpec:
    """The nuisances' learners and the rivals; for ``_full``, those whose ceilings are asked for."""
    own, asked = config.nuisance.outcome_models, config.methods
    every = not feedback or not asked or "*" in asked
    wanted = [m for m in config.rivals if m not in own and (every or f"plug_in_{m}{feedback}" in asked)]
    return dataclasses.replace(config.nuisance, outcome_models=(*own, *wanted))


def without_rivals(
    config: Config, nuisances: Nuisances, model: nuisance.NuisanceModel, outcomes: Outcomes, seen: jax.Array
) -> tuple[Nuisances, nuisance.NuisanceModel]:
    """What was fitted with `fitted_learners`, from the config's own learners alone."""
    part = nuisance.reweigh(model.outcomes, outcomes, seen, config.nuisance)
    rows = len(nuisances.propensity)  # a shadow's come after the log's
    of_log = jax.tree.map(lambda y: y[:rows], nuisance.out_of_fold(part))
    return nuisances._replace(outcomes=of_log), model._replace(outcomes=part)


def plug_ins(
    config: Config, model: nuisance.OutcomeModel, outcomes: Outcomes, seen: jax.Array
) -> dict[str, nuisance.OutcomeModel]:
    """Every learner that was fitted, by itself, and "stack": those of the nuisances together."""
    specs = {
        name: dataclasses.replace(config.nuisance, outcome_models=(name,), combine="select")
        for name in model.spec.outcome_models
    }
    specs["stack"] = config.nuisance
    return {name: nuisance.reweigh(model, outcomes, seen, spec) for name, spec in specs.items()}


def predictions(
    config: Config, model: nuisance.OutcomeModel, outcomes: Outcomes, seen: jax.Array, features: jax.Array
) -> dict[str, Outcomes]:
    """What every one of `plug_ins` predicts for new prompts."""
    candidates = nuisance.predict_candidates(model, features)
    parts = plug_ins(config, model, outcomes, seen)
    return {name: nuisance.mix(part.weights, candidates) for name, part in parts.items()}
