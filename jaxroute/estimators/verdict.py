"""From the numbers of a support report to ok, caution or refuse, and to what would fix it. Host side.

Effective sample size is judged as a number of rows, not as a share of the log: a greedy target under
uniform logging over K models has a share of about 1/K, and a fixed threshold on the share would refuse
every pool of ten models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

ENOUGH_EFFECTIVE_ROWS = 200
"""Effective sample size from which the verdict may be ok; the standard error is then about std(reward) / 14."""
FEWEST_EFFECTIVE_ROWS = 50
"""Effective sample size below which the verdict is refuse, because the interval itself is unreliable."""
ENOUGH_EFFECTIVE_RATINGS, FEWEST_EFFECTIVE_RATINGS = 50, 20
"""The same for people's ratings that correct a judge's scores."""
LARGEST_WEIGHT_SHARE = 0.05
"""Share of the weights' sum that one row may carry for an ok."""
TOLERATED_UNSUPPORTED_MASS = 0.01
"""Share of the target's choices on unsupported models up to which the verdict may be ok."""
LARGEST_UNSUPPORTED_MASS = 0.05
"""Share of the target's choices on unsupported models above which the verdict is refuse."""
FEWEST_ROWS_PER_MODEL = 30
"""Rows with feedback below which a model is unsupported everywhere."""
MISMATCH_ERRORS = 4.0
"""Number of standard errors between propensities and a model's share of the log from which they do not match."""
MISMATCH_RATIO = 0.1
"""Relative gap that must be exceeded too, because in a large log even rounding is significant."""


def rows_needed(feedback: float, effective: float, mass: float) -> int:
    """Rows with feedback that a model needs for its part of the target.

        max(30, 200 mass * feedback / effective)

    If every model k has effective rows E_k >= 200 m_k, the whole has 1 / sum_k (m_k^2 / E_k) >= 200. Further rows are
    assumed to be as useful as those in the log (effective / feedback each), or worth one row each if there are none.

    Args:
        feedback: the model's rows with feedback.
        effective: effective sample size of the target's weights over these rows.
        mass: share of the prompts that the target sends to the model.

    Returns:
        Total number of rows, including those in the log; 0 for a mass of at most 1%, which the verdict tolerates.

    Example:
        >>> rows_needed(12, 6.0, 0.31)
        124
    """
    if mass <= TOLERATED_UNSUPPORTED_MASS:
        return 0
    each = effective / feedback if effective > 0 else 1.0
    # A millionth of slack: float32 weights must not add a row.
    return max(FEWEST_ROWS_PER_MODEL, math.ceil(ENOUGH_EFFECTIVE_ROWS * mass / each * (1 - 1e-6)))


def fix_of_model(name: str, feedback: float, needed: int, mass: float) -> str:
    """What would fix one model's evidence; "" where nothing is missing.

    >>> print(fix_of_model("X", 12, 124, 0.31))
    model X has 12 rows with feedback and would get 31% of the prompts; log at least 112 more, or leave it out
    """
    if needed <= feedback:
        return ""
    return (
        f"model {name} has {feedback:.0f} rows with feedback and would get {mass:.0%} of the prompts; "
        f"log at least {needed - feedback:.0f} more, or leave it out"
    )


def verdict_of_model(feedback: float, needed: int, unsupported_mass: float) -> str:
    """Verdict on one model: refuse if the target needs it and the log has almost no rows of it.

    >>> verdict_of_model(12, 124, 0.31), verdict_of_model(90, 124, 0.0), verdict_of_model(12, 0, 0.001)
    ('refuse', 'caution', 'ok')
    """
    if (needed and feedback < FEWEST_ROWS_PER_MODEL) or not unsupported_mass <= LARGEST_UNSUPPORTED_MASS:
        return "refuse"
    return "caution" if needed > feedback or unsupported_mass > TOLERATED_UNSUPPORTED_MASS else "ok"


