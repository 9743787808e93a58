"""A table's chunks as fields of a log: of columns of our own, or of the records of a tool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.data import records, values
from jaxroute.data.logs import convert, formats
from jaxroute.data.logs.columns import Columns
from jaxroute.data.logs.entries import FAILED, FIELDS, Asked, Format, Row
from jaxroute.data.logs.feedback import ratings_alone
from jaxroute.system.wording import here, mapped
from jaxroute.types import InputError

BESIDE = {"spare_id": "response_id", "currency": "currency"}
"""What our own tables may have beside ``FIELDS``: the identifier of the answer, where request_id is the call's, and the
currency of the cost, which must be one."""


def fielded(
    table: records.Source,
    asked: Asked,
    form: str,
    needed: Sequence[Sequence[str]],
    log: Columns,
    called: dict[str, str],
    around: list[np.ndarray],
    done: int,
) -> Iterator[records.Chunk]:
    """Chunks of a table whose columns are fields; fills in ``called`` and what of ``log`` is known as it reads."""
    known = None if form == "auto" else formats.named(form)
    mapping = dict(asked.columns)

    def wanted(names: Sequence[str]) -> Iterable[str]:
        nonlocal known
        known = known or formats.format_of(names)
        if known.entries is None:
            mapping.update(chats(names, mapping))
        starts = {start for name in mapping.values() if (start := records.outermost(name, names))}
        if known.entries is None:
            starts |= {s for name in FIELDS if name not in mapping and (s := records.outermost(name, names))}
            return [name for name in names if name in starts or name in BESIDE.values()]
        return [name for name in names if name in starts or name in FIELDS or known.reads(name)]

    names: dict[str, None] = {}
    for chunk in records.read(table, wanted):
        if known is None and chunk.names:
            known = formats.format_of(chunk.names)
        names |= dict.fromkeys(chunk.names)
        if known is not None and known.entries is not None:
            fields = _exported(chunk, known, asked, log, around, done)
        else:
            mapping.update(chats(chunk.names, mapping))
            called_so = {name: mapping.get(name, name) for name in FIELDS} | BESIDE | mapping
            cells = {
                name: records.column(chunk, column)
                for name, column in called_so.items()
                if records.outermost(column, chunk.names)
            }
            fields = chunk._replace(data=cells)
        fields = fields._replace(data=_padded(fields))
        done += len(fields.row) + len(fields.broken)
        yield fields
    log.forms.append(known or formats.PLAIN)
    called |= {name: mapping.get(name, name) for name in FIELDS}
    if known is formats.PLAIN and names:
        _need(table, mapping, list(names), needed)


def chats(names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Where a table of our own columns has its prompts, if they are not called so: in its messages."""
    return {"prompt": "messages"} if "messages" in names and not {"prompt"} & {*names, *mapping} else {}


def _padded(chunk: records.Chunk) -> dict[str, list[Any]]:
    """Cells by field, with an empty one for every row that could not be read."""
    assert isinstance(chunk.data, dict)
    empty = [None] * len(chunk.broken)
    return {name: [*cells, *empty] if empty else cells for name, cells in chunk.data.items()}


def _need(
    table: records.Source, mapping: Mapping[str, str], names: Sequence[str], needed: Sequence[Sequence[str]]
) -> None:
    def there(name: str) -> bool:
        return records.outermost(mapping.get(name, name), names) is not None

    described = ("features",) if there("features") and "prompt" not in mapping else ("prompt",)
    lacking = [
        several for several in (described, *needed, *((name,) for name in mapping)) if not any(map(there, several))
    ]
    if not lacking:
        return
    if ratings_alone(names):
        how = here("feedback=", "--feedback")
        raise InputError(f"{table}: holds ratings of answers and no requests; give it with {how}")
    if (known := formats.unusable(names)) is not None:
        raise InputError(f"{table}: {known}")
    fields = list(dict.fromkeys(several[0] for several in lacking))
    missing = [repr(mapping.get(name, name)) for name in fields]
    which = f"column {missing[0]} is missing" if len(missing) == 1 else f"columns {', '.join(missing)} are missing"
    alike = {str(name).strip().casefold(): str(name) for name in names}
    unmapped = {name: alike.get(name, "NAME") for name in fields if name not in mapping}
    mend = mapped(unmapped) if unmapped else ""
    mend = f"add or rename {'it' if len(missing) == 1 else 'them'}" + (f", or name another one: {mend}" if mend else "")
    if len(names) == 1 and (between := next((mark for mark in (";", "\t", "|") if mark in str(names[0])), "")):
        mend = f"its columns are separated by {between!r}: save the file with commas"
    more = f"; with token counts, give a price table ({here('prices=', '--prices')})" if "cost" in fields else ""
    if "quality" in fields:
        more += f"; ratings that came later: {here('feedback=FILE', '--feedback FILE')}"
    raise InputError(f"{table}: {which}; {mend}{more} (there are: {', '.join(map(str, names))})")


def _exported(
    chunk: records.Chunk, form: Format, asked: Asked, log: Columns, around: list[np.ndarray], done: int
) -> records.Chunk:
    """A chunk of a tool's records, as fields; what is no request is counted, what belongs to one is kept for it."""
    if isinstance(chunk.data, dict):
        columns = chunk.data
        data: Iterable[Row] = (
            {name: cells[i] for name, cells in columns.items() if cells[i] is not None} for i in range(len(chunk.row))
        )
    else:
        data = chunk.data
    assert form.entries is not None
    row: list[int] = []
    found: list[Row] = []
    edges: list[tuple[int, int, int]] = []
    for place, record in zip(chunk.row, data, strict=True):
        for entry in form.entries(record, asked):
            fields = entry.fields
            if entry.said is not None:
                log.said.setdefault(entry.key, []).extend(entry.said)
            elif entry.judged is not None:
                log.judged.append(entry.judged)
            elif entry.left and entry.left != FAILED:
                model = fields.get("model") or fields.get("answered") or fields.get("asked") or ""
                log.left[entry.left, str(model), str(fields.get("endpoint") or "")] += 1
                group = _hashed(fields.get("group"))
                if entry.parent or group:
                    edges.append((entry.key, entry.parent, group))
            else:
                for name, value in fields.pop("scores", ()):
                    log.scores.setdefault(name, {})[done + len(found)] = value
                fields["key"], fields["parent"] = entry.key, entry.parent
                row.append(place)
                found.append(fields)
    for note in (note for note, name in form.notes.items() if name not in asked.columns):
        log.counts[note] += len(found)
    if edges:
        around.append(np.array(edges, np.int64))
    present = {name for fields in found for name, value in fields.items() if value is not None} | {"prompt"}
    if not any(name in present for name in convert.NAMED[:3]):
        present.add("model")
    present -= {"key"} if not any(fields["key"] for fields in found) else set()
    if "key" not in present:
        present -= {"parent"}
    return records.Chunk(
        row, {name: [fields.get(name) for fields in found] for name in present}, chunk.names, chunk.broken
    )


def _hashed(group: Any) -> int:
    """The hash of a group's name as its column has it, see ``convert``; 0 where there is none."""
    try:
        name = values.identity(group)
    except ValueError:
        return 0
    return 0 if name is None else hash(name)
