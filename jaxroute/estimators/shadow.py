"""A shadow sample as evidence: prompts that every model answered give values without propensities.

A row of it is a log row with all actions observed: importance weight 1 and no outcome model. Its mean and the log's
estimate are independent estimates of the same value, as both samples come from the same distribution of prompts.
``pool`` combines their rows, so that ``estimate``, ``paired`` and ``simultaneous`` apply as to a log.

Each sample is weighted by its effective rows and not by the inverse of its estimated variance, because that depends on
the answers. Near quality 1, a sample with a high mean has a small variance; and policies that choose alike on every
prompt of the shadow have a difference of 0 with error 0 there, which would outweigh the log. In simulations
(`tests/test_shadow.py`: logs of 400 rows and 100 shadow prompts) values and gains are unbiased, 94 to 95% of the
intervals contain the truth, and errors are 2/3 of the log's. For policies that differ on 4% of the prompts coverage is
90% (inverse variances: 79%, and biased towards 0), as four prompts do not show how noisy their mean is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxroute import metrics
from jaxroute.arguments import checked
from jaxroute.estimators.evaluation import Evaluation
from jaxroute.estimators.influence import Rows, Scalar, estimate, units
from jaxroute.estimators.intervals import interval
from jaxroute.estimators.verdict import ENOUGH_EFFECTIVE_ROWS
from jaxroute.estimators.verdict import FEWEST_ROWS_PER_MODEL as FEWEST_PROMPTS
from jaxroute.numerics import as_arrays, at_least_single, safe_divide
from jaxroute.types import Estimate, Examples, InputError, Outcomes

WITH = ", with a shadow sample"
ALONE = "shadow sample alone"


@checked
@jax.jit
def shadow_rows(shadow: Examples, target: Float[Array, "S K"], cost_weight: Scalar) -> Rows:
    """Value of a policy on every prompt of a shadow sample, from the sample's answers alone.

        z_s = sum_k target_sk (quality_sk - cost_weight cost_sk),   weight 1

    A prompt counts if every model that the target may choose there is available and has an answer with quality and,
    unless the cost weight is 0, cost. Which answers are missing must not depend on the answers.

    Args:
        shadow: S prompts and the models' answers; quality in [0, 1], cost in the log's unit, NaN where missing.
        target: [S, K] the policy on them; every row sums to 1, or to 0 where no model is available.
        cost_weight: quality per unit of cost.

    Returns:
        Rows of [S]; ``estimate`` of them is the shadow's own value with its standard error.

    Example:
        >>> sample, target = example()
        >>> print(*estimate(shadow_rows(sample, target, 0.5)))
        0.75 0.25 2.0
    """
    chex.assert_equal_shape([target, shadow.outcomes.quality, shadow.outcomes.cost, shadow.available])
    target, outcomes = at_least_single((target, as_arrays(shadow.outcomes)))
    priced = jnp.isfinite(outcomes.cost)
    there = jnp.asarray(shadow.available) & jnp.isfinite(outcomes.quality) & (priced | (jnp.asarray(cost_weight) == 0))
    counted = jnp.all(there | (target == 0), -1)
    known = Outcomes(jnp.where(there, outcomes.quality, 0.0), jnp.where(there & priced, outcomes.cost, 0.0))
    value = metrics.value(target, known, cost_weight)
    return Rows(jnp.where(counted, value, 0.0), counted, counted.astype(value.dtype))


@jax.jit
def shadow_share(log: Rows, shadow: Rows) -> Float[Array, ""]:
    """Weight of the shadow in ``pool``: its share of the effective rows.

        share = m_shadow / (m_log + m_shadow),   m = (sum w)^2 / sum w^2

    This equals the inverse-variance weight if an effective row is equally noisy in both samples, and it depends on
    policies and propensities only. It ignores the clustering of a log's rows in groups.

    Args:
        log, shadow: influence rows of the same policy, or ``paired`` ones of the same two.

    Returns:
        Scalar in [0, 1]; NaN where the log's rows have no weights.

    Example:
        >>> one = jnp.ones(3)
        >>> print(shadow_share(Rows(one, one > 0, one), Rows(one[:1], one[:1] > 0, one[:1])))
        0.25
    """
    ours, theirs = (estimate(x).effective_sample_size for x in (shadow, log))
    return safe_divide(ours, ours + theirs, 0.0)


@jax.jit
def pool(log: Rows, shadow: Rows, *, share: Scalar | None = None) -> Rows:
    """Rows of the log and of the shadow as one sample, whose ``estimate`` is the two estimates' weighted mean.

        value = (1 - share) v_log + share v_shadow
        standard_error^2 = (1 - share)^2 error_log^2 + share^2 error_shadow^2
        effective_sample_size = 1 / ((1 - share)^2 / m_log + share^2 / m_shadow)

    At the default share the effective sample size is m_log + m_shadow and the interval has one degree of freedom less,
    as Welch and Satterthwaite have for rows equally noisy in both.

    Args:
        log: [N] influence rows of a policy (or of a pair: ``paired``), in groups or not.
        shadow: [S] of the same, see ``shadow_rows``; every prompt its own group.
        share: of the shadow, 0 (the log alone) to 1 (the shadow alone; the log may then hold NaN); None:
            ``shadow_share``.

    Returns:
        Rows of [N + S].

    Example:
        >>> z, every = jnp.array([0.0, 1.0]), jnp.ones(2)
        >>> log, shadow = Rows(z, every > 0, every), Rows(z + 1, every > 0, every)
        >>> print(*(round(float(x), 3) for x in estimate(pool(log, shadow))))  # 0.5 and 1.5, errors 0.5
        1.0 0.354 4.0

    Reference:
        The Combination of Estimates from Different Experiments, by Cochran
        (https://www.jstor.org/stable/3001666), 1954, which also treats estimated weights.
    """
    share = shadow_share(log, shadow) if share is None else jnp.asarray(share)
    parts = ((log, 1 - share), (shadow, share))
    whole = jnp.sum(log.counted) + jnp.sum(shadow.counted)
    groups = units(log) + units(shadow)
    value = sum(jnp.where(part == 0, 0.0, part * estimate(of).value) for of, part in parts)

    def scaled(of: Rows, part: Array) -> tuple[Array, Array]:
        """The deviations, so that their spread over all rows gives the part's share of the error."""
        count, own = jnp.sum(of.counted), units(of)
        small = jnp.sqrt(own / (own - 1) * (groups - 1) / groups)
        deviation = part * whole / count * small * (of.influence - estimate(of).value)
        weight = part * safe_divide(of.weight, jnp.sum(of.weight))
        return value + jnp.where(part == 0, 0.0, deviation), jnp.where(part == 0, 0.0, weight)

    influence, weight = (jnp.concatenate(pair) for pair in zip(*(scaled(*p) for p in parts), strict=True))
    group = log.group
    if group is not None:
        group = jnp.concatenate([group, jnp.max(group) + 1 + jnp.arange(len(shadow.influence))])
    return Rows(influence, jnp.concatenate([log.counted, shadow.counted]), weight, group)


def pool_each(
    log: Rows, shadow: Rows, supported: np.ndarray, usable: np.ndarray | bool = True
) -> tuple[Rows, np.ndarray]:
    """``pool`` at L cost weights, depending on what the log supports. Host side.

    Args:
        log, shadow: rows with a leading axis [L].
        supported: [L] whether the log supports an estimate; otherwise the shadow is used alone.
        usable: [L] False where the shadow is not to be used at all.

    Returns:
        (Rows [L, N + S], the shadow's share [L]: 0 where it is not used, also below 30 prompts).
    """
    used = usable & (np.asarray(shadow.counted).sum(-1) >= FEWEST_PROMPTS)
    own = np.asarray(jax.vmap(shadow_share)(log, shadow))
    share = np.where(used, np.where(supported, own, 1.0), 0.0)
    return jax.vmap(lambda a, b, s: pool(a, b, share=s))(log, shadow, jnp.asarray(share)), share


def complete(shadow: Examples, offered: Bool[Array, " K"]) -> Examples:
    """The shadow without the qualities of prompts that lack an answer of a model which the log could always choose.

    A policy restricted to the models that answered is another policy, so only complete prompts count.

    Args:
        shadow: S prompts. offered: [K] the models that the log could choose on every row.

    Returns:
        Examples; an incomplete prompt counts for no policy (``shadow_rows``).

    Raises:
        InputError: another number of models.
    """
    models, quality = shadow.available.shape[1], jnp.asarray(shadow.outcomes.quality)
    if models != len(offered):
        raise InputError(
            f"the shadow sample has {models} models and the log {len(offered)}; both must have the same models"
        )
    seen = jnp.asarray(shadow.available) & jnp.isfinite(quality)
    whole = jnp.all(seen | ~offered[None], 1, keepdims=True)
    return shadow._replace(outcomes=shadow.outcomes._replace(quality=jnp.where(whole, quality, jnp.nan)))


def with_shadow(
    judged: Sequence[Evaluation], pooled: Estimate, share: np.ndarray, prompts: np.ndarray
) -> tuple[Evaluation, ...]:
    """Evaluations of a policy at L cost weights from a log and a shadow sample. Host side.

    With fewer than 30 prompts only the reasons change. If the log supports the policy, the prompts are pooled with it;
    otherwise they are the only evidence, with the verdict ok from 200 prompts and caution below.

    Args:
        judged: L of the log alone (``evaluate``). pooled: [L] of ``pool`` at these shares.
        share: [L] of the shadow, 0 where it is not used, 1 where it is all there is.
        prompts: [L] that count for the policy.

    Returns:
        L Evaluations with the pooled value and its 95% interval; bounds and tipping point are dropped.
    """
    columns = zip(judged, *(np.asarray(x) for x in pooled), share, prompts, strict=True)
    return tuple(_judged(e, Estimate(*rest[:3]), *rest[3:]) for e, *rest in columns)


def _judged(judged: Evaluation, pooled: Estimate, share: float, prompts: int) -> Evaluation:
    if share == 0:
        line = f"{prompts} prompts of the shadow sample count here: not used below {FEWEST_PROMPTS}"
        return dataclasses.replace(judged, reasons=(*judged.reasons, line))
    alone = share == 1
    verdict = judged.verdict
    line = f"{prompts} shadow prompts carry {share:.0%} of the value"
    if alone:
        verdict = "ok" if prompts >= ENOUGH_EFFECTIVE_ROWS else "caution"
        line = f"the value rests on {prompts} shadow prompts alone, as the log supports too little"
    return dataclasses.replace(
        judged,
        value=float(pooled.value),
        interval=interval(pooled),
        label=ALONE if alone else judged.label + WITH,
        verdict=verdict,
        reasons=(line, *judged.reasons),
        effective_sample_size=float(pooled.effective_sample_size),
        bounds=None,
        tipping_point=None,
    )


def example() -> tuple[Examples, Float[Array, "S K"]]:
    """Three prompts that two models answered, one answer lost; the target always takes the first."""
    quality = jnp.array([[1.0, 0.5], [0.5, 0.5], [jnp.nan, 1.0]])
    seen = jnp.ones((3, 2), bool)
    return Examples(jnp.zeros((3, 1)), Outcomes(quality, jnp.zeros((3, 2))), seen), jax.nn.one_hot(jnp.zeros(3, int), 2)
