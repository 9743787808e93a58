"""Columns beside the text: tenant, tier, language, length, use of tools. As features, the same at fit and at serving.

    number      (value - mean) / deviation, and 1 where it is unknown (then the first is 0)
    category    1 for its value, among those that at least ``FEWEST`` rows of the log have, at most ``MOST`` of them;
                all 0 for another value, and for an unknown one

The columns of a router are JSON (``summary["context"]``): a list of {"name", "kind", "mean", "deviation"} or {"name",
"kind", "values"}. Their features follow those of the text, column after column. NumPy alone: a process that only
decides imports this.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.types import InputError

FEWEST, MOST = 5, 30
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
"""A number as programs write it; 007 and +1 are names."""
Columns = Sequence[Mapping[str, Any]]


def fit(context: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """How columns are encoded, from their values [N] in a log; None and NaN are unknown.

    Raises:
        InputError: a column that says nothing: one value alone, or texts of which none is repeated ``FEWEST`` times.

    Example:
        >>> tier, length = np.array(["free", "gold"] * 5, object), np.arange(10.0)
        >>> for column in fit({"tier": tier, "length": length}):
        ...     print(column)
        {'name': 'tier', 'kind': 'category', 'values': ['free', 'gold']}
        {'name': 'length', 'kind': 'number', 'mean': 4.5, 'deviation': 2.8722813232690143}
    """
    return [_fitted(name, list(values)) for name, values in context.items()]


def _fitted(name: str, values: list[Any]) -> dict[str, Any]:
    known = [value for value in values if not _unknown(value)]
    numbers = [_number(value) for value in known]
    if known and all(number is not None for number in numbers):
        mean, deviation = float(np.mean(numbers)), float(np.std(numbers))  # type: ignore[arg-type]
        if not deviation > 0:
            raise InputError(f"context column {name!r} has one value alone: leave it out")
        return {"name": name, "kind": "number", "mean": mean, "deviation": deviation}
    counts = Counter(_word(value) for value in known)
    kept = sorted(word for word, count in counts.most_common(MOST) if count >= FEWEST)
    if not kept or (len(counts) == 1 and len(known) == len(values)):
        raise InputError(
            f"context column {name!r}: none of its {len(counts)} values tells rows apart that occur {FEWEST} times or "
            "more: leave it out"
        )
    return {"name": name, "kind": "category", "values": kept}


def typed(cells: Sequence[Any]) -> list[Any]:
    """The cells of a column of a CSV file, which holds only text: numbers where all that are known are numbers.

    Example:
        >>> typed(["3", None, "0.5"]), typed(["3", "many"]), typed(["007", "12"])
        ([3, None, 0.5], ['3', 'many'], ['007', '12'])
    """
    known = {cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()}
    if not known or not all(NUMBER.fullmatch(word) and math.isfinite(float(word)) for word in known):
        return list(cells)
    number = {word: int(word) if word.lstrip("-").isdigit() else float(word) for word in known}
    return [number.get(cell.strip()) if isinstance(cell, str) else cell for cell in cells]


def check(columns: Columns, num_features: int) -> None:
    """InputError unless the columns of an artefact can be encoded beside a text's features.

    Args:
        columns: of names, kinds and numbers that the artefact's schema allows. num_features: D of the router.
    """
    if len(set(names(columns))) < len(columns):
        raise InputError(f"context columns {', '.join(names(columns))}: give each once")
    for column in columns:
        needed = ("mean", "deviation") if column["kind"] == "number" else ("values",)
        if missing := [name for name in needed if name not in column]:
            raise InputError(f"context column {column['name']!r}: {missing[0]} is missing")
    if width(columns) >= num_features:
        raise InputError(f"context columns make {width(columns)} features; the router takes {num_features} in all")


def width(columns: Columns) -> int:
    """How many features columns make."""
    return sum(2 if column["kind"] == "number" else len(column["values"]) for column in columns)


def encode(columns: Columns, context: Any, count: int) -> np.ndarray:
    """Features [N, width] of context columns.

    Args:
        columns: of ``fit``.
        context: {name: N values, or one for all}, a table with these columns (pandas), or N dictionaries. None and NaN
            are unknown.
        count: N.

    Raises:
        InputError: a column is missing, of another length, or not a number where the log had numbers.

    Example:
        >>> columns = [{"name": "tier", "kind": "category", "values": ["free", "gold"]},
        ...     {"name": "length", "kind": "number", "mean": 4.0, "deviation": 2.0}]
        >>> encode(columns, {"tier": ["gold", "trial"], "length": [8, None]}, 2).tolist()
        [[0.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    found = np.zeros((count, width(columns)), np.float32)
    place = 0
    for column in columns:
        values = _values(column["name"], context, count)
        if column["kind"] == "number":
            for row, value in enumerate(values):
                number = None if _unknown(value) else _number(value)
                if number is None and not _unknown(value):
                    raise InputError(f"context column {column['name']!r}, row {row}: {value!r} is not a number")
                found[row, place : place + 2] = (
                    (0.0, 1.0) if number is None else ((number - column["mean"]) / column["deviation"], 0.0)
                )
            place += 2
        else:
            index = {word: place + k for k, word in enumerate(column["values"])}
            for row, value in enumerate(values):
                if not _unknown(value) and (k := index.get(_word(value), index.get(str(value)))) is not None:
                    found[row, k] = 1.0
            place += len(column["values"])
    return found


def names(columns: Columns) -> list[str]:
    """The columns' names."""
    return [str(column["name"]) for column in columns]


def _values(name: str, context: Any, count: int) -> Sequence[Any]:
    if isinstance(context, Sequence) and not isinstance(context, str):
        lacking = next((row for row, one in enumerate(context) if name not in one), None)
        values: Any = None if lacking is not None else [one[name] for one in context]
    else:
        values = context[name] if context is not None and name in context else None
    if values is None:
        raise InputError(
            f"the router was fitted with the context column {name!r}: give context={{{name!r}: values}}, None where a "
            "value is unknown"
        )
    if isinstance(values, str) or not hasattr(values, "__len__"):
        return [values] * count
    if len(values) != count:
        raise InputError(f"context column {name!r} has {len(values)} values for {count} prompts")
    return list(values)


def _unknown(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float | np.floating) and math.isnan(value))


def _number(value: Any) -> float | None:
    """A number as it is; True and False are categories, and so are texts that look like numbers."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return float(value) if math.isfinite(value) else None


def _word(value: Any) -> str:
    """A category's name: of 3.0, which is 3 in a table that knows no empty whole numbers, "3"."""
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip().lower() if isinstance(value, str | bool | np.bool_) else str(value)


def drivers(context: Mapping[str, np.ndarray], action: np.ndarray) -> list[dict[str, Any]]:
    """How much every column tells of the model that was chosen, the strongest first.

        V^2 = chi^2 / (N min(rows - 1, columns - 1))          (Cramer's V, 0 to 1) of values against models

    Numbers are cut at their quintiles; rare values count together, and so do unknown ones. A column that drove the
    choice is a confounder that is in the log: with it among the features, all that is estimated is adjusted for it.

    Args:
        context: {name: values [N]}. action: [N] the chosen models.

    Returns:
        name, strength (V), p_value, drove (p below 0.001 over the number of columns) of each.

    Example:
        >>> tier = np.array(["free", "gold"] * 50, object)
        >>> [one] = drivers({"tier": tier}, np.arange(100) % 2)
        >>> one["name"], round(one["strength"], 3), one["drove"]
        ('tier', 1.0, True)
    """
    from scipy.special import chdtrc

    found = []
    for name, values in context.items():
        rows, columns = _groups(list(values)), np.unique(action, return_inverse=True)[1]
        counts = np.zeros((rows.max() + 1, columns.max() + 1))
        np.add.at(counts, (rows, columns), 1)
        freedom, p_value, strength = min(counts.shape) - 1, 1.0, 0.0
        if freedom > 0:
            expected = np.outer(counts.sum(1), counts.sum(0)) / len(action)
            statistic = ((counts - expected) ** 2 / expected).sum()
            p_value = chdtrc((counts.shape[0] - 1) * (counts.shape[1] - 1), statistic)
            strength = math.sqrt(statistic / (len(action) * freedom))
        drove = bool(p_value < 0.001 / len(context))
        found.append({"name": name, "strength": float(strength), "p_value": float(p_value), "drove": drove})
    return sorted(found, key=lambda one: -one["strength"])


def _groups(values: list[Any]) -> np.ndarray:
    """A number for every value's group, all of which occur."""
    known = [value for value in values if not _unknown(value)]
    numbers = [_number(value) for value in known]
    if known and all(number is not None for number in numbers):
        cuts = np.quantile(np.array(numbers, float), (0.2, 0.4, 0.6, 0.8))
        groups = [-1 if _unknown(value) else int(np.searchsorted(cuts, _number(value))) for value in values]  # type: ignore[arg-type]
    else:
        counts = Counter(_word(value) for value in known)
        place = {word: k for k, (word, count) in enumerate(counts.most_common(MOST)) if count >= FEWEST}
        groups = [-2 if _unknown(value) else place.get(_word(value), -1) for value in values]
    return np.unique(groups, return_inverse=True)[1]
