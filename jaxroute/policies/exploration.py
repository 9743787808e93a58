"""Exploration: which other model to try, how often, and what that may cost.

Every function returns PROBABILITIES, from which the caller draws. The probability that is logged as the propensity is
then exact by construction, whatever error a simulation inside the policy has.

    thompson        the posterior probability that a model is the best one
    contenders      the models that may beat the router's choice, evenly
    for_evaluation  the smallest variance for the value of a named router, or for its difference to another
    limited         as much of any of these as a limit on cost and a limit on loss leave room for

``decisions`` has the others: ``epsilon_greedy`` explores evenly, ``softmax`` by the score. A ``floor`` is a share of
the mass that is spread evenly over the available models, so no propensity is below floor / (number available).
Unavailable models get probability 0, whatever their entries hold.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from jaxroute.arguments import checked, known
from jaxroute.numerics import at_least_single, expectation, masked_argmax, masked_sum, safe_divide
from jaxroute.policies.decisions import Available, Scalar, greedy, masked
from jaxroute.types import InputError, Key

F = TypeVar("F", bound=Callable[..., Any])

SIMULATIONS = 256
LEVEL = 0.1
"""Models that beat the router's choice with a smaller posterior probability than this are no contenders."""


def _not_negative(function: F) -> F:
    """The function, after a look at ``sd`` or ``deviation`` where values are known: inside jit they are not."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def at_the_door(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        name = "sd" if "sd" in given else "deviation"
        available = given.get("available")
        if known(given[name], available):
            there = True if available is None else np.asarray(available)
            if (bad := ~(np.asarray(given[name]) >= 0) & there).any():
                place = tuple(map(int, np.argwhere(bad)[0]))
                raise InputError(f"{name}, entry {place}, is {np.asarray(given[name])[place]}; it must be at least 0")
        return function(*args, **kwargs)

    return at_the_door  # type: ignore[return-value]


class Sampled(NamedTuple):
    """Probabilities [..., K] found by simulation, and the standard error of each against the exact posterior's."""

    probabilities: Float[Array, "*batch K"]
    standard_error: Float[Array, "*batch K"]


@checked
@_not_negative
@partial(jax.jit, static_argnames="simulations")
def thompson(
    key: Key,
    mean: Float[Array, "*batch K"],
    sd: Float[Array, "*batch K"],
    *,
    simulations: int = SIMULATIONS,
    floor: Scalar = 0.0,
    available: Available = None,
) -> Sampled:
    """Posterior sampling: each model as often as it is the best one under independent Gaussian posteriors.

        p_k = (1 - floor) 1/R sum_r 1{k = argmax_j mean_j + sd_j z_rj} + floor / (number available),   z_rj ~ N(0, 1)

    The integral has no closed form from three models on. R draws cost R K operations a prompt, where quadrature costs
    R K^2 for an error of at most 1/(2R) (``tests`` use it as the reference); a gateway decides one prompt at a time
    and draws from p itself, so the cheaper one is taken and its error returned.

    Args:
        key: of the simulation; rows get different draws.
        mean: [..., K] posterior means of utility at the cost weight.
        sd: [..., K] posterior standard deviations, at least 0, in units of utility. What matters is the uncertainty
            of differences: leave out what all models share.
        simulations: R, at least 1. Static.
        floor: share of the mass that is spread evenly, in [0, 1]; traced.
        available: [..., K], True where a model can be chosen.

    Returns:
        Sampled(probabilities, standard_error), both [..., K]. The error is that of a binomial share with one success
        and one failure added, so that it is not 0 for a model that no draw chose. Ties go to the lowest index.
        Probabilities are all 0 in a row without an available model.

    Raises:
        InputError: a negative or NaN sd of an available model (outside jit).

    Example:
        >>> probabilities, error = thompson(jax.random.key(0), jnp.array([0.5, 0.5, 0.0]), jnp.array([0.1, 0.1, 0.01]))
        >>> print(probabilities.round(1), error.max() < 0.04)
        [0.5 0.5 0. ] True

    Reference: An Empirical Evaluation of Thompson Sampling, by Chapelle and Li,
    https://papers.nips.cc/paper/2011/hash/e53a0a2978c28872a4505bdb51db06dc-Abstract.html (2011).
    """
    if simulations < 1:
        raise InputError(f"simulations is {simulations}; it must be at least 1")
    mean, available = masked(mean, available)
    sd, _ = masked(sd, available)

    def one(wins: Array, key: Key) -> tuple[Array, None]:
        drawn = mean + sd * jax.random.normal(key, mean.shape, mean.dtype)
        return wins + greedy(drawn, available=available).astype(wins.dtype), None

    nothing = jnp.zeros_like(at_least_single(mean))  # 16 bits count to 256 or 2048
    wins, _ = jax.lax.scan(one, nothing, jax.random.split(key, simulations))
    guarded = (wins + 1) / (simulations + 2)
    error = jnp.sqrt(guarded * (1 - guarded) / simulations)
    found = _floored(wins / simulations, floor, available), (1 - floor) * available * error
    return Sampled(*(x.astype(mean.dtype) for x in found))


