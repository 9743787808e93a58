"""What a router costs, saves and uses at every cost weight, as columns for people, from the evidence of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from jaxroute.estimators.evidence import Evidence

OPPONENTS = ("logging policy", "best single")
PARTS = {"saved": "saved_on", "quality": "quality_gained_on"}


def accounts(found: Evidence) -> pd.DataFrame:
    """Money, quality and traffic, a row per cost weight.

    Args:
        found: of ``estimators.evidence.gather``.

    Returns:
        cost_per_1000 (of 1,000 requests, in the log's unit of cost) and quality of the router; for each opponent that
        the evidence has, saved_on_NAME (the share of its spend that the router saves) and quality_gained_on_NAME, each
        with _low and _high (95% intervals); best_single, where that is an opponent; and shares, the share of the
        requests by model. NaN where the log does not support a number.
    """
    import pandas as pd

    router = found.frontier[found.frontier["kind"] == "router"].reset_index(drop=True)
    columns: dict[str, Any] = {"quality": router["quality"], "cost_per_1000": 1000 * router["cost"]}
    for opponent in OPPONENTS if len(found.gains) else ():
        gains = found.gains[found.gains["against"] == opponent].reset_index(drop=True)
        for part, said in PARTS.items() if len(gains) else ():
            for end in ("", "_low", "_high"):
                columns[f"{said}_{opponent.replace(' ', '_')}{end}"] = gains[f"{part}{end}"]
    if found.singles:
        columns["best_single"] = list(found.singles)
    columns["shares"] = [dict(zip(found.models, row, strict=True)) for row in found.shares.tolist()]
    return pd.DataFrame(columns)
