"""Tables in memory, read like files: pandas, pyarrow, ``datasets``, or a list of dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxroute.types import InputError

Block = tuple[dict[str, list[Any]], int]
"""Cells by column (None where empty) and the number of rows."""


class Held(NamedTuple):
    """A table in memory. label: its name in messages. blocks: (columns, rows per block) -> blocks of rows."""

    label: str
    names: Sequence[str]
    blocks: Callable[[Sequence[str], int], Iterator[Block]]

    def __str__(self) -> str:
        return self.label


def hold(table: Any) -> Held:
    """A table in memory, ready to be read in blocks.

    Args:
        table: a pandas data frame, a pyarrow table, a data frame that speaks Arrow's stream interface (as those of
            polars), a ``datasets.Dataset``, a list of dictionaries, or a dictionary of columns (as of the Open Bandit
            Pipeline: numbers beside them hold for every row).

    Raises:
        InputError: it is of another type, or a column has another length than the first one.

    Example:
        >>> held = hold([{"prompt": "hi", "model": "small"}, {"prompt": "ho"}])
        >>> str(held), list(held.blocks(held.names, 10))
        ('the list', [({'prompt': ['hi', 'ho'], 'model': ['small', None]}, 2)])
    """
    kind = f"{type(table).__module__.split('.')[0]}.{type(table).__name__}"
    if kind == "pandas.DataFrame":
        frame = indexed(table)
        return Held("the data frame", [str(name) for name in frame.columns], lambda *how: _of_frame(frame, *how))
    if kind == "pyarrow.Table":
        return Held("the pyarrow table", table.column_names, lambda *how: _of_arrow(table.to_batches, *how))
    if kind == "datasets.Dataset":
        arrow = table.with_format("arrow")
        return Held("the data set", table.column_names, lambda picked, rows: _of_arrow(arrow.iter, picked, rows))
    if kind in ("datasets.DatasetDict", "datasets.IterableDataset", "datasets.IterableDatasetDict"):
        raise InputError(f"a {kind} is not a table of rows; pass one of its splits as a datasets.Dataset")
    if isinstance(table, Mapping):
        return _of_columns(table)
    if hasattr(table, "__arrow_c_stream__") or kind == "pyarrow.RecordBatch":  # polars and others
        import pyarrow as pa  # type: ignore[import-untyped]

        found = pa.table(table)
        return Held(f"the {kind}", found.column_names, lambda *how: _of_arrow(found.to_batches, *how))
    if isinstance(table, Sequence) and not isinstance(table, str | bytes) and not hasattr(table, "_fields"):
        if odd := [i for i, record in enumerate(table) if not isinstance(record, Mapping)]:
            raise InputError(
                f"the list, row {odd[0]}: is a {type(table[odd[0]]).__name__}; every row must be a dictionary"
            )
        names = list(dict.fromkeys(str(name) for record in table for name in record))
        return Held("the list", names, lambda *how: _of_list(table, *how))
    raise InputError(
        f"cannot read a log from a {kind}; give a path, a pandas, polars or pyarrow table, a datasets.Dataset, a "
        "list of dictionaries or a dictionary of columns"
    )


def indexed(frame: Any) -> Any:
    """A pandas data frame whose index is columns as well, where it has names: Parquet files hold it so.

    Example:
        >>> import pandas as pd
        >>> indexed(pd.DataFrame({"cost": [0.5]}, pd.Index([7], name="group"))).to_dict("list")
        {'group': [7], 'cost': [0.5]}
    """
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    return frame.reset_index(level=named) if named else frame


def _of_columns(table: Mapping[str, Any]) -> Held:
    """A dictionary of columns of one length; one that says its n_rounds may hold other arrays, which are left out."""
    columns = {str(name): column for name, column in table.items() if hasattr(column, "__len__")}
    columns = {name: column for name, column in columns.items() if not isinstance(column, str | bytes | Mapping)}
    if not columns:
        raise InputError("a dictionary without columns; give one list or array a column")
    bandit = isinstance(table.get("n_rounds"), int)
    first = next(iter(columns))
    count = table["n_rounds"] if bandit else len(columns[first])
    if odd := [name for name, column in columns.items() if not bandit and len(column) != count]:
        raise InputError(
            f"the dictionary: column {odd[0]!r} has {len(columns[odd[0]])} rows and {first!r} has {count}; give every "
            "column one value a row"
        )
    columns = {name: column for name, column in columns.items() if len(column) == count}
    same = {str(name): value for name, value in table.items() if isinstance(value, int | float | str)}

    def blocks(picked: Sequence[str], rows: int) -> Iterator[Block]:
        for start in range(0, count, rows):
            parts = ((name, columns[name][start : start + rows]) for name in picked if name in columns)
            part = {name: said(cells(part) if hasattr(part, "to_pylist") else list(part)) for name, part in parts}
            size = min(rows, count - start)
            yield {name: part.get(name, [same.get(name)] * size) for name in picked}, size

    return Held("the dictionary", [*columns, *same], blocks)


def cells(column: Any) -> list[Any]:
    """A pyarrow column as Python values; vectors become arrays and maps become dictionaries.

    Example:
        >>> import pyarrow as pa
        >>> cells(pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())))
        [{'a': 1}, None]
    """
    import pyarrow as pa

    kind = column.type
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_floating(kind.value_type):
        return list(column.to_numpy(zero_copy_only=False))
    values = said(column.to_pylist()) if pa.types.is_duration(kind) else column.to_pylist()
    return [_plain(value, kind) for value in values] if _has_map(kind) else values


def said(column: list[Any]) -> list[Any]:
    """Cells of which those that pandas or NumPy mark as missing are None, times are datetimes and spans are seconds.

    Example:
        >>> import numpy as np
        >>> said([np.datetime64("2026-01-01"), np.datetime64("NaT"), np.timedelta64(1500, "ms")])
        [datetime.datetime(2026, 1, 1, 0, 0), None, 1.5]
    """
    odd = {kind for kind in set(map(type, column)) if kind.__name__ in READERS}
    return [READERS[type(cell).__name__](cell) if type(cell) in odd else cell for cell in column] if odd else column


READERS: dict[str, Callable[[Any], Any]] = {
    "NAType": lambda cell: None,
    "NaTType": lambda cell: None,
    "datetime64": lambda cell: cell.astype("datetime64[us]").item(),
    "timedelta64": lambda cell: None if cell != cell else cell.astype("timedelta64[us]").item().total_seconds(),
    "timedelta": lambda cell: cell.total_seconds(),
    "Timedelta": lambda cell: cell.total_seconds(),
}
"""What a cell of a type says, by the type's name, so that neither pandas nor NumPy need be there."""


