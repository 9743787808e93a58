"""Methods that learn the decision itself with a router for each of several cost weights: any loss, any outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxroute.learn import objectives
from jaxroute.learn.inputs import MethodInput, MethodResult
from jaxroute.learn.per_weight import fit
from jaxroute.policies import budgets
from jaxroute.projection import Projection
from jaxroute.serving.kinds import PerWeight
from jaxroute.types import Loss, Params


def per_weight(loss: Loss, estimator: str = "dr") -> Callable[[MethodInput], MethodResult]:
    """`learn.fit` with one loss; ``estimator`` where the person names none."""

    def make(given: MethodInput) -> MethodResult:
        given.on_stage("routers of every cost weight, fold and seed")
        used = given.estimator or estimator
        fitted = fit(
            given.training_key,
            given.logs,
            loss=loss,
            cost_weights=given.cost_weights,
            seeds=given.seeds,
            hyperparams=given.hyperparams,
            estimator=used,
            shadow=given.shadow,
            nuisances=given.nuisances,
            spec=given.spec,
            training=given.training,
            cost_scale=given.cost_scale,
            mesh=given.mesh,
        )
        decisions = fitted.decisions
        if fitted.shadow_decisions is not None:
            decisions = jnp.concatenate([decisions, fitted.shadow_decisions], 1)
        summary = {
            "loss": objectives.name_of(loss),
            "estimator": used if isinstance(used, str) else objectives.name_of(used),
            "networks": int(fitted.value.size),
            "folds": int(fitted.fold.max()) + 1,
            "value_on_validation_rows": [round(float(v), 6) for v in fitted.value.mean(1)],
        }
        return of_networks(
            given, fitted.axes, fitted.params, decisions, temperature=fitted.temperature, summary={"training": summary}
        )

    return make


def of_networks(
    given: MethodInput,
    axes: Projection,
    params: Params,
    decisions: Float[Array, "L R K"],
    *,
    temperature: float,
    summary: dict[str, Any],
) -> MethodResult:
    """Networks for each of the cost weights; another weight is decided by those of the nearest one.

    Args:
        axes: of the networks' features. params: leaves [L, M, ...]. decisions: out of fold, on every row.
        temperature: of the members' softmax.
    """
    trained, rows = np.asarray(given.cost_weights), len(given.logs.action)
    count = len(trained)
    kind = PerWeight(
        axes,
        jnp.asarray(trained, jnp.float32),
        jax.tree.map(jnp.asarray, params),
        given.training.hidden,
        jnp.full(count, temperature, jnp.float32),
        jnp.full(count, given.hyperparams.width, jnp.int32),
    )

    def policy(cost_weights: Sequence[float]) -> Float[Array, "L R K"]:
        nearest = np.argmin(np.abs(trained[None] - np.asarray(cost_weights)[:, None]), 1)
        return decisions[nearest]

    curve = budgets.curve_of_policies(
        trained, decisions[:, :rows], given.robust, given.logs.available, given.logs.weight
    )
    return MethodResult(kind, policy, curve, summary)
