"""Generated tables: each loads with exact content or fails with our own error; a save that fails leaves nothing."""

import contextlib
import os
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from fuzzing import BAD, MISSING, amount, attempt, fuzz, means, same, small, unit, words
from hypothesis import given
from hypothesis import strategies as st

from jaxroute.data import shapes, tables

cell_text = same(words) | means("7", 7) | means(BAD, None, "", [1], {"a": 1}, float("nan"), b"x", True, "\ud800")
cell_quality = (
    same(unit)
    | means(1.0, 1, True, "1")
    | means(MISSING, None, float("nan"))
    | means(BAD, 2, "x", [1], {}, 10**400, -0.1, float("inf"))
)
cell_cost = (
    same(amount)
    | means(1.0, 1, "1")
    | means(MISSING, None, float("nan"))
    | means(BAD, -1, "x", [1], {}, 10**400, float("inf"))
)


@fuzz
@given(data=st.data())
def test_long_tables(tally, data):
    N, K = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    query = [{name: (f"{name[0]}{i}", f"{name[0]}{i}") for name in ("query_id", "prompt", "task")} for i in range(N)]
    answer = [
        {"query_id": query[i]["query_id"], "model": (f"m{k}", f"m{k}"), "quality": (0.5, 0.5), "cost": (1.0, 1.0)}
        for i in range(N)
        for k in range(K)
    ]
    kinds = {"quality": cell_quality, "cost": cell_cost}
    for _ in range(data.draw(st.integers(0, 3))):
        what = data.draw(st.sampled_from(["query_id", "prompt", "task", "model", "quality", "cost", "drop", "twice"]))
        row = data.draw(st.integers(0, len(answer) - 1))
        if what == "drop":
            answer = answer[:row] + answer[row + 1 :] or answer
        elif what == "twice":
            answer.append(dict(answer[row]))
        else:
            (query[row % N] if what in ("prompt", "task") else answer[row])[what] = data.draw(
                kinds.get(what, cell_text)
            )
    frames = [
        pd.DataFrame({name: pd.Series([row[name][0] for row in rows], dtype=object) for name in rows[0]})
        for rows in (query, answer)
    ]
    table = attempt(tally, lambda: shapes.from_long(*frames))
    query, answer = ([{name: said for name, (_, said) in row.items()} for row in rows] for rows in (query, answer))
    pairs = {(row["query_id"], row["model"]) for row in answer}
    fits = not any(said in (BAD, MISSING) for row in query + answer for said in row.values())
    fits = fits and {row["query_id"] for row in answer} == {row["query_id"] for row in query}
    fits = fits and len(pairs) == len(answer) and len({row["model"] for row in answer}) > 1
    assert (table is not None) == fits
    if fits:
        assert table.prompt.tolist() == [row["prompt"] for row in query]
        assert list(table.models) == list(dict.fromkeys(row["model"] for row in answer))
        expected = np.full((2, N, len(table.models)), np.nan)
        for row in answer:
            expected[:, int(row["query_id"][1:]), table.models.index(row["model"])] = row["quality"], row["cost"]
        np.testing.assert_array_equal(table.outcomes.quality, expected[0])
        np.testing.assert_array_equal(table.outcomes.cost, expected[1])
        assert len(answer) == table.available.sum()


@fuzz
@given(data=st.data())
def test_wide_tables(tally, data):
    N, K = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    columns = {"sample_id": [(f"q{i}", f"q{i}") for i in range(N)], "prompt": [(f"p{i}", f"p{i}") for i in range(N)]}
    columns["eval_name"] = [("t", "t")] * N
    for k in range(K):
        columns |= {f"m{k}": [(0.5, 0.5)] * N, f"m{k}|total_cost": [(1.0, 1.0)] * N}
    for _ in range(data.draw(st.integers(0, 4))):
        name = data.draw(st.sampled_from(list(columns)))
        kind = cell_cost if "total" in name else cell_quality if name[0] == "m" else cell_text
        columns[name] = list(columns[name])
        columns[name][data.draw(st.integers(0, N - 1))] = data.draw(kind)
    frame = pd.DataFrame(
        {name: pd.Series([cell for cell, _ in cells], dtype=object) for name, cells in columns.items()}
    )
    said = {name: [meaning for _, meaning in cells] for name, cells in columns.items()}
    quality = np.array([[np.nan if m == MISSING else m for m in said[f"m{k}"]] for k in range(K)], object).T
    cost = np.array([[np.nan if m == MISSING else m for m in said[f"m{k}|total_cost"]] for k in range(K)], object).T
    table = attempt(tally, lambda: shapes.from_wide(frame))
    fits = not any(BAD in cells for cells in said.values()) and K > 1 and len(set(said["sample_id"])) == N
    if fits:
        quality, cost = quality.astype(float), cost.astype(float)
        fits = not np.isnan(quality).all(1).any() and not (np.isnan(cost) & ~np.isnan(quality)).any()
    assert (table is not None) == fits
    if fits:
        assert table.prompt.tolist() == said["prompt"]
        np.testing.assert_array_equal(table.outcomes.quality, quality)
        np.testing.assert_array_equal(table.outcomes.cost, np.where(np.isnan(quality), np.nan, cost))
        np.testing.assert_array_equal(table.available, ~np.isnan(quality))


@fuzz
@given(fails=st.integers(0, 4), occupied=st.booleans(), lost=st.booleans())
def test_a_save_that_fails_leaves_nothing(tmp_path_factory, tally, fails, occupied, lost):
    """Each write in turn finds the disk full; what stands at the place afterwards is all of it or what was there."""
    folder = tmp_path_factory.mktemp("save") / "table"
    if occupied:
        folder.mkdir()
        (folder / "mine").touch()
    table = small()
    if lost:
        table.available[:, 1] = False
    calls = Counter()

    def failing(function):
        def wrapper(*args, **kwargs):
            calls["all"] += 1
            if calls["all"] == fails:
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "save", failing(np.save))
        patch.setattr(pd.DataFrame, "to_parquet", failing(pd.DataFrame.to_parquet))
        patch.setattr(tables.os, "replace", failing(os.replace))
        with contextlib.suppress(OSError):
            attempt(tally, lambda: tables.save(table, folder) or True)
    if occupied:
        assert [file.name for file in folder.iterdir()] == ["mine"]
    elif lost or 1 <= fails <= 4:
        assert list(folder.parent.iterdir()) == []
    else:
        back = tables.load(folder)
        np.testing.assert_array_equal(back.outcomes.quality, table.outcomes.quality)
        np.testing.assert_array_equal(back.features, table.features)
