"""What a router has not learned from, of a log, a table or a shadow sample; and what stands in where nothing is left.

The router's fingerprint tells which rows it learned from (`data.fingerprints`). Without one nobody can tell, which is
said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jaxroute.data.logs import LogTable
from jaxroute.data.seen import Seen, nothing
from jaxroute.estimators.accounts import PARTS
from jaxroute.serving.router import Router
from jaxroute.serving.shown import Curve, Shown
from jaxroute.types import InputError, Table

ENDS = ("", "_low", "_high")
ACCOUNTS = (
    *("quality", "cost_per_1000"),
    *(f"{part}_{of}{end}" for of in ("logging_policy", "best_single") for part in PARTS.values() for end in ENDS),
    "shares",
)
"""What ``estimators.accounts`` says of a fit, as the artefact keeps it."""
FEWEST = 50
"""Rows to judge a router on where others are left out: ten a fold, as a fit asks for."""


@dataclass(frozen=True, repr=False)
class Stored(Shown):
    """What `learn.fit` stored of a router, where the data hold nothing that it has not learned from.

    left_out: says so, first. summary: of the router. models: its names.
    """

    _curves = (Curve("value", "value of the router, as fit stored it", "low", "high"),)

    left_out: tuple[str, ...]
    summary: dict[str, Any]
    models: tuple[str, ...]

    @property
    def currency(self) -> str:
        """ "USD" where costs are known to be in US dollars, else empty."""
        return self.summary.get("currency", "")

    def conclusion(self) -> list[str]:
        """That these are no new data, and what was concluded when the router was fitted."""
        return [*self.left_out, *self.summary.get("conclusion", ())]

    def to_frame(self) -> pd.DataFrame:
        """A row per cost weight of the fit, with the columns of ``LogEvaluation.to_frame`` that were stored."""
        records = []
        for row in self.summary["by_cost_weight"]:
            gain = row["gain_interval"] or (np.nan, np.nan)
            low, high = row["interval"] or (np.nan, np.nan)
            records.append(
                {
                    **{name: row[name] for name in ("normalised_cost_weight", "cost_weight")},
                    **{"value": np.nan if row["value"] is None else row["value"]},
                    **{"low": low, "high": high},
                    **{f"gain_on_logging_policy{end}": np.nan for end in ("", "_low", "_high")},
                    **{"gain_on_best_single": np.nan if row["gain"] is None else row["gain"]},
                    **{"gain_on_best_single_low": gain[0], "gain_on_best_single_high": gain[1]},
                    **{"flips_at": np.nan, "effective_sample_size": np.nan},
                    **{name: row[name] for name in ("label", "verdict", "reasons", "shadow_share")},
                    **{name: np.nan if row[name] is None else row[name] for name in ACCOUNTS if name in row},
                    "best_single": self.models[row["best_single"]],
                }
            )
        return pd.DataFrame(records)


def seen_rows(router: Router, log: LogTable) -> Seen:
    """Which rows of a log the router learned from, as far as its fingerprint tells."""
    return nothing(len(log)) if router.fingerprint is None else router.fingerprint.rows_of(log)


def seen_prompts(router: Router, table: Table) -> Seen:
    """Which prompts of a table or of a shadow sample the router learned from, as far as its fingerprint tells."""
    if router.fingerprint is None:
        return nothing(len(table))
    return router.fingerprint.prompts_of(table, texts=router.encoder is not None)


def left(router: Router, shadow: Table | None) -> tuple[Table | None, list[str]]:
    """A shadow sample without the prompts that the router learned from, and what is said of these."""
    if shadow is None or router.fingerprint is None:
        return shadow, []
    seen = seen_prompts(router, shadow)
    said = seen.said("prompts of the shadow sample")
    if seen.rows.all():
        return None, [*said, "No prompt of the shadow sample is left as evidence."]
    return shadow.rows(np.flatnonzero(~seen.rows)) if seen.count else shadow, said


def exhausted(seen: Seen) -> bool:
    """Whether too few rows are left to judge a router on, because it learned from the others."""
    return seen.count > 0 and len(seen.rows) - seen.count < FEWEST


def stored(router: Router, seen: Seen, what: str = "rows of this log") -> Stored:
    """What `learn.fit` stored, and why it stands here.

    Raises:
        InputError: it stored nothing.
    """
    left = len(seen.rows) - seen.count
    some = "" if not left else f", and the {left} others are too few to judge it on"
    said = (
        f"No test on new data: the router learned from {seen.count:,} of the {len(seen.rows):,} {what} (known by "
        f"{' and '.join(seen.by)}){some}. This is what fit stored instead: its value out of fold, every row decided by "
        "a fit that did not use it."
    )
    if "by_cost_weight" not in router.summary:
        raise InputError(f"the router learned from {seen.count:,} of the {len(seen.rows):,} {what}: give other data")
    return Stored((said,), router.summary, router.models)
