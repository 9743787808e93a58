"""All rows of a log as columns: what ``cells.gather`` reads, and every later step changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxroute.data.logs.entries import NUMBERS, Format, Judgement, Row


@dataclass
class Columns:
    """All rows [N] of a log, failed requests among them; a column that no table has is absent.

    source, row: where each is. names: what a table calls its fields. column: arrays by field; codes are -1 and ids of
    spans 0 where there is none. codes: what they mean, by field; the models' under "model", candidate sets under
    "available". odd: bad rows by (field, what is wrong). broken: rows that could not be read, and why. raw: some of
    the bad cells. left: how many records were no answered request, by (reason, model, endpoint). counts: of other
    things. scores: {evaluation: {row: value}}. judged, said: what was recorded apart from its request. around: key
    and parent of spans that are no request, and the hash of their group's name (0: none). gone: rows that are not to
    be used. forms: format by table. chats: whether prompts are parts of chats. into: {row that is gone:
    the one of the same request that it was merged into}.
    """

    source: np.ndarray
    row: np.ndarray
    names: list[dict[str, str]]
    column: dict[str, np.ndarray]
    codes: dict[str, list[Any]]
    odd: dict[tuple[str, str], np.ndarray]
    broken: dict[int, str]
    raw: dict[tuple[str, int], str]
    left: Counter[tuple[str, str, str]]
    counts: Counter[str]
    scores: dict[str, dict[int, Any]]
    judged: list[Judgement]
    said: dict[int, list[Row]]
    around: np.ndarray
    forms: list[Format]
    chats: bool = False
    into: dict[int, int] = field(default_factory=dict)
    gone: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.row)

    def number(self, name: str) -> np.ndarray:
        """A column of numbers [N], NaN where the log has none."""
        return self.column[name] if name in self.column else np.full(len(self), np.nan)

    def code(self, name: str) -> np.ndarray:
        """A column of codes [N], -1 where the log has none."""
        return self.column[name] if name in self.column else np.full(len(self), -1, np.int64)

    def flag(self, name: str) -> np.ndarray:
        """A column of truth values [N]."""
        return self.column[name] if name in self.column else np.zeros(len(self), bool)

    def shown(self, name: str, i: int) -> str:
        """What a bad cell holds, after a colon, for a message; nothing where it is empty or not worth showing.

        Of an empty cost it is the model, which may lack a price.
        """
        if (name, i) in self.raw:
            return ": " + self.raw[name, i]
        if name in NUMBERS and not np.isnan(value := self.number(name)[i]):
            return f": {value:g}"
        model = self.code("model")[i]
        if name not in ("model", "available", "cost") or model < 0:
            return ""
        return f"{', model' if name == 'cost' else ':'} {self.codes['model'][model]!r}"


def marked(rows: Iterable[int], count: int) -> np.ndarray:
    """bool [count], True at the rows."""
    found = np.zeros(count, bool)
    found[list(rows)] = True
    return found