def judge(
    numbers: dict[str, float], models: Sequence[dict[str, Any]], mismatches: Sequence[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Verdict and reasons from the log's numbers and those of one target policy (or of the hardest).

    Args:
        numbers: of the log and the target, as in ``Support.numbers``.
        models: one record per model, as in ``Support.models``.
        mismatches: lines about propensities that do not match the shares; any such line rules out an ok.

    Returns:
        "ok", "caution" or "refuse", and one line per reason.
    """
    # Written so that a NaN fails every test.
    effective, mass = numbers["effective_sample_size"], numbers["unsupported_mass"]
    enough = effective >= ENOUGH_EFFECTIVE_ROWS
    spread = numbers["largest_weight_share"] <= LARGEST_WEIGHT_SHARE
    supported = mass <= TOLERATED_UNSUPPORTED_MASS
    ratings = numbers.get("effective_ratings", math.inf)
    corrected = ratings >= ENOUGH_EFFECTIVE_RATINGS
    refused = not (
        effective >= FEWEST_EFFECTIVE_ROWS and mass <= LARGEST_UNSUPPORTED_MASS and ratings >= FEWEST_EFFECTIVE_RATINGS
    )
    if enough and spread and supported and corrected and not mismatches:
        line = f"effective sample size {effective:.0f} of {numbers['rows_with_feedback']:.0f} rows with feedback"
        return "ok", (f"{line}; {mass:.1%} of the policy's choices are of models that the log rarely tried",)

    reasons = []
    if not enough:
        reasons.append(_too_few(numbers))
    if not spread and math.isfinite(numbers["largest_weight_share"]):
        reasons.append(
            f"one row carries {numbers['largest_weight_share']:.1%} of the weights "
            f"(limit {LARGEST_WEIGHT_SHARE:.0%}); log more rows, or explore with larger probabilities"
        )
    if not supported:
        worst = max(models, key=lambda row: row["unsupported_mass"])
        reasons.append(
            f"{mass:.1%} of the policy's choices are models that the log rarely tried on such prompts "
            f"(limit {TOLERATED_UNSUPPORTED_MASS:.0%}), most of them model {worst['model']} "
            f"({worst['rows_with_feedback']:.0f} rows with feedback); send at least {numbers['clip']:.1%} of the "
            "requests to it at random, or remove it from the candidates"
        )
    if not (enough and supported):
        reasons += [row["fix"] for row in models if row["fix"]]
    if not corrected:
        reasons.append(
            f"people's ratings that correct the judge count as {_whole(ratings)} for this policy (limit "
            f"{ENOUGH_EFFECTIVE_RATINGS}); have people rate more answers of the models that it chooses"
        )
    if numbers["deterministic_share"] > 0.5:
        reasons.append(
            f"{numbers['deterministic_share']:.0%} of the choices were deterministic; for these the log supports "
            "nothing but the outcome model's guess; randomise a share of the requests"
        )
    return "refuse" if refused else "caution", (*reasons, *mismatches)


def _whole(size: float) -> str:
    """A size in whole rows, rounded down; one that is not a number is named so."""
    return str(math.floor(size)) if math.isfinite(size) else "that is not known"


def _too_few(numbers: dict[str, float]) -> str:
    """How far the effective sample size is from enough, and how much more of what would do."""
    effective, rows = numbers["effective_sample_size"], numbers["rows_with_feedback"]
    grouped = numbers["groups"] < numbers["rows"]
    if grouped:
        of = f"rows of one group count together, and the log has {numbers['groups']:.0f} groups"
    else:
        share, uniform = numbers["effective_sample_size_share"], numbers["uniform_greedy_share"]
        of = f"{share:.1%} of the {rows:.0f} rows with feedback; models drawn uniformly would give {uniform:.1%}"
    # Rounded away from the limit: a size of 199.7 is not said to be 200 and below 200.
    ratio = math.ceil(10 * ENOUGH_EFFECTIVE_ROWS / effective) / 10 if effective > 0 else math.inf
    times = f"about {ratio:g} times as many" if math.isfinite(ratio) else "more"
    return (
        f"the effective sample size {_whole(effective)} is below {ENOUGH_EFFECTIVE_ROWS} ({of}); "
        f"log {times} {'groups' if grouped else 'rows with feedback'}, or evaluate a policy that is closer to the "
        "logging policy"
    )


def mismatch_of_model(name: str, ratio: float, standard_error: float) -> str:
    """Do the logged propensities of one model match how often it was chosen? "" if they do.

    ratio = mean of 1{chosen} / propensity over the rows where the model was available: 1 if they match.

    >>> print(mismatch_of_model("X", 1.5, 0.05))
    model X was chosen 1.50 times as often as its propensities say (standard error 0.05); check the logger
    >>> print(mismatch_of_model("X", 1.05, 0.001), mismatch_of_model("X", 1.5, 0.2))
    <BLANKLINE>
    """
    gap = abs(ratio - 1)
    if not (gap > MISMATCH_RATIO and gap > MISMATCH_ERRORS * standard_error):
        return ""
    doubt = "check the logger" + ("" if ratio > 1 else "; or the model could not be chosen on some prompts")
    return (
        f"model {name} was chosen {ratio:.2f} times as often as its propensities say "
        f"(standard error {standard_error:.2f}); {doubt}"
    )