@checked
@_not_negative
@jax.jit
def contenders(
    mean: Float[Array, "*batch K"],
    sd: Float[Array, "*batch K"],
    *,
    epsilon: Scalar,
    floor: Scalar = 0.0,
    level: Scalar = LEVEL,
    available: Available = None,
) -> Float[Array, "*batch K"]:
    """Greedy, with a share ``epsilon`` of the mass spread evenly over the models that may be better, and the choice.

        g = argmax_j mean_j,    C = {k: Phi((mean_k - mean_g) / sqrt(sd_k^2 + sd_g^2)) >= level} with g
        p_k = (1 - floor) ((1 - epsilon) 1{k = g} + epsilon 1{k in C} / |C|) + floor / (number available)

    A prompt whose best model is certain is not explored beyond the floor.

    Args:
        mean: [..., K] posterior means of utility. sd: [..., K] posterior standard deviations, at least 0.
        epsilon: share that contenders get, in [0, 1]; traced.
        floor: share of the mass that is spread evenly over all, in [0, 1]; traced.
        level: smallest posterior probability of beating the choice that makes a contender, in (0, 1); traced.
        available: [..., K], True where a model can be chosen.

    Returns:
        Probabilities [..., K]; all 0 in a row without an available model.

    Raises:
        InputError: a negative or NaN sd of an available model, or a level outside (0, 1) (outside jit).

    Example:
        >>> print(contenders(jnp.array([0.5, 0.45, 0.0]), jnp.array([0.1, 0.1, 0.1]), epsilon=0.5))
        [0.75 0.25 0.  ]
    """
    mean, available = masked(mean, available)
    sd, _ = masked(sd, available)
    choice = greedy(mean, available=available)
    best = masked_argmax(mean, available)[..., None]
    behind = mean - jnp.take_along_axis(mean, best, -1)
    spread = jnp.hypot(sd, jnp.take_along_axis(sd, best, -1))
    deviations = at_least_single(behind / jnp.where(spread > 0, spread, 1.0))  # ndtr knows no 16 bits
    beats = jnp.where(spread > 0, ndtr(deviations), 0.0)
    among = available & ((beats >= level) | (choice > 0))
    return _floored((1 - epsilon) * choice + epsilon * _even(among, choice.dtype), floor, available)


@checked
@_not_negative
@jax.jit
def for_evaluation(
    target: Float[Array, "*batch K"],
    deviation: Float[Array, "*batch K"],
    *,
    floor: Scalar,
    baseline: Float[Array, "*batch K"] | None = None,
    available: Available = None,
) -> Float[Array, "*batch K"]:
    """The logging policy whose log values a named router with the smallest variance.

    With d = target - baseline (baseline 0: the value itself) and deviation_k the root of the second moment of what an
    inverse propensity multiplies, the variance that depends on the logging policy is that of one row,

        sum_k d_k^2 deviation_k^2 / p_k,    smallest over {sum p = 1, p_k >= m} at   p_k = max(m, c |d_k| deviation_k)

    with m = floor / (number available) and c such that the probabilities sum to 1: where no bound holds, p_k is
    proportional to |d_k| deviation_k (Cauchy-Schwarz). For a difference of two greedy routers this is to answer with
    either of their two choices where they disagree, and where they agree not to explore. Deviation is sqrt(E[u_k^2])
    for inverse propensity weighting, and for doubly robust estimates the root mean squared error of the outcome
    model's utility, which is smaller.

    Args:
        target: [..., K] probabilities of the router to be valued.
        deviation: [..., K], at least 0, in units of utility; of known scale between models only.
        floor: the least mass of all models together, in [0, 1]; traced. Without one, models of which d is 0 get no
            mass, and nothing else can be valued from the log.
        baseline: [..., K] probabilities of the router it is compared with; None: the value itself is wanted.
        available: [..., K], True where a model can be chosen.

    Returns:
        Probabilities [..., K]. Where d is 0, or deviation is 0 wherever it is not, nothing can be learnt: target's
        probabilities, of which the floor takes its share. All 0 in a row without an available model.

    Raises:
        InputError: a negative or NaN deviation of an available model (outside jit).

    Example:
        >>> target, baseline = jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0])
        >>> print(for_evaluation(target, jnp.array([0.25, 0.75, 0.5]), floor=0.0, baseline=baseline))
        [0.25 0.75 0.  ]
        >>> with_floor = for_evaluation(target, jnp.array([0.1, 0.3, 0.5]), floor=0.3, baseline=baseline)
        >>> print(np.round(np.asarray(with_floor, float), 3))
        [0.225 0.675 0.1  ]

    Reference: Logging Policy Design for Off-Policy Evaluation, by Douglas, Provost and Persson,
    https://arxiv.org/abs/2605.15108 (2026).
    """
    target, available = masked(target, available)
    deviation, _ = masked(deviation, available)
    baseline = jnp.zeros_like(target) if baseline is None else masked(baseline, available)[0]
    wanted = jnp.abs(target - baseline) * deviation
    least = floor * _even(available, target.dtype)
    bound = jnp.max(least, -1, keepdims=True)
    descending = jnp.sort(wanted, -1)[..., ::-1]
    bounded = jnp.sum(available, -1, keepdims=True) - jnp.cumsum(jnp.ones_like(wanted), -1)
    scale = safe_divide(1 - bound * bounded, jnp.cumsum(descending, -1), 0.0)  # c, if all but the first 1, 2, ... are
    holds = (descending > 0) & (scale * descending >= bound)
    last = jnp.maximum(jnp.sum(holds, -1, keepdims=True) - 1, 0)
    best = jnp.maximum(least, jnp.take_along_axis(scale, last, -1) * wanted)
    return jnp.where(jnp.any(holds, -1, keepdims=True), best, _floored(target, floor, available))


