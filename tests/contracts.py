"""Result type and accuracy of every public loss, policy and estimator; writes docs/contracts.md.

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

from jaxroute import counterfactual, estimators, losses, policies
from jaxroute.policies import exploration
from jaxroute.types import Logs, Nuisances, Outcomes

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
        "propensity": propensity,
        "seen": rng.random((2, N)),
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


FAMILY = jnp.array([0, 0, 1, 1])
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
)


def result(contract: Contract, kind: Any) -> tuple[list[Any], list[Any]]:
    """The leaves of a result in a type, and of the same inputs' in 64 bits."""
    with jax.enable_x64(True):
        given = arguments(kind)
        exact = {n: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x for n, x in given.items()}
        return jax.tree.leaves(contract.call(given)), jax.tree.leaves(contract.call(exact))


def type_of(contract: Contract, kind: Any) -> str:
    """The types of a result, without computing it; None of its parts differ."""
    with jax.enable_x64(True):
        found = {x.dtype.name for x in jax.tree.leaves(jax.eval_shape(contract.call, arguments(kind)))}
    return ", ".join(sorted(found))


def page() -> str:
    """The Markdown of docs/contracts.md."""
    lines = [
        "# Types and accuracy",
        "",
        "Of every public loss, policy and estimator: the type of the result for inputs of each type, and the largest "
        "error in units of eps of the result's type, times the largest result where that is above 1. Errors are "
        "those of the arithmetic, against the same inputs in 64 bits; float64 is not measured against anything wider. "
        '"A choice" is an argmax or a rule of one, which rounding decides where scores are within it.',
        "",
        "Losses and policies keep the type that they are given. Estimators sum over rows, and do so in 32 bits where "
        "they are given 16. Python numbers take the type of the arrays, and 64 bits need `JAX_ENABLE_X64=1`. Integers "
        "and booleans are float32, or float64 with 64 bits.",
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
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
