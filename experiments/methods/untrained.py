"""Methods that train no network of their own: one model for all prompts, plug-ins on what is predicted, oracles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from experiments.methods.experiment import Experiment, constant, decide, weights_of
from jaxroute import policies
from jaxroute.types import InputError, Outcomes


def uniform(experiment: Experiment) -> Array:
    available = experiment.problems.test.available
    share = available / jnp.sum(available, -1, keepdims=True)
    return jnp.broadcast_to(share[:, None], (len(share), len(experiment.config.weights), *share.shape[1:]))


def single(experiment: Experiment, model: str) -> Array:
    return _everywhere(experiment, jnp.zeros(len(experiment.models)).at[experiment.models.index(model)].set(1.0))


def best_single(experiment: Experiment, *, full: bool = False) -> Array:
    """The model with the best mean utility on training data: from the log's doubly robust means, or full."""
    problems = experiment.problems
    data = problems.learn_full if full else problems.learn

    def of_seed(outcomes: Outcomes, available: Array, prompts: Array) -> Array:
        return policies.best_single(outcomes, weights_of(experiment), available=available, prompts=prompts)

    return jax.vmap(of_seed)(data.outcomes, data.available, problems.test.available)


def by_cost(experiment: Experiment, sign: float) -> Array:
    """The model with the lowest (sign -1) or highest (+1) mean cost in the training log's doubly robust means."""
    return _everywhere(experiment, sign * jnp.mean(experiment.problems.learn.outcomes.cost, 1)[:, None])


def _everywhere(experiment: Experiment, scores: Array) -> Array:
    """The same scores, [S, 1, K] or [K], at every seed and cost weight."""
    lead = (experiment.config.seeds, len(experiment.config.weights), len(experiment.models))
    return constant(experiment, jnp.broadcast_to(scores, lead))


def oracle(experiment: Experiment) -> Array:
    """The realised oracle: reads the test outcomes themselves. A bound, not a policy."""
    return decide(experiment, experiment.problems.test.outcomes)


def conditional_oracle(experiment: Experiment) -> Array:
    """The best policy there is, from known conditional means (synthetic data only)."""
    if experiment.problems.expected is None:
        raise InputError(
            "conditional_oracle needs known means, which only synthetic tables have; remove it from the methods"
        )
    return decide(experiment, experiment.problems.expected)


def plug_in(experiment: Experiment, outcome_model: str, *, full: bool = False) -> Array:
    """Direct method: predict quality and cost of every model, then choose."""
    return decide(experiment, experiment.problems.predicted[f"{outcome_model}_full" if full else outcome_model])
