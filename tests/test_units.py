"""The unit of cost, by hand."""

import numpy as np
import pytest

from jaxroute.data.units import cost_scale
from jaxroute.types import Outcomes


def _outcomes(quality, cost, rows=40):
    """Every model answers ``rows`` prompts, right on the given share of them, at a constant cost."""
    right = np.arange(rows)[:, None] < np.round(np.asarray(quality) * rows)
    return Outcomes(right.astype(float), np.tile(np.asarray(cost, float), (rows, 1)))


def test_break_even_of_best_and_cheapest():
    # Best: the second (0.9 for 7). Cheapest: the first (0.4 for 1). The dearest plays no part.
    scale, reason = cost_scale(_outcomes([0.4, 0.9, 0.6], [1, 7, 50]))
    assert scale == pytest.approx((7 - 1) / (0.9 - 0.4))
    assert reason == "break-even of the best and the cheapest model"
    # At normalised weight 1 the two are equally good on average.
    assert 0.9 - 7 / scale == pytest.approx(0.4 - 1 / scale)


@pytest.mark.parametrize(
    ("quality", "cost", "scale", "words"),
    [
        ([0.9, 0.5], [1, 8], 8, "also the cheapest"),
        ([0.5, 0.525], [1, 8], 8, "two standard errors"),  # one answer in forty: lead 1/40, error 1/40
        ([0.5, 0.9], [8, 8], 8, "costs no more"),
        ([0.5, 0.9], [0, 0], 1, "no model costs anything"),
    ],
)
def test_without_a_break_even_the_dearest_model_is_the_unit(quality, cost, scale, words):
    result, reason = cost_scale(_outcomes(quality, cost))
    assert result == scale
    assert words in reason


def test_the_limit_is_two_standard_errors_of_the_paired_difference():
    # g of 40 prompts won: mean g/40, standard error sqrt(m (1 - m) / 39). 4 is at 2.08 errors, 3 at 1.78.
    for won, decided in ((3, False), (4, True)):
        m = won / 40
        assert (m > 2 * np.sqrt(m * (1 - m) / 39)) == decided
        _, reason = cost_scale(_outcomes([0.5, 0.5 + m], [1, 8]))
        assert reason.startswith("break-even") == decided


def test_holes_are_ignored_and_the_two_compared_on_common_prompts():
    outcomes = _outcomes([0.4, 0.9], [1, 7])
    available = np.ones((40, 2), bool)
    available[:10, 0] = False  # the cheap model lacks ten prompts that it would have answered rightly
    quality, cost = (np.where(available, x, np.nan) for x in outcomes)
    scale, _ = cost_scale(Outcomes(quality, cost), available)
    # On the 30 common prompts: 6 right against 26, cost 1 against 7.
    assert scale == pytest.approx(6 / (26 / 30 - 6 / 30))


def test_a_model_without_any_answer_plays_no_part():
    outcomes = _outcomes([0.4, 0.9, 0.0], [1, 7, 0])
    available = np.ones((40, 3), bool)
    available[:, 2] = False
    broken = Outcomes(*(np.where(available, x, np.nan) for x in outcomes))
    assert cost_scale(broken, available) == cost_scale(_outcomes([0.4, 0.9], [1, 7]))


def test_doubly_robust_outcomes_may_leave_their_range():
    outcomes = _outcomes([0.4, 0.9], [1, 7])
    noisy = Outcomes(outcomes.quality * 3 - 1, outcomes.cost - 2)
    scale, _ = cost_scale(noisy)
    assert scale == pytest.approx(6 / 1.5)
