"""Methods that predict every model's quality and cost, then choose: the recommended recipe and plain plug-ins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute import counterfactual, nuisance, recipe
from jaxroute.learn import members
from jaxroute.learn.inputs import MethodInput, MethodResult, Policy, mean
from jaxroute.policies import budgets
from jaxroute.recipe import priors
from jaxroute.serving import distil
from jaxroute.serving.kinds import PlugIn
from jaxroute.types import Outcomes

Predictor = Callable[[Float[Array, "N D"]], Outcomes]


def recommended(given: MethodInput) -> MethodResult:
    """The recipe of every member's nuisances, averaged."""
    recipes = given.recipes
    predicted = mean([recipe.apply(r, nuisance.out_of_fold(r.nuisances.outcomes)) for r in recipes])
    summary: dict[str, Any] = {"share_of_contrasts": float(np.mean([r.share for r in recipes]))}
    if trusted := [r.trusted for r in recipes if r.trusted is not None]:
        summary["prior"] = {
            **{name: float(np.mean([getattr(t, name) for t in trusted])) for name in priors.OF_ALL},
            "followed": np.mean([t.followed for t in trusted], 0).tolist(),
            "level": np.mean([r.level for r in recipes], 0).tolist(),
        }
    return _plug_in(given, predicted, lambda x: mean([recipe.predict(r, x) for r in recipes]), summary)


def stack(given: MethodInput) -> MethodResult:
    """The outcome models of the nuisances together, as they are weighted there."""
    return _plug_in(given, given.predicted, stacked(given), {})


def of_learner(learner: str) -> Callable[[MethodInput], MethodResult]:
    """One outcome learner by itself; its candidates (penalties, say) are picked by out-of-fold loss."""

    def make(given: MethodInput) -> MethodResult:
        spec = dataclasses.replace(given.spec, outcome_models=(learner,), combine="select")
        _, outcomes, observed = given.cells
        parts = [nuisance.reweigh(model.outcomes, outcomes, observed, spec) for _, model in given.fits]
        predicted = mean([nuisance.out_of_fold(part) for part in parts])
        return _plug_in(given, predicted, lambda x: mean([nuisance.predict_outcomes(part, x) for part in parts]), {})

    return make


def stacked(given: MethodInput) -> Predictor:
    """What the nuisances' outcome models predict for new prompts."""
    return lambda x: mean([nuisance.predict_outcomes(model.outcomes, x) for _, model in given.fits])


def of_predictions(given: MethodInput, predicted: Outcomes) -> tuple[Policy, budgets.Curve]:
    """From out-of-fold predictions [R, K]: the policy of the best predicted utility, and its spend on the log."""
    of_log = jax.tree.map(lambda y: y[: len(given.logs.action)], predicted)
    curve = budgets.curve(
        of_log, given.robust, available=given.available[: len(given.logs.action)], weight=given.logs.weight
    )
    return lambda weights: members.decide(_utilities(predicted, weights), given.available), curve


def distilled(given: MethodInput, teacher: Predictor) -> tuple[distil.Student, dict[str, float]]:
    """One network that predicts what the teacher predicts, and what it loses on a tenth of the log kept from it.

    Returns:
        (student, {"decides_otherwise": share of prompts, "predicted_utility_lost": as the teacher sees it}).
    """
    given.on_stage("distilling into one network")
    rows, features = len(given.logs.action), np.asarray(given.features)
    _, student_key, split_key = jax.random.split(jax.random.clone(given.key), 3)  # the first one's is `fitting.fit`
    held = np.asarray(jax.random.permutation(split_key, rows))[: max(rows // 10, 1)]
    used = np.setdiff1d(np.arange(len(features)), held)
    taught = jax.tree.map(np.asarray, teacher(given.features))
    student = distil.fit(
        student_key,
        jnp.asarray(features[used]),
        jax.tree.map(lambda y: y[used], taught),
        cost_scale=given.cost_scale,
        hidden=given.hidden,
        dimensions=given.spec.dimensions,
        steps=given.steps,
    )
    theirs, ours = (
        jax.tree.map(lambda y: y[held], taught),
        distil.predict(student, jnp.asarray(features[held]), given.hidden),
    )
    utilities = (_utilities(y, given.cost_weights) for y in (theirs, ours))
    return student, loss_of_choices(*utilities)


def loss_of_choices(taught: Float[Array, "L N K"], learnt: Float[Array, "L N K"]) -> dict[str, float]:
    """How often another model is chosen, and what the teacher's scores lose by it, over prompts and cost weights."""
    otherwise, lost = _lost(taught, learnt)
    return {"decides_otherwise": float(otherwise), "predicted_utility_lost": float(lost)}


@jax.jit
def _lost(taught: Float[Array, "L N K"], learnt: Float[Array, "L N K"]) -> tuple[Array, Array]:
    chosen = jnp.argmax(learnt, -1)
    lost = jnp.max(taught, -1) - jnp.take_along_axis(taught, chosen[..., None], -1)[..., 0]
    return jnp.mean(chosen != jnp.argmax(taught, -1)), jnp.mean(lost)


def _utilities(predicted: Outcomes, cost_weights: Sequence[float]) -> Float[Array, "L R K"]:
    return _at_every(predicted, np.asarray(cost_weights, np.float32))


_at_every = jax.jit(jax.vmap(counterfactual.utility, (None, 0)))


def _plug_in(given: MethodInput, predicted: Outcomes, teacher: Predictor, summary: dict[str, Any]) -> MethodResult:
    student, loss = distilled(given, teacher)
    return MethodResult(
        PlugIn(student, given.hidden), *of_predictions(given, predicted), {**summary, "distilling": loss}
    )
