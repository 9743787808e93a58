"""Which rows a router learned from, as marks that can be looked up and not read back.

A mark is a salted hash of a request's id, and another one of the id with the prompt (or its features): ids that begin
anew in every file name other requests. A row without an id is marked by its prompt (or its features) and its model, and
a prompt of a table or of a shadow sample by the prompt (or its features) alone. The n marks are the bits of
a Bloom filter, of which the artefact keeps nothing else:

    bits     m = min(MOST, BITS n)            hashes   h = round(ln 2 m / n), 1 to 16
    chance   (share of the m bits that are set)^h     that a new row is taken for one of the n

The chance is 1 in 15,000 up to 6.7 million marks; above that the filter stays at 16 MB and the chance rises (4% at 20
million). The salt is drawn for every artefact, so marks of two artefacts cannot be compared, and nothing can be looked
up in tables made before. What nobody can prevent: whoever holds the artefact can test whether a prompt that he guesses
was in a log without request ids. ``--no-fingerprint`` keeps no marks.

Reference: Space/time trade-offs in hash coding with allowable errors, by Bloom, https://doi.org/10.1145/362686.362692
(1970).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxroute.data.logs.table import LogTable
from jaxroute.data.seen import Seen
from jaxroute.types import Examples, InputError, Logs, Table

BITS, MOST, HASHES = 20, 2**27, 16
OF_LOGS = ("request_id", "prompt", "features")
"""What rows of a log are marked by; the last two together with the model."""
OF_REQUESTS = {"prompt": "request_prompt", "features": "request_features"}
"""What a row with an id is marked by beside the id alone."""
OF_TABLES = {"prompt": "table_prompt", "features": "table_features"}
"""What prompts of a table or of a shadow sample are marked by."""
KINDS = {*OF_LOGS, *OF_REQUESTS.values(), *OF_TABLES.values()}


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The marks of a router's rows; see the module.

    salt: 16 bytes. bits: the filter, packed, uint8 [m / 8]. hashes: h. counts: how many rows were marked by what.

    Raises:
        InputError: no bit, or numbers that are no fingerprint's.
    """

    salt: bytes
    bits: np.ndarray
    hashes: int
    counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bits.dtype != np.uint8 or self.bits.ndim != 1 or not 1 <= len(self.bits) <= MOST // 8:
            raise InputError(
                f"fingerprint: its bits are {self.bits.dtype}{list(self.bits.shape)}; fit the router again"
            )
        if len(self.salt) != 16 or not 1 <= self.hashes <= HASHES or set(self.counts) - KINDS:
            raise InputError("fingerprint: its salt, hashes or counts are none; fit the router again")

    @property
    def chance(self) -> float:
        """That a new row is taken for one of the marked ones."""
        return float(np.unpackbits(self.bits).mean()) ** self.hashes

    def rows_of(self, log: LogTable) -> Seen:
        """Which rows of a log the router learned from, as rows of its log or as prompts of a table.

        Example:
            >>> from jaxroute.data.logs import load
            >>> log = load([{"prompt": f"{i}", "model": "ab"[i % 2], "quality": 1, "cost": 1} for i in range(9)])
            >>> of_log(log.rows(np.arange(4))).rows_of(log).rows.tolist()
            [True, True, True, True, False, False, False, False, False]
        """
        name, contents = _content(log, self._content_of(log))
        seen, known, reused = (np.zeros(len(log), bool) for _ in range(3))
        if log.request_id is not None and self.counts.get("request_id"):
            known = np.array([one is not None for one in log.request_id], bool)
            seen |= known & self._holds("request_id", map(_text, log.request_id))
            if self.counts.get(OF_REQUESTS[name]):
                reused = seen & ~self._holds(OF_REQUESTS[name], _with_ids(log.request_id, contents))
                seen &= ~reused
        if self.counts.get(name):
            seen |= ~known & self._holds(name, _with_models(contents, log.models, log.action))
            known |= True
        if self.counts.get(OF_TABLES[name]):
            seen |= self._holds(OF_TABLES[name], contents)
        unknown = 0 if not any(self.counts.get(kind) for kind in OF_LOGS) else int((~known).sum())
        by = self._by("request_id", name, OF_TABLES[name])
        return Seen(seen, unknown, by, self.chance, int((reused & ~seen).sum()), self._lacking(unknown))

    def prompts_of(self, table: Table, *, texts: bool) -> Seen:
        """Which prompts of a table the router learned from, in a table or as the prompt of any answer in its log.

        Args:
            table: N prompts.
            texts: whether the router takes their texts, or their features.
        """
        name = "prompt" if texts else "features"
        contents = list(map(_text, table.prompt)) if texts else _vectors(table.features)
        seen = np.zeros(len(table), bool)
        if self.counts.get(OF_TABLES[name]):
            seen |= self._holds(OF_TABLES[name], contents)
        if self.counts.get(name):
            for k in range(len(table.models)):
                asked = _with_models(contents, table.models, np.full(len(table), k))
                seen |= table.available[:, k] & self._holds(name, asked)
        unknown = len(table) if any(map(self.counts.get, OF_LOGS)) and not self.counts.get(name) else 0
        return Seen(seen, unknown, self._by(name, OF_TABLES[name]), self.chance, lacking=self._lacking(unknown))

    def _content_of(self, log: LogTable) -> str:
        """What a log's rows are looked up by beside their ids: what the router's were marked by, if they have it."""
        own = _content_name(log)
        marked = [name for name in OF_TABLES if {name, OF_REQUESTS[name], OF_TABLES[name]} & self.counts.keys()]
        has = {"prompt": log.prompt is not None, "features": log.features is not None}
        return next((name for name in marked if own not in marked and has[name]), own)

    def _lacking(self, unknown: int) -> tuple[str, ...]:
        words = {"request_id": "request ids", "prompt": "prompts", "features": "features"}
        return tuple(words[kind] for kind in OF_LOGS if unknown and self.counts.get(kind))

    def _holds(self, kind: str, contents: Iterable[bytes]) -> np.ndarray:
        places = _places(self.salt, kind, contents, self.hashes, 8 * len(self.bits))
        return (self.bits[places >> 3] >> (7 - places & 7) & 1).astype(bool).all(1)

    def _by(self, *kinds: str) -> tuple[str, ...]:
        said = {"table_prompt": "prompt", "table_features": "features"}
        return tuple(dict.fromkeys(said.get(kind, kind) for kind in kinds if self.counts.get(kind)))


