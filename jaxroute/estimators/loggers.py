"""Logs that several logging policies wrote, as after a change of policy: one propensity a row for every estimator.

With the propensity that a row was logged with, every estimator is unbiased, but a row of a policy that rarely makes the
target's choices has a large weight, even if another policy makes them often. Both functions here return propensities
that take the others into account; ``with_propensity`` puts them where every estimator and ``evaluate`` read them.

    balanced    p_i = sum_l n_l/N p_l(a_i | x_i)        all rows as one sample of the mixture of the policies
    weighted    p_i = p_l(i)(a_i | x_i) n_l / (N lambda_l)   one value a policy; their mean with weights lambda_l

``balanced`` needs every policy's probability of every row's choice. A log holds that of its own policy alone: compute
the others from the policies themselves, or estimate them (``nuisance.fit`` on one policy's rows, ``nuisance.predict``
on all of them). A log without propensities needs neither function, because the model that is fitted to the whole log
(``NuisanceSpec(propensity="estimated")``) estimates the mixture. ``weighted`` needs the row's own propensity only, and
every policy must support the target by itself.

In 400 simulated logs of 300 rows before and 300 after a change of policy (`tests/test_loggers.py`), the root mean
squared error of doubly robust values is 0.075 with the rows' own propensities, 0.030 with ``weighted`` and 0.029 with
``balanced`` ones; biases are within their Monte Carlo errors, and 94 to 95% of the intervals hold the truth.

``of_log`` is the policy that wrote a log, as a target: what gains over it are measured against.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxroute.counterfactual import propensity_of_action
from jaxroute.estimators.influence import example as example
from jaxroute.numerics import relative, safe_divide, weighted_mean
from jaxroute.types import InputError, Logs, Nuisances


def balanced(
    by_logger: Float[Array, "N L"], logger: Int[Array, " N"], *, weight: Float[Array, " N"] | None = None
) -> Float[Array, " N"]:
    """Probability of every row's choice under the mixture of the logging policies.

        p_i = sum_l n_l/N by_logger_il

    Args:
        by_logger: [N, L] the probability with which each of L policies would have made the row's choice; 0 where it
            never would, also where the model was not available to it.
        logger: [N] the policy that wrote the row, 0 to L-1.
        weight: [N] ``logs.weight``: how many requests the row stands for, n_l counts these; None: one each.

    Returns:
        [N] propensities.

    Example:
        >>> print(balanced(jnp.array([[0.9, 0.1], [0.1, 0.9]]), jnp.array([0, 1])))
        [0.5 0.5]

    Reference:
        Effective Evaluation Using Logged Bandit Feedback from Multiple Loggers, by Agarwal, Basu, Schnabel and
        Joachims (https://arxiv.org/abs/1703.06180), 2017: their balanced estimator.
    """
    by_logger = jnp.asarray(by_logger)
    chex.assert_shape(logger, (by_logger.shape[0],))
    member = jax.nn.one_hot(logger, by_logger.shape[1], dtype=by_logger.dtype)
    return by_logger @ weighted_mean(member, relative(weight))


def weighted(logs: Logs, target: Float[Array, "N K"], logger: Int[Array, " N"], num_loggers: int) -> Float[Array, " N"]:
    """Propensities that give each logging policy's own estimate a weight by how close the policy is to the target.

        p_i = propensity_i n_l / (N lambda_l),   lambda_l = c n_l / mean_{i in l} w_i^2,   sum_l lambda_l = 1

    An estimate of the mean is then sum_l lambda_l V_l. The weights depend on policies alone and not on rewards, so they
    add no bias of their own; a policy that never made the target's choices gets weight 0.

    Args:
        logs: N rows with the propensities that they were logged with.
        target: [N, K] the policy to value; other targets get other propensities.
        logger: [N] the policy that wrote the row, 0 to L-1. num_loggers: L.

    Returns:
        [N] propensities, inf for rows that do not count; they may exceed 1, as they are no probabilities.

    Example:
        >>> logs, target = example()
        >>> print(weighted(logs._replace(propensity=jnp.array([0.9, 0.9, 0.1, 0.1])), target, jnp.zeros(4, int), 1))
        [0.9 0.9 0.1 0.1]

    Reference:
        Effective Evaluation Using Logged Bandit Feedback from Multiple Loggers, by Agarwal, Basu, Schnabel and
        Joachims (https://arxiv.org/abs/1703.06180), 2017: their weighted estimator, with the second moment of the
        weights for the variance.
    """
    chex.assert_shape(target, logs.available.shape)
    if relative(logs.weight) is not None:
        raise InputError("logs.weight: rows that stand for several requests have no such propensities; use balanced")
    propensity = jnp.asarray(logs.propensity)
    member = jax.nn.one_hot(logger, num_loggers, dtype=propensity.dtype)
    weight = jnp.take_along_axis(jnp.asarray(target), jnp.asarray(logs.action)[:, None], 1)[:, 0] / propensity
    rows = jnp.sum(member, 0)
    share = safe_divide(rows**2, member.T @ weight**2, 0.0)
    share = share / jnp.sum(share)
    return propensity * safe_divide(rows, len(propensity) * share, jnp.inf)[logger]


def with_propensity(logs: Logs, nuisances: Nuisances, propensity: Float[Array, " N"]) -> tuple[Logs, Nuisances]:
    """The log and its nuisances with another propensity of every row's choice.

    Args:
        logs: N rows. nuisances: of these rows. propensity: [N], of ``balanced`` or ``weighted``.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> logs, target = example()
        >>> half = jnp.full((4, 2), 0.5)
        >>> _, changed = with_propensity(logs, Nuisances(half, Outcomes(half, half)), jnp.full(4, 0.25))
        >>> print(changed.propensity[0])
        [0.25 0.5 ]
    """
    chosen = jax.nn.one_hot(logs.action, logs.available.shape[1], dtype=bool)
    changed = jnp.where(chosen, propensity[:, None], nuisances.propensity)
    return logs._replace(propensity=propensity), nuisances._replace(propensity=changed)


def of_log(logs: Logs, nuisances: Nuisances, *, clip: Float[Array, ""] | float = 0.0) -> Float[Array, "N K"]:
    """The policy that wrote a log, as a target of estimators: every row's choice has the propensity it was logged with.

        target_a = max(p_a, clip),   target_k = (1 - target_a) p^_k / sum_{j != a} p^_j   for the others, a the choice

    So the weight of every row is 1, and the value is the mean of the log, but for what the choices' draw changes in the
    predictions. To scale a row to one instead would change the chosen model's probability too: where a logger knows
    more of a prompt than the features say, its good choices would count less, and its others more.

    Args:
        logs: N rows. nuisances: of these rows. clip: that of the estimator.

    Returns:
        [N, K]; a model that was the only one available has probability 1.

    Example:
        >>> from jaxroute.types import Outcomes
        >>> logs, target = example()
        >>> p = jnp.array([[0.75, 0.5], [0.75, 0.5], [0.5, 0.75], [0.75, 0.5]])  # known where chosen, fitted beside it
        >>> print(of_log(logs, Nuisances(p, Outcomes(p, p))))
        [[0.75 0.25]
         [0.75 0.25]
         [0.25 0.75]
         [0.5  0.5 ]]

    Reference: the logging policy's own value needs no weights, Doubly Robust Policy Evaluation and Learning, by Dudík,
    Langford and Li (https://arxiv.org/abs/1103.4601), 2011.
    """
    propensity = propensity_of_action(logs, nuisances, clip=clip)
    chosen = jax.nn.one_hot(logs.action, logs.available.shape[1], dtype=bool)
    others = jnp.where(jnp.asarray(logs.available) & ~chosen, nuisances.propensity, 0)
    rest = jnp.sum(others, 1)
    own = jnp.where(rest > 0, jnp.minimum(propensity, 1), 1)
    return jnp.where(chosen, own[:, None], others * safe_divide(1 - own, rest, 0.0)[:, None])
