"""Result type and accuracy of every public loss, policy, estimator and metric; writes docs/contracts.md.

    python tests/contracts.py

Types are those that JAX infers. ``within`` is what `test_contracts` asserts: the largest error of a result against
the same function of the same (rounded) inputs in 64 bits, in units of

    eps * max(1, largest absolute result)

with eps of the result's type (2^-10 of float16, 2^-7 of bfloat16, 2^-23 of float32).
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute import counterfactual, estimators, losses, metrics, policies
from jaxroute.policies import exploration
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

PAGE = Path(__file__).parents[1] / "docs" / "contracts.md"
KINDS = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
N, K = 64, 4


class Contract(NamedTuple):
    """call: of the arrays of `arguments`, in any type. within: see the module; None: the result is a choice."""

    group: str
    name: str
    call: Callable[[dict[str, Any]], Any]
    within: int | None


@cache
def arguments(kind: Any) -> dict[str, Any]:
    """Random inputs in a type, rounded to it where it is narrower than 32 bits; made with 64 bits enabled."""
    rng = np.random.default_rng(0)
    propensity = 0.1 + 0.6 * rng.dirichlet(np.ones(K), N)
    action = rng.integers(0, K, N)
    where = rng.random((N, K)) < 0.8
    where[np.arange(N), action] = True
    made = {
        "scores": rng.normal(size=(N, K)),
        "utility": rng.uniform(-1, 1, (N, K)),
        "policy": rng.dirichlet(np.ones(K), N),
        "deviation": rng.uniform(0.05, 0.3, (N, K)),
        "quality": rng.random((N, K)),
        "cost": rng.uniform(0.1, 1, (N, K)),
        "policies": rng.dirichlet(np.ones(K), (3, N)),
        "weights": np.array([0.0, 0.5, 2.0]),
        "propensity": propensity,
        "seen": rng.random((2, N)),
        "shares of strong": np.stack([np.linspace(0, 1, 9), np.sort(rng.uniform(0.2, 0.9, 9))], -1),
    }
    made = {name: jnp.asarray(np.asarray(x, np.float32), kind) for name, x in made.items()}
    return {**made, "action": jnp.asarray(action, jnp.int32), "where": jnp.asarray(where)}


def _log(x: dict[str, Any]) -> tuple[Logs, Nuisances]:
    own = x["propensity"][jnp.arange(N), x["action"]]
    logs = Logs(jnp.zeros((N, 1), own.dtype), x["action"], *x["seen"], own, jnp.ones((N, K), bool))
    return logs, Nuisances(x["propensity"], Outcomes(x["quality"], x["cost"]))


def _loss(function: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda x: function(x["scores"], x["utility"], where=x["where"])


def _table(function: Callable[..., Outcomes]) -> Callable[[dict[str, Any]], Any]:
    return lambda x: function(*_log(x))


def _value(function: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    """Value and standard error; what has no effective sample size leaves it out."""
    return lambda x: function(_log(x)[0], x["policy"], 0.5, _log(x)[1])[:2]


def _rows(x: dict[str, Any], policy: str = "policy") -> Any:
    return estimators.rows(_log(x)[0], x[policy], 0.5, _log(x)[1])


def _answered(x: dict[str, Any]) -> Examples:
    return Examples(jnp.zeros((N, 1), x["quality"].dtype), Outcomes(x["quality"], x["cost"]), jnp.ones((N, K), bool))


def _several(x: dict[str, Any]) -> Any:
    """Rows of L policies."""
    return estimators.at_weights(_log(x)[0], x["policies"], x["weights"], _log(x)[1], 0.05)


def _metric(function: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    """Of quality-cost points, (cost, quality), in any order."""
    return lambda x: function(jnp.stack([x["cost"][:, 0], x["quality"][:, 0]], -1))


FAMILY = jnp.array([0, 0, 1, 1])
HOST = {
    "policies": {"breakpoints", "interval_endpoints"},
    "counterfactual": set(),
    "losses": set(),
    "estimators": {
        *("accounts", "biases", "changes", "complete", "confidence_sequence", "detectable", "evaluate"),
        *("evaluation_clip", "families", "frontier", "half_width", "interval", "pool_each", "row_deviation"),
        *("rows_needed", "single_models", "spending", "support", "trusted_clip", "utility_range", "wider"),
        "with_shadow",
    },
    "metrics": {"cpt", "quality_neutral_cost"},
}
"""Public functions that run on the host: they return NumPy arrays, frames, records or Python numbers."""
CONTRACTS = (
    Contract("losses", "softmax_regret", _loss(losses.softmax_regret), 4),
    Contract("losses", "softmax_regret, entropy", _loss(partial(losses.softmax_regret, entropy=0.3)), 4),
    Contract("losses", "regret_cross_entropy", _loss(losses.regret_cross_entropy), 4),
    Contract("losses", "regret_cross_entropy, gap", _loss(partial(losses.regret_cross_entropy, weighting="gap")), 4),
    Contract(
        "losses", "regret_cross_entropy, soft", _loss(partial(losses.regret_cross_entropy, label_temperature=0.2)), 4
    ),
    Contract("losses", "greedy_regret", _loss(losses.greedy_regret), 4),
    Contract("losses", "squared_utility_error", _loss(losses.squared_utility_error), 4),
    Contract("losses", "spo_plus", _loss(losses.spo_plus), 4),
    Contract("losses", "cost_sensitive_hinge", _loss(losses.cost_sensitive_hinge), 4),
    Contract("policies", "greedy", lambda x: policies.greedy(x["scores"], available=x["where"]), None),
    Contract("policies", "softmax", lambda x: policies.softmax(x["scores"], available=x["where"]), 4),
    Contract("policies", "epsilon_greedy", lambda x: policies.epsilon_greedy(x["scores"], epsilon=0.2), 4),
    Contract("policies", "best_single", lambda x: policies.best_single(Outcomes(x["quality"], x["cost"]), 0.5), None),
    Contract("policies", "ensemble", lambda x: policies.ensemble(jnp.stack([x["scores"], x["utility"]])), 4),
    Contract("policies", "envelope", lambda x: policies.envelope(x["quality"], x["cost"]).models, None),
    Contract(
        "policies",
        "thompson",
        lambda x: policies.thompson(jax.random.key(0), x["quality"], x["deviation"], simulations=64),
        None,
    ),
    Contract("policies", "contenders", lambda x: policies.contenders(x["quality"], x["deviation"], epsilon=0.2), None),
    Contract(
        "policies", "for_evaluation", lambda x: policies.for_evaluation(x["policy"], x["deviation"], floor=0.1), 4
    ),
    Contract(
        "policies",
        "limited",
        lambda x: exploration.limited(
            x["policy"], policies.greedy(x["scores"]), cost=x["cost"], utility=x["utility"], loss=0.1
        ),
        4,
    ),
    Contract("policies", "select", lambda x: policies.select(policies.envelope(x["quality"], x["cost"]), 0.5), None),
    Contract("counterfactual", "utility", lambda x: counterfactual.utility(Outcomes(x["quality"], x["cost"]), 0.5), 4),
    Contract("counterfactual", "direct", _table(counterfactual.direct), 0),
    Contract("counterfactual", "inverse_propensity", _table(counterfactual.inverse_propensity), 4),
    Contract("counterfactual", "doubly_robust", _table(counterfactual.doubly_robust), 4),
    Contract(
        "counterfactual", "switch_doubly_robust", _table(partial(counterfactual.switch_doubly_robust, threshold=4.0)), 4
    ),
    Contract(
        "counterfactual",
        "shrinkage_doubly_robust",
        _table(partial(counterfactual.shrinkage_doubly_robust, shrinkage=8.0)),
        4,
    ),
    Contract("counterfactual", "examples", lambda x: counterfactual.examples(*_log(x), _answered(x), clip=0.1), 4),
    Contract("counterfactual", "propensity_of_action", _table(counterfactual.propensity_of_action), 0),
    Contract("counterfactual", "at_action", lambda x: counterfactual.at_action(x["quality"], x["action"]), 0),
    Contract("counterfactual", "switch", lambda x: counterfactual.switch(4 * x["quality"], 2.0), 0),
    Contract("counterfactual", "shrink", lambda x: counterfactual.shrink(4 * x["quality"], 2.0), 4),
    *(Contract("estimators", name, _value(function), 4) for name, function in estimators.ESTIMATORS.items()),
    Contract("estimators", "marginalised_ipw", _value(partial(estimators.marginalised_ipw, family=FAMILY)), 4),
    Contract(
        "estimators",
        "marginalised_doubly_robust",
        _value(partial(estimators.marginalised_doubly_robust, family=FAMILY)),
        4,
    ),
    Contract(
        "estimators",
        "bounds",
        lambda x: estimators.bounds(_log(x)[0], x["policy"], 0.5, strength=2.0),
        4,
    ),
    Contract(
        "estimators",
        "bounds_interval",
        lambda x: estimators.bounds_interval(
            jax.random.key(0), _log(x)[0], x["policy"], 0.5, strength=2.0, replicates=20
        ),
        4,
    ),
    Contract("estimators", "tipping_point", lambda x: estimators.tipping_point(_log(x)[0], x["policy"], 0.5)[:1], 4),
    Contract("estimators", "rows", _rows, 4),
    Contract("estimators", "estimate", lambda x: estimators.estimate(_rows(x)), 4),
    Contract("estimators", "paired", lambda x: estimators.paired(_rows(x), _rows(x, "propensity")), 4),
    Contract("estimators", "difference", lambda x: estimators.difference(_rows(x), _rows(x, "propensity"))[:2], 4),
    Contract("estimators", "at_weights", _several, 4),
    Contract(
        "estimators",
        "simultaneous",
        lambda x: estimators.simultaneous(jax.random.key(0), _several(x), resamples=50).value,
        4,
    ),
    Contract("estimators", "slope", lambda x: estimators.slope(_several(x)).position, None),
    Contract("estimators", "smallest_error", lambda x: estimators.smallest_error(_several(x)).position, None),
    Contract(
        "estimators", "shadow_rows", lambda x: estimators.shadow_rows(_answered(x), x["policy"], 0.5).influence, 4
    ),
    Contract(
        "estimators",
        "shadow_share",
        lambda x: estimators.shadow_share(_rows(x), estimators.shadow_rows(_answered(x), x["policy"], 0.5)),
        4,
    ),
    Contract(
        "estimators",
        "pool",
        lambda x: estimators.pool(_rows(x), estimators.shadow_rows(_answered(x), x["policy"], 0.5)).influence,
        4,
    ),
    Contract(
        "estimators",
        "bootstrap",
        lambda x: estimators.bootstrap(
            jax.random.key(0), estimators.ipw, _log(x)[0], x["policy"], 0.5, _log(x)[1], resamples=20
        ),
        4,
    ),
    Contract("estimators", "shares", lambda x: estimators.shares(x["policies"]), 4),
    Contract("estimators", "balanced", lambda x: estimators.balanced(x["propensity"], x["action"]), 4),
    Contract("estimators", "weighted", lambda x: estimators.weighted(_log(x)[0], x["policy"], x["action"] % 2, 2), 4),
    Contract(
        "estimators", "with_propensity", lambda x: estimators.with_propensity(*_log(x), x["seen"][0])[1].propensity, 0
    ),
    Contract("metrics", "value", lambda x: metrics.value(x["policy"], Outcomes(x["quality"], x["cost"]), 0.5), 4),
    Contract("metrics", "regret", lambda x: metrics.regret(x["policy"], Outcomes(x["quality"], x["cost"]), 0.5), 4),
    Contract(
        "metrics",
        "quality_cost_points",
        lambda x: metrics.quality_cost_points(x["policies"], Outcomes(x["quality"], x["cost"])),
        4,
    ),
    Contract("metrics", "hull", lambda x: _metric(partial(metrics.hull, costs=x["cost"][:5, 1]))(x), 4),
    Contract("metrics", "aiq", _metric(metrics.aiq), 4),
    Contract("metrics", "aiq_range", _metric(metrics.aiq_range), 4),
    Contract(
        "metrics", "nauc", lambda x: _metric(partial(metrics.nauc, outcomes=Outcomes(x["quality"], x["cost"])))(x), 4
    ),
    Contract("metrics", "nauc_between", _metric(partial(metrics.nauc_between, lower=0.1, upper=0.9)), 4),
    Contract("metrics", "peak_quality", _metric(metrics.peak_quality), 0),
    Contract("metrics", "apgr", lambda x: metrics.apgr(x["shares of strong"], 0.2, 0.9), 4),
    Contract(
        "metrics",
        "routing_collapse",
        lambda x: metrics.routing_collapse(x["action"], Outcomes(x["quality"], x["cost"])),
        4,
    ),
    Contract("metrics", "routing_shares", lambda x: metrics.routing_shares(x["action"], K), 4),
    Contract("metrics", "share_entropy", lambda x: metrics.share_entropy(x["policy"]), 4),
    Contract("metrics", "bootstrap_interval", lambda x: metrics.bootstrap_interval(jax.random.key(0), x["seen"][0]), 4),
    Contract("metrics", "paired_interval", lambda x: metrics.paired_interval(*x["seen"]), 4),
    *(
        Contract("metrics", name, lambda x, name=name: getattr(metrics, name)(0.1 + 0.8 * x["seen"][0]), 4)
        for name in ("from_routerbench", "to_routerbench", "from_carrot", "to_carrot")
    ),
)


def _numbers(tree: Any) -> list[Any]:
    """The leaves that are numbers: masks have no type to keep."""
    return [x for x in jax.tree.leaves(tree) if x.dtype != bool]


def result(contract: Contract, kind: Any) -> tuple[list[Any], list[Any]]:
    """The leaves of a result in a type, and of the same inputs' in 64 bits."""
    with jax.enable_x64(True):
        given = arguments(kind)
        exact = {n: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x for n, x in given.items()}
        return _numbers(contract.call(given)), _numbers(contract.call(exact))


