"""What a log says of a router, in one or two sentences that a person can act on. Host side.

The router is held against always using one model: at each cost weight the best single model of the log. It was picked
on the rows that value it, and so looks better than it is; the upper ends of gains over it allow for that (`by_weight`).
Several cost weights are looked at, so an interval here covers all of them together (Bonferroni); the tables beside it
have the 95% intervals of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jaxroute.estimators.intervals import wider
from jaxroute.system.printing import money

if TYPE_CHECKING:
    from jaxroute.estimators.evidence import Evidence

PARTS = ("cost", "cost_other", "quality", "quality_low", "quality_high", "saved", "saved_low", "saved_high")
"""Columns of ``estimators.spending``."""


def of_evidence(found: Evidence, cost_scale: float, unit: float = 1.0) -> list[str]:
    """``of_log`` of all that a log says of a router; nothing, if the opponent "best single" is missing.

    Args:
        found: all that a log says of a router.
        cost_scale: what its cost weights are multiplied by to be normalised ones.
        unit: what its costs are multiplied by to be sums of money.
    """
    if not found.singles:
        return []
    gains = found.gains[found.gains["against"] == "best single"].reset_index(drop=True)
    weight = (gains["cost_weight"] * cost_scale).round(6)
    spent = {name: unit * gains[name] for name in ("cost", "cost_other")}
    frame = gains.assign(normalised_cost_weight=weight, reasons=found.values["reasons"], **spent)
    return of_log(frame, found.singles, found.rows, found.currency)


def of_log(found: pd.DataFrame, singles: Sequence[str], rows: int, currency: str = "") -> list[str]:
    """One to three sentences: the conclusion, its reason in quality and money, and what would change it.

    Args:
        found: a row per cost weight: normalised_cost_weight, gain, low, high (95% interval of the gain on the best
            single model, NaN where the log does not support one), reasons, and the columns of
            ``estimators.spending``.
        singles: the best single model at each of these.
        rows: of the log.
        currency: "USD" where costs are in US dollars; "" where their unit is not known.

    Returns:
        Sentences.

    Example:
        >>> frame = pd.DataFrame({"normalised_cost_weight": [0.5], "gain": [0.03], "low": [0.02], "high": [0.04],
        ...     "reasons": [[]], "quality": [0.001], "quality_low": [-0.01], "quality_high": [0.012], "saved": [0.31],
        ...     "saved_low": [0.22], "saved_high": [0.4], "cost": [0.0069], "cost_other": [0.01]})
        >>> for sentence in of_log(frame, ["large"], 2000, "USD"):
        ...     print(sentence)
        At a normalised cost weight of 0.5 the router is better than always using large: it saves 31% of the spend
        (22 to 40; $6.90 instead of $10.00 per 1,000 requests) at no measurable loss of quality (+0.1 points, -1.0 to
        +1.2).
    """
    named = found.assign(single=list(singles))
    known = named[np.isfinite(named["low"])]
    if known.empty:
        why = [f"The reason: {reasons[0]}." for reasons in named["reasons"] if len(reasons)]
        return [
            f"The log cannot say whether the router is better than always using {_listed(named)}.",
            *why[:1],
            "Log some requests whose model is drawn at random, or have all models answer a sample: jaxroute shadow LOG "
            "--ask all.",
        ]
    low, high = _together(known)
    best, worst = known.loc[low.idxmax()], known.loc[high.idxmin()]
    if low.max() > 0:
        return [
            f"At a normalised cost weight of {best['normalised_cost_weight']:g} "
            + _better(best, "the router", f"always using {best['single']}", currency)
        ]
    if high.min() < 0:
        return [
            f"At a normalised cost weight of {worst['normalised_cost_weight']:g} the router is worse than always using "
            f"{worst['single']}, and at none it is measurably better: take that model."
        ]
    supported = ", ".join(f"{weight:g}" for weight in known["normalised_cost_weight"])
    where = "" if len(known) == len(found) else f" at the normalised cost weights that the log supports ({supported})"
    said = [
        f"There is no evidence that the router is better than always using {_listed(known)}{where}: take that model."
    ]
    lead = known.loc[known["gain"].idxmax()]
    if lead["gain"] > 0:
        needed = rows * ((lead["gain"] - low[lead.name]) / lead["gain"]) ** 2
        said.append(
            f"If its gain is the estimated {100 * lead['gain']:.1f} points at a normalised cost weight of "
            f"{lead['normalised_cost_weight']:g}, a log of some {_rounded(needed)} rows like this one's {rows:,} would "
            "show it."
        )
    return said


def of_two(found: pd.DataFrame, first: str, second: str, currency: str = "") -> list[str]:
    """Which of two routers is better, and where.

    Args:
        found: as in ``of_log``, the gain being that of the first router on the second.
        first, second: their names. currency: see ``of_log``.

    Returns:
        Sentences.

    Example:
        >>> frame = pd.DataFrame({"normalised_cost_weight": [0.5], "gain": [0.01], "low": [-0.02], "high": [0.04]})
        >>> of_two(frame, "new", "old")
        ['There is no evidence that new or old is the better router.']
    """
    known = found[np.isfinite(found["low"])]
    if known.empty:
        return [f"The log cannot say whether {first} or {second} is the better router."]
    if not known[["gain", "low", "high"]].to_numpy().any():
        return [f"{first} and {second} decide alike on the rows that the log can judge."]
    low, high = _together(known)
    best, worst = known.loc[low.idxmax()], known.loc[high.idxmin()]
    said = []
    if low.max() > 0:
        where = f"At a normalised cost weight of {best['normalised_cost_weight']:g}"
        said.append(f"{where} {_better(best, first, second, currency)}")
    if high.min() < 0:
        turned = -worst["gain"]
        said.append(
            f"At a normalised cost weight of {worst['normalised_cost_weight']:g} {first} is worse than {second}, by "
            f"{100 * turned:.1f} points of utility."
        )
    return said or [f"There is no evidence that {first} or {second} is the better router{_by_chance(known)}."]


def _by_chance(known: pd.DataFrame) -> str:
    """What to say of cost weights whose own interval excludes 0, where no interval of all together does."""
    alone = known[(known["low"] > 0) | (known["high"] < 0)]
    if alone.empty:
        return ""
    weights = ", ".join(f"{weight:g}" for weight in alone["normalised_cost_weight"])
    where = f"the normalised cost weight{'s' if len(alone) > 1 else ''} {weights}"
    return f": an interval that excludes 0, as at {where}, may be chance where {len(known)} are looked at"


def _together(known: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Ends of intervals that hold at all cost weights together."""
    gain, looks = known["gain"], wider(len(known))
    return gain - looks * (gain - known["low"]), gain + looks * (known["high"] - gain)


