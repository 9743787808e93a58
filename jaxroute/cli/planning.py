"""``jaxroute sample-size``: how many requests a planned comparison takes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jaxroute.cli import output
from jaxroute.cli.sheets import Sheet
from jaxroute.types import InputError

GAINS = (0.005, 0.01, 0.02, 0.05)
DRAWS, FEWEST, CELLS = 500, 50, 6_000_000
"""Simulated logs, and rows of all of them together: fewer logs than 50 are not worth a number."""


def sample_size(
    gain: Annotated[
        list[float] | None,
        typer.Option(
            help="Gain in utility to prove, in quality units; 0.01 is a point. Repeatable.  [default: 0.005, "
            "0.01, 0.02, 0.05]"
        ),
    ] = None,
    differ: Annotated[
        float, typer.Option(help="Share of the requests on which the two routers choose differently.")
    ] = 0.3,
    new: Annotated[
        float, typer.Option(help="Probability with which the log has the new router's choice where they differ.")
    ] = 0.1,
    old: Annotated[float, typer.Option(help="The same of the old router's choice.")] = 0.9,
    error: Annotated[
        float,
        typer.Option(
            help="Error of the outcome model's prediction of an answer's utility: 0.5 without a model, for "
            "ratings of yes or no."
        ),
    ] = 0.45,
    per_day: Annotated[float, typer.Option(help="Requests a day.")] = 1000.0,
    feedback: Annotated[float, typer.Option(help="Share of the requests that get a rating.")] = 1.0,
    level: Annotated[float, typer.Option(help="Confidence of the proof.")] = 0.95,
    power: Annotated[float, typer.Option(help="Probability with which a gain of this size is to be proven.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Random seed of the simulation.", min=0)] = 0,
) -> output.Result:
    """Plan a comparison: how many rated requests prove that a new router is better by so much.

    Two ways of looking are planned: once, at the end, and every day with a confidence sequence, which may end the
    comparison early and costs more rows. Both are checked by simulating the comparison.

    Examples:

      jaxroute sample-size --gain 0.02 --new 0.1 --old 0.9 --per-day 1000 --feedback 0.1

      jaxroute sample-size --differ 0.2 --new 0.5 --old 0.5
    """
    import numpy as np

    from jaxroute.cli.explored import evidence_from
    from jaxroute.estimators import planning
    from jaxroute.estimators.verdict import LARGEST_UNSUPPORTED_MASS

    least = evidence_from(min(new, old), 1) if differ > LARGEST_UNSUPPORTED_MASS else 0.0
    for option, value in (("--per-day", per_day), ("--feedback", feedback)):
        if not 0 < value < np.inf or (option == "--feedback" and value > 1):
            raise InputError(
                f"{option} is {value:g}; it must be above 0 and " + ("finite" if option == "--per-day" else "at most 1")
            )
    split = {"differ": differ, "new": new, "old": old, "error": error}
    rng, rows = np.random.default_rng(seed), []
    for size in gain or GAINS:
        deviation = planning.split_deviation(**split, gain=size)
        if not size > 0:
            raise InputError(f"--gain is {size:g}; it must be above 0")
        if size > differ:
            raise InputError(f"--gain is {size:g}: routers that differ on {differ:g} of the requests cannot gain more")
        record: dict[str, Any] = {"gain": size, "deviation": deviation}
        for looks in ("once", "always"):
            needed = max(planning.rows_needed(size, deviation, level=level, power=power, looks=looks), least)
            draws = int(min(DRAWS, CELLS / needed)) if np.isfinite(needed) else 0
            shown = (
                planning.simulated_power(rng, size, int(needed), **split, level=level, looks=looks, draws=draws)
                if draws >= FEWEST
                else None
            )
            days = needed / (per_day * feedback)
            record |= {
                f"rows_{looks}": int(needed) if np.isfinite(needed) else None,
                f"days_{looks}": days,
                f"simulated_power_{looks}": shown,
            }
        rows.append(record)
    first = rows[0]
    said = [
        f"To prove a gain of {100 * first['gain']:g} points takes {_takes(first, 'once')}, looked at once at the end; "
        f"at most {_takes(first, 'always')}, looked at every day.",
        f"One row's difference has a standard deviation of {first['deviation']:.3g}: routers that differ on "
        f"{differ:.0%} of the requests, whose choices are logged there with probabilities {new:g} and {old:g}.",
    ]
    if least:
        said.append(
            f"Before {least:,.0f} rated rows, choices with a logged probability of {min(new, old):g} are no evidence "
            "for jaxroute evaluate and compare, so that no proof takes fewer."
        )
    header = ["gain", "rows, one look", "days", "simulated power", "rows, any look", "days", "simulated power"]
    keys = [f"{what}_{looks}" for looks in ("once", "always") for what in ("rows", "days", "simulated_power")]
    lines = [[row["gain"], *(row[key] for key in keys)] for row in rows]
    record = {**split, "per_day": per_day, "feedback": feedback, "level": level, "power": power}
    record["deviation"] = first["deviation"]
    return output.Result(
        record | {"conclusion": said, "by_gain": rows},
        said,
        [Sheet("rated requests that prove a gain", header, lines)],
        rows,
    )


def _takes(row: dict[str, Any], looks: str) -> str:
    """Rows and days of one way of looking."""
    from jaxroute.estimators.planning import MOST

    count = row[f"rows_{looks}"]
    if count is None:
        return f"more than {MOST:,} rated requests"
    return f"{count:,} rated requests, {_days(row[f'days_{looks}'])}"


def _days(count: float) -> str:
    return f"{count:,.0f} days" if count >= 1.5 else "about a day" if count > 0.5 else f"{24 * count:.1f} hours"