def of_log(log: LogTable, shadow: Table | Examples | None = None, *, texts: bool = True) -> Fingerprint:
    """The marks of a log's rows, and of the prompts of a shadow sample.

    Args:
        log: N rows.
        shadow: S prompts beside it. texts: whether the router takes their texts, or their features.
    """
    name, contents = _content(log, _content_name(log))
    ids = np.full(len(log), None, object) if log.request_id is None else log.request_id
    has = np.array([one is not None for one in ids], bool)
    asked = list(_with_models(contents, log.models, log.action))
    marks = {
        "request_id": [_text(one) for one in ids[has]],
        OF_REQUESTS[name]: [one for one, known in zip(_with_ids(ids, contents), has, strict=True) if known],
        name: [asked[i] for i in np.flatnonzero(~has)],
    }
    return _made(marks | ({} if shadow is None else _of_prompts(shadow, texts)))


def of_arrays(logs: Logs, models: Sequence[str], shadow: Examples | None = None) -> Fingerprint:
    """The marks of a log of arrays, by features and model, and of a shadow sample's features."""
    rows = list(_with_models(_vectors(np.asarray(logs.features)), models, np.asarray(logs.action)))
    return _made({"features": rows} | ({} if shadow is None else _of_prompts(shadow, False)))


def of_table(table: Table, *, texts: bool) -> Fingerprint:
    """The marks of a table's prompts, by their texts or by their features."""
    return _made(_of_prompts(table, texts))


def _of_prompts(table: Table | Examples, texts: bool) -> dict[str, list[bytes]]:
    if isinstance(table, Examples):
        return {OF_TABLES["features"]: _vectors(np.asarray(table.features))}
    name = "prompt" if texts else "features"
    return {OF_TABLES[name]: list(map(_text, table.prompt)) if texts else _vectors(table.features)}


def _made(marks: Mapping[str, Sequence[bytes]]) -> Fingerprint:
    count = sum(map(len, marks.values()))
    size = max(8, min(MOST, BITS * count) // 8 * 8)
    hashes = int(np.clip(round(np.log(2) * size / max(count, 1)), 1, HASHES))
    salt, filled = os.urandom(16), np.zeros(size, bool)
    for kind, contents in marks.items():
        filled[_places(salt, kind, contents, hashes, size).ravel()] = True
    counts = {kind: len(contents) for kind, contents in marks.items() if len(contents)}
    return Fingerprint(salt, np.packbits(filled), hashes, counts)


def _places(salt: bytes, kind: str, contents: Iterable[bytes], hashes: int, size: int) -> np.ndarray:
    """The h bits [N, h] of every mark: h of the 16 numbers of 32 bits that its hash is made of, modulo m."""
    start = hashlib.blake2b(kind.encode() + b"\0", key=salt, digest_size=4 * HASHES)

    def digest(content: bytes) -> bytes:
        mark = start.copy()
        mark.update(content)
        return mark.digest()

    numbers = np.frombuffer(b"".join(map(digest, contents)), "<u4").reshape(-1, HASHES)[:, :hashes]
    return numbers.astype(np.int64) % size


def _content_name(log: LogTable) -> str:
    """What every row asked: its features where the log has them, else its prompt."""
    return "prompt" if log.features is None else "features"


def _content(log: LogTable, name: str) -> tuple[str, list[bytes]]:
    if name == "features":
        assert log.features is not None
        return name, _vectors(log.features)
    assert log.prompt is not None, "a log has prompts or features"
    return name, list(map(_text, log.prompt))


def _with_models(contents: Sequence[bytes], models: Sequence[str], action: np.ndarray) -> Iterator[bytes]:
    names = [_text(name) + b"\0" for name in models]
    return (names[k] + content for k, content in zip(action.tolist(), contents, strict=True))


def _with_ids(ids: Iterable[Any], contents: Sequence[bytes]) -> Iterator[bytes]:
    return (_text(one) + b"\0" + content for one, content in zip(ids, contents, strict=True))


def _text(value: Any) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


def _vectors(features: np.ndarray) -> list[bytes]:
    """Every row's numbers as float32, rounded so that a file of them gives the same; -0 is 0."""
    return [row.tobytes() for row in np.round(np.asarray(features, np.float32), 5) + np.float32(0)]