@checked
def limited(
    probabilities: Float[Array, "*batch K"],
    greedy: Float[Array, "*batch K"],
    *,
    cost: Float[Array, "*batch K"],
    utility: Float[Array, "*batch K"],
    spend: Scalar | Float[Array, "*batch"] = jnp.inf,
    loss: Scalar | Float[Array, "*batch"] = jnp.inf,
    available: Available = None,
) -> Float[Array, "*batch K"]:
    """The largest step from the router towards an exploring policy that keeps to two limits, request by request.

        q = greedy + s (probabilities - greedy),    0 <= s <= 1 the largest with
        sum_k (q - greedy)_k cost_k <= spend   and   sum_k (greedy - q)_k utility_k <= loss

    Both sides are linear in s, so s = min(1, spend / extra cost, loss / expected loss), where only what is positive
    counts. A step below 1 lowers the propensities of what is explored, and so their floor, in the same proportion.
    Nobody knows how far a limit lets a step go that ends at a model of unknown cost or utility (NaN).

    Args:
        probabilities: [..., K] of the exploring policy. greedy: [..., K] of the router.
        cost: [..., K] expected cost of each model's answer.
        utility: [..., K] expected utility, of a posterior's mean.
        spend: most that exploration may add to a request's expected cost, in units of cost; at least 0; traced.
        loss: most that it may take of a request's expected utility, in units of quality; at least 0; traced.
        available: [..., K], True where a model can be chosen.

    Returns:
        Probabilities [..., K].

    Raises:
        InputError: with a finite limit, a cost or a utility that is NaN of a model whose probability the step would
            change (outside jit; inside, s is 0).

    Example:
        >>> router, explore = jnp.array([1.0, 0.0]), jnp.array([0.6, 0.4])
        >>> cost, utility = jnp.array([1.0, 3.0]), jnp.array([0.5, 0.25])
        >>> print(np.round(np.asarray(limited(explore, router, cost=cost, utility=utility, spend=0.2), float), 3))
        [0.9 0.1]
    """
    if known(probabilities, greedy, cost, utility, spend, loss, available):
        moved = np.asarray(probabilities) != np.asarray(greedy)
        moved = moved if available is None else moved & np.asarray(available)
        for name, value, limit in (("cost", cost, spend), ("utility", utility, loss)):
            unknown = moved & np.isnan(np.asarray(value, float)) & (np.asarray(limit, float)[..., None] < np.inf)
            if unknown.any():
                place = tuple(map(int, np.argwhere(unknown)[0]))
                raise InputError(f"{name}, entry {place}, is nan; a limit needs the {name} of what is explored")
    return _limited(probabilities, greedy, cost, utility, spend, loss, available)


@jax.jit
def _limited(
    probabilities: Array, greedy: Array, cost: Array, utility: Array, spend: Scalar, loss: Scalar, available: Available
) -> Array:
    probabilities, available = masked(probabilities, available)
    (greedy, _), (cost, _), (utility, _) = (masked(x, available) for x in (greedy, cost, utility))
    moved = probabilities - greedy
    dearer, worse = expectation(moved, cost), -expectation(moved, utility)

    def share(limit: Scalar | Array, whole: Array) -> Array:
        over, within = whole > limit, (whole <= limit) | (jnp.asarray(limit) == jnp.inf)  # none where something is NaN
        part = jnp.where(over, limit, 0.0) / jnp.where(over, whole, 1.0)  # no infinity whose gradient would be NaN
        return jnp.where(over, part, jnp.where(within, 1.0, 0.0))

    step = jnp.minimum(share(spend, dearer), share(loss, worse))
    return greedy + step[..., None] * moved


def _even(among: Array, dtype: Any) -> Array:
    """Evenly over what is True, [..., K]; 0 throughout where nothing is."""
    one = among.astype(dtype)
    return safe_divide(one, masked_sum(one)[..., None], default=0.0)


def _floored(probabilities: Array, floor: Scalar, available: Array) -> Array:
    return (1 - floor) * probabilities + floor * _even(available, probabilities.dtype)