def _better(row: pd.Series[Any], first: str, second: str, currency: str) -> str:
    ours, other = (money(1000 * row[name], currency) for name in ("cost", "cost_other"))
    spent = f"{ours} instead of {other} per 1,000 requests"
    low, high = 100 * row["saved_low"], 100 * row["saved_high"]
    if not math.isfinite(row["saved"]):
        spend = ""
    elif low > 0:
        spend = f"it saves {100 * row['saved']:.0f}% of the spend ({low:.0f} to {high:.0f}; {spent})"
    elif high < 0:
        spend = f"it spends {-100 * row['saved']:.0f}% more ({-high:.0f} to {-low:.0f}; {spent})"
    else:
        spend = f"it costs about the same ({spent})"
    points = f"{100 * row['quality']:+.1f} points, {100 * row['quality_low']:+.1f} to {100 * row['quality_high']:+.1f}"
    if not math.isfinite(row["quality"]):
        quality = f"by {100 * row['gain']:.1f} points of utility"
    elif row["quality_low"] > 0:
        quality = f"its answers are better ({points})"
    elif row["quality_high"] < 0:
        quality = f"its answers are worse ({points}), by less than the saving is worth"
    else:
        quality = f"no measurable loss of quality ({points})"
    joined = (
        f"{spend} at {quality}" if quality.startswith("no ") and spend else " and ".join(filter(None, (spend, quality)))
    )
    return f"{first} is better than {second}: {joined}."


def _listed(found: pd.DataFrame) -> str:
    """The single models, each with the cost weights at which it is the best one."""
    names = list(dict.fromkeys(found["single"]))
    if len(names) == 1:
        return names[0]
    from_ = [f"{name} (from {found.loc[found['single'] == name, 'normalised_cost_weight'].min():g})" for name in names]
    return f"the best single model, which is {', '.join(from_)}"


def _rounded(count: float) -> str:
    """Two figures: a number that rests on an estimate."""
    digits = max(0, math.floor(math.log10(max(count, 1))) - 1)
    return f"{round(count / 10**digits) * 10**digits:,}"