def _has_map(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_map(kind) or any(_has_map(kind.field(i).type) for i in range(kind.num_fields))


def _plain(value: Any, kind: Any) -> Any:
    """The value with its maps, at any depth, turned into dictionaries."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: _plain(inner, kind.item_type) for key, inner in value}
    if pa.types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_plain(inner, kind.value_type) for inner in value]
    return value


def _of_arrow(batches: Callable[[int], Any], picked: Sequence[str], rows: int) -> Iterator[Block]:
    for batch in batches(rows):
        found = {}
        for name in picked:
            column = batch.column(batch.schema.get_field_index(name))
            chunks = column.chunks if hasattr(column, "chunks") else [column]
            found[name] = [cell for chunk in chunks for cell in cells(chunk)]
        yield found, batch.num_rows


def _of_frame(table: Any, picked: Sequence[str], rows: int) -> Iterator[Block]:
    frame = table.set_axis([str(name) for name in table.columns], axis=1)
    for start in range(0, len(frame), rows):
        part = frame.iloc[start : start + rows]
        found = {}
        for name in picked:
            column, missing = part[name].tolist(), part[name].isna().tolist()
            found[name] = said([None if gone else cell for cell, gone in zip(column, missing, strict=True)])
        yield found, len(part)


def _of_list(table: Sequence[Mapping[str, Any]], picked: Sequence[str], rows: int) -> Iterator[Block]:
    for start in range(0, len(table), rows):
        part = table[start : start + rows]
        yield {name: said([record.get(name) for record in part]) for name in picked}, len(part)
