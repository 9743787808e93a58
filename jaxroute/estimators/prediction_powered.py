"""Values by a judge's scores, corrected by the rows that people rated too: prediction-powered inference.

A judge (a model that grades answers, say) is wrong on single answers, and wrong by more for some models than for
others. Where people rated a part of its rows as well, drawn with known or estimated probabilities h,

    V = J(all rows) + [H(rated rows) - J(rated rows)] - (1 - l) [J(all rows) - J(rated rows)]

J and H are the same estimator of the policy's value from the judge's scores and from people's ratings, the rated rows
weighted by 1 / h. The first bracket, the rectifier, removes the judge's bias. The second has mean 0 for every l:
l = 1 trusts the judge's scores fully, l = 0 leaves them out of the value, and the power-tuned l in [0, 1] has the least
variance, so that a useless judge costs nothing. Costs need no judge and come from all rows.

ASSUMPTION: ratings are missing at random. Given the prompt and the model that answered, whether a person rated the
answer does not depend on how good it is.

Reference:
    Prediction-powered inference, by Angelopoulos, Bates, Fannjiang, Jordan and Zrnic
    (https://arxiv.org/abs/2301.09633), 2023; the tuned weight: PPI++, by Angelopoulos, Duchi and Zrnic
    (https://arxiv.org/abs/2311.01453), 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxroute.numerics import safe_divide
from jaxroute.system.wording import named
from jaxroute.types import InputError, Logs

if TYPE_CHECKING:
    from jaxroute.estimators.influence import Rows


def check_scale(corrected: bool, beside: Any) -> None:
    """Refuse a shadow sample beside a log whose values people's ratings correct.

    Args:
        corrected: whether they do. beside: the shadow sample; None: there is none.

    Raises:
        InputError: there are both.

    Example:
        >>> check_scale(True, None)
    """
    if corrected and beside is not None:
        raise InputError(
            f"{named('shadow')}: the values of this log are corrected by people's ratings (human_quality), and a "
            "shadow sample has the judge's scores alone; leave out one of the two"
        )


def by_judge(logs: Logs) -> Logs:
    """The same log without people's ratings: what the judge's scores alone say."""
    return logs._replace(human_quality=None, human_rate=None)


def by_people(logs: Logs) -> tuple[Logs, Logs, Float[Array, " N"]]:
    """The rated rows with people's ratings, the same rows with the judge's scores, and the rate h of every row.

    The qualities of other rows are NaN. Without ``logs.human_rate`` the rate is the share of each model's rows.
    """
    assert logs.human_quality is not None
    alone, rated = by_judge(logs), ~jnp.isnan(logs.human_quality)
    if logs.human_rate is None:
        times = jnp.ones(rated.shape) if logs.weight is None else logs.weight
        chosen = logs.action[:, None] == jnp.arange(logs.available.shape[1])[None]
        share = safe_divide((times * rated) @ chosen, times @ chosen, 1.0)
        rate = share[logs.action]
    else:
        rate = logs.human_rate
    of_judge = alone._replace(quality=jnp.where(rated, logs.quality, jnp.nan))
    return alone._replace(quality=logs.human_quality), of_judge, jnp.where(rated, rate, 1.0)


def corrected(value: Rows, judge: Rows, human: Rows, judge_there: Rows) -> Rows:
    """Influence rows of the corrected value, with the power-tuned weight of the judge.

        z + (z_H - z_J') - (1 - l) (z_J - z_J'),   1 - l = Cov(z + z_H - z_J', z_J - z_J') / Var(z_J - z_J')

    Args:
        value: of the value (of utility) by the judge's scores. judge: of its quality alone.
        human: of quality by people's ratings. judge_there: of quality by the judge's scores of the rated rows.

    Returns:
        Rows of [N]; the importance weights are those of the rated rows, of which there are fewer.

    Example:
        >>> from jaxroute.estimators.influence import Rows, estimate
        >>> every, ones = jnp.ones(6, bool), jnp.ones(6)
        >>> scores, rated = jnp.array([0.9, 0.7, 0.8, 0.6, 0.9, 0.5]), jnp.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        >>> judge = Rows(scores, every, ones)  # two of six answers are rated, 0.1 below the judge
        >>> there = Rows(0.8 + 3 * rated * (scores - 0.8), every, 3 * rated)
        >>> human = Rows(0.7 + 3 * rated * (scores - 0.8), every, 3 * rated)
        >>> found = corrected(judge, judge, human, there)
        >>> print(*(round(float(estimate(of).value), 3) for of in (judge, found)))
        0.733 0.659
    """
    counted = value.counted | human.counted
    z, own, people, there = (_over(of, counted) for of in (value, judge, human, judge_there))
    rectified, gap = z + people - there, own - there
    total = jnp.sum(counted)
    spread = jnp.where(counted, gap - jnp.sum(jnp.where(counted, gap, 0.0)) / total, 0.0)
    distrust = safe_divide(jnp.sum(spread * jnp.where(counted, rectified, 0.0)), jnp.sum(spread**2), 0.0)
    influence = rectified - jnp.clip(distrust, 0.0, 1.0) * gap
    return human._replace(influence=influence, counted=counted)


def _over(of: Rows, counted: Array) -> Float[Array, " N"]:
    """Influence over more rows than those that an estimate counts: the same mean, and the same error."""
    own = jnp.sum(of.counted)
    mean = safe_divide(jnp.sum(jnp.where(of.counted, of.influence, 0.0)), own)
    deviation = jnp.where(of.counted, of.influence - mean, 0.0)
    return mean + safe_divide(jnp.sum(counted), own) * deviation
