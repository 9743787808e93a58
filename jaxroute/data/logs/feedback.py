"""Qualities that came after the answers: a file of request_id and quality beside a log.

People rate an answer when they have read it, and a judge grades at night; a gateway's log has no quality then. What
came last for a request counts, as people change their minds.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxroute.data import records, values
from jaxroute.types import InputError

EXAMPLES = 10


class Joined(NamedTuple):
    """quality: [N], the feedback where there is one, else what the log had. unknown: feedback on no row of the log."""

    quality: np.ndarray
    unknown: int


def join(path: str | os.PathLike[str], request_id: np.ndarray | None, quality: np.ndarray) -> Joined:
    """Fill in the qualities of a log's rows by their request_id.

    Args:
        path: a file or folder of the kinds of ``records.files``, columns request_id and quality.
        request_id: [N], None where a row has none; None: the log has no such column.
        quality: [N] as in the log, NaN where missing.

    Returns:
        Joined, on the scale that the files are written in.

    Raises:
        InputError: the log has no ids, a column is missing, or rows without id or number (every one of them bad:
            ten examples); names file, row and column.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "ratings.csv"
        >>> _ = file.write_text("request_id,quality\\na,0\\nz,1\\na,1\\n")
        >>> join(file, np.array(["a", "b"], object), np.array([np.nan, 0.5]))
        Joined(quality=array([1. , 0.5]), unknown=1)
    """
    if request_id is None:
        raise InputError(f"{path}: feedback is joined by request_id, which the log does not have; map the column")
    said: dict[str, float] = {}
    bad: list[str] = []
    for file in records.files(Path(path).expanduser()):
        for chunk in records.read(file):
            bad += [f"  {file}, row {row}: {why}" for row, why in chunk.broken]
            if missing := [name for name in ("request_id", "quality") if chunk.names and name not in chunk.names]:
                there = ", ".join(chunk.names)
                raise InputError(f"{file}: column {missing[0]!r} is missing; add or rename it (there are: {there})")
            cells = {}
            for name, reader in (("request_id", values.label), ("quality", values.number)):
                found = records.column(chunk, name)
                cells[name], odd = values.each(reader, found, None)
                empty = [i for i, cell in enumerate(cells[name]) if name == "request_id" and cell is None]
                for i in sorted({*odd, *empty}):
                    bad.append(f"  {file}, row {chunk.row[i]}, column {name!r}: {values.short(found[i])}")
            said |= dict(zip(cells["request_id"], cells["quality"], strict=True))
    if bad:
        head = f"feedback that cannot be read: {len(bad)} cell(s) or row(s); correct them"
        raise InputError("\n".join([head, *bad[:EXAMPLES]]))
    new = np.array([said.get(name, math.nan) for name in request_id], float)
    return Joined(np.where(np.isnan(new), quality, new), len(said.keys() - set(request_id.tolist())))
