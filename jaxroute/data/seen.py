"""Which rows or prompts a router learned from, as its fingerprint tells, and what a person has to know of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seen:
    """Which of N rows or prompts a router learned from.

    rows: [N]. unknown: how many cannot be looked up, because they lack that by which the router's rows are known.
    lacking: what that is, such as "request ids"; empty where no row is unknown.
    reused: how many have the id of a row that was learned from and another prompt, and so count as new.
    by: what was looked up. chance: that a new row is taken for one that was learned from; NaN without a fingerprint.
    """

    rows: np.ndarray
    unknown: int = 0
    by: tuple[str, ...] = ()
    chance: float = float("nan")
    reused: int = 0
    lacking: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many were learned from."""
        return int(self.rows.sum())

    def said(self, what: str = "rows") -> list[str]:
        """What a person has to know: how many were left out, and of how many nobody can tell.

        Example:
            >>> Seen(np.array([True, False, False]), by=("request_id",), chance=1 / 15000).said()
            ['Left out: 1 of 3 rows, which the router learned from (known by request_id; a new one is taken for one of
             them by chance once in 15,000).']
        """
        lines = []
        if self.count:
            lines.append(
                f"Left out: {self.count:,} of {len(self.rows):,} {what}, which the router learned from (known by "
                f"{' and '.join(self.by)}{_once_in(self.chance)})."
            )
        if self.reused and not _by_chance(self.reused, len(self.rows) * self.chance):
            have = f"{what} have" if self.reused > 1 else f"{what.removesuffix('s')} has"
            lines.append(
                f"{self.reused:,} {have} the request id of a row that the router learned from, and another "
                f"prompt{_once_in(self.chance)}. They count as new: ids that begin anew in every file do that. If the "
                "prompts were only cut or written differently, the values below are too good; give a log with the "
                "prompts of the first one."
            )
        if np.isnan(self.chance):
            lines.append(
                f"No fingerprint was kept of what the router learned from: make sure that it has not seen these {what}."
            )
        elif self.unknown:
            lines.append(
                f"Of {self.unknown:,} {what} nobody can tell whether the router learned from them: what it learned "
                f"from is known by its {' and '.join(self.lacking)}, which they do not have. Make sure that it has not "
                "seen them."
            )
        return lines


def _by_chance(count: int, expected: float) -> bool:
    """Whether as many are no surprise where so many are expected by chance: more than 1 in 100, by Poisson's law.

    >>> _by_chance(1, 0.3), _by_chance(3, 0.3), _by_chance(1, 0.001), _by_chance(1, float("nan"))
    (True, False, False, False)
    """
    if not expected > 0:
        return False
    fewer = sum(math.exp(k * math.log(expected) - expected - math.lgamma(k + 1)) for k in range(min(count, 1000)))
    return 1 - fewer > 0.01


def nothing(count: int) -> Seen:
    """What is said of rows where the router keeps no fingerprint."""
    return Seen(np.zeros(count, bool))


def either(first: Seen, second: Seen) -> Seen:
    """The rows that one of two routers learned from, or both."""
    unknown, by = max(first.unknown, second.unknown), tuple(dict.fromkeys(first.by + second.by))
    rows, chance = first.rows | second.rows, first.chance + second.chance
    reused = min(max(first.reused, second.reused), int((~rows).sum()))
    return Seen(rows, unknown, by, chance, reused, tuple(dict.fromkeys(first.lacking + second.lacking)))


def _once_in(chance: float) -> str:
    if not chance > 0:
        return ""
    return f"; a new one is taken for one of them by chance once in {float(f'{1 / chance:.2g}'):,.0f}"