def type_of(contract: Contract, kind: Any) -> str:
    """The types of a result, without computing it; None of its parts differ."""
    with jax.enable_x64(True):
        found = {x.dtype.name for x in _numbers(jax.eval_shape(contract.call, arguments(kind)))}
    return ", ".join(sorted(found))


def page() -> str:
    """The Markdown of docs/contracts.md."""
    lines = [
        "# Types and accuracy",
        "",
        "Of every public loss, policy, estimator and metric: the type of the result for inputs of each type, and the "
        "largest error in units of eps of the result's type, times the largest result where that is above 1. Errors "
        "are those of the arithmetic, against the same inputs in 64 bits; float64 is not measured against anything "
        'wider. "A choice" is an argmax or a rule of one, which rounding decides where scores are within it.',
        "",
        "Losses and policies keep the type that they are given. Estimators sum over rows, and do so in 32 bits where "
        "they are given 16. Python numbers take the type of the arrays, and 64 bits need `JAX_ENABLE_X64=1`. Integers "
        "and booleans are float32, or float64 with 64 bits. What is drawn at random is drawn in the "
        "type of the arrays: of `simultaneous` only the values are compared, as its bounds follow the draws.",
        "",
        "`python tests/contracts.py` writes this page, and `tests/test_contracts.py` measures every entry.",
    ]
    for group in dict.fromkeys(c.group for c in CONTRACTS):
        names = [jnp.dtype(kind).name for kind in KINDS]
        lines += ["", f"## `jaxroute.{group}`", "", f"| function | {' | '.join(names)} | error, at most |"]
        lines += ["|---" * (len(names) + 2) + "|"]
        for c in CONTRACTS:
            if c.group == group:
                error = "a choice" if c.within is None else "exact" if c.within == 0 else f"{c.within} eps"
                lines += [f"| {c.name} | {' | '.join(type_of(c, kind) for kind in KINDS)} | {error} |"]
        if HOST[group]:
            named = ", ".join(f"`{name}`" for name in sorted(HOST[group]))
            lines += ["", f"On the host, so without a type of their own: {named}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
