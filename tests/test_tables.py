"""Full tables: what is written comes back, and holes stay holes."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import table_files
from table_files import write_folder

from jaxroute.data import shapes, splits, synthetic, tables
from jaxroute.types import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data"

queries, outcomes, wide = map(pytest.fixture, (table_files.queries, table_files.outcomes, table_files.wide))


QUALITY = [[1.0, 0.5], [0.0, 1.0], [0.25, np.nan]]
COST = [[0.1, 2.0], [0.2, 3.0], [0.0, np.nan]]


def _is_the_example(table):
    assert table.models == ("small", "large")
    assert table.query_id.tolist() == ["a", "b", "c"]
    assert table.prompt.tolist() == ["2+2?", "None", "007"]
    assert table.task.tolist() == ["m/x", "m/y", "n/z"]
    assert table.group.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(table.outcomes.quality, QUALITY)
    np.testing.assert_array_equal(table.outcomes.cost, COST)
    assert table.available.tolist() == [[True, True], [True, True], [True, False]]
    assert table.features.dtype == np.float32
    assert table.expected is None


def test_folder(tmp_path, queries, outcomes):
    features = np.arange(6, dtype=np.float16).reshape(3, 2)
    table = tables.load(write_folder(tmp_path, queries, outcomes, features))
    _is_the_example(table)
    np.testing.assert_array_equal(table.features, features.astype(np.float32))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_wide_file(tmp_path, wide, suffix):
    path = tmp_path / f"wide{suffix}"
    wide.to_csv(path, index=False) if suffix == ".csv" else wide.to_parquet(path)
    table = tables.load(path)
    _is_the_example(table)
    assert table.features.shape == (3, 256)


def test_rows_of_the_outcomes_may_come_in_any_order(tmp_path, queries, outcomes):
    shuffled = outcomes.sample(frac=1, random_state=1)
    table = tables.load(write_folder(tmp_path, queries, shuffled))
    order = [table.models.index(m) for m in ("small", "large")]
    np.testing.assert_array_equal(table.outcomes.quality[:, order], QUALITY)


def test_numbers_as_ids_and_booleans_as_quality(tmp_path, queries, outcomes):
    ids = {"a": 7, "b": 8, "c": 9}
    queries["query_id"] = queries["query_id"].map(ids)
    outcomes["query_id"] = outcomes["query_id"].map(ids)
    outcomes["quality"] = outcomes["quality"] > 0.4
    table = tables.load(write_folder(tmp_path, queries, outcomes))
    assert table.query_id.tolist() == ["7", "8", "9"]
    np.testing.assert_array_equal(table.outcomes.quality, [[1, 1], [0, 1], [0, np.nan]])


def test_missing_quality_in_a_wide_file_is_a_hole_in_both_columns(tmp_path, wide):
    path = tmp_path / "wide.csv"
    wide.loc[0, "large"] = np.nan
    wide.to_csv(path, index=False)
    table = tables.load(path)
    assert not table.available[0, 1]
    assert np.isnan(table.outcomes.quality[0, 1])
    assert np.isnan(table.outcomes.cost[0, 1])


def test_published_long_tables_may_hold_answers_never_judged(queries, outcomes):
    outcomes.loc[1, "quality"] = np.nan
    assert not shapes.from_long(queries, outcomes, holes=True).available[0, 1]


def test_groups_of_any_kind_keep_their_partition(tmp_path, queries, outcomes):
    queries["group"] = ["user-b", "user-a", "user-b"]
    group = tables.load(write_folder(tmp_path, queries, outcomes)).group
    assert group[0] == group[2] != group[1]
    assert group.dtype.kind == "i"


def test_quality_on_another_scale(tmp_path, queries, outcomes):
    outcomes["quality"] = 1 + 4 * outcomes["quality"]  # marks from 1 to 5
    folder = write_folder(tmp_path, queries, outcomes)
    with pytest.raises(InputError, match=r"column 'quality', row 0 .*: 5.0 is outside \[0, 1\]"):
        tables.load(folder)
    np.testing.assert_array_equal(tables.load(folder, quality_range=(1, 5)).outcomes.quality, QUALITY)
    with pytest.raises(InputError, match="two different numbers"):
        tables.load(folder, quality_range=(1, 1))


def test_without_features_prompts_are_encoded(tmp_path, queries, outcomes):
    folder = write_folder(tmp_path, queries, outcomes)
    features = tables.load(folder).features
    assert features.shape == (3, 256)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    with pytest.raises(InputError, match="unknown encoder 'big'"):
        tables.load(folder, encoder="big")


def test_feature_files_can_be_named(tmp_path, queries, outcomes):
    folder = write_folder(tmp_path, queries, outcomes, np.ones((3, 2)))
    np.save(folder / "features_other.npy", np.zeros((3, 5)))
    with pytest.raises(InputError, match=r"several feature files \(features.npy, features_other.npy\)"):
        tables.load(folder)
    assert tables.load(folder, features=folder / "features_other.npy").features.shape == (3, 5)


def test_what_is_saved_comes_back(tmp_path):
    table = synthetic.make(jax.random.key(0), num_prompts=200)
    tables.save(table, tmp_path / "deep" / "table")
    again = tables.load(tmp_path / "deep" / "table")
    assert again.models == table.models
    for name in ("query_id", "prompt", "task", "group", "features", "available"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    for name in ("outcomes", "expected"):
        for read, written in zip(getattr(again, name), getattr(table, name), strict=True):
            np.testing.assert_array_equal(read, written)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["table"]


def test_holes_survive_saving(tmp_path, queries, outcomes):
    write_folder(tmp_path / "in", queries, outcomes)
    tables.save(tables.load(tmp_path / "in"), tmp_path / "out")
    _is_the_example(tables.load(tmp_path / "out"))
    # Also where the first model lacks the first prompt: models keep their order.
    swapped = tables.load(write_folder(tmp_path / "in", queries, outcomes.iloc[1:]))
    tables.save(swapped, tmp_path / "swapped")
    again = tables.load(tmp_path / "swapped")
    assert again.models == swapped.models == ("large", "small")
    np.testing.assert_array_equal(again.outcomes.quality, swapped.outcomes.quality)


def test_saving_overwrites_nothing(tmp_path):
    table = synthetic.make(jax.random.key(0), num_prompts=10)
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        tables.save(table, tmp_path)
    assert (tmp_path / "note").read_text() == "mine"
    table.available[:, 3] = False
    with pytest.raises(InputError, match=f"model '{table.models[3]}' has no answer"):
        tables.save(table, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_part_by_task(tmp_path, queries, outcomes):
    table = tables.load(write_folder(tmp_path, queries, outcomes))
    assert tables.with_task(table, "m/").query_id.tolist() == ["a", "b"]
    with pytest.raises(InputError, match="no task starts with 'k/'; the tasks are: m/x, m/y, n/z"):
        tables.with_task(table, "k/")


@pytest.mark.parametrize(
    ("name", "shape", "holes"),
    [
        ("routerbench_5shot_subset", (3164, 11), 0),
        ("routerbench_0shot_1pct", (365, 11), 0),
        ("open_llm_lb_v2_carrot", (17793, 18), 0),
        ("routellm_mmlu_gsm8k", (15361, 2), 0),
        ("paretobandit", (3609, 4), 50),
    ],
)
def test_real_tables(name, shape, holes):
    folder = SHARED / name
    if not folder.exists():
        pytest.skip("the real tables are not on this machine")
    table = tables.load(folder)
    assert table.outcomes.quality.shape == shape
    assert (~table.available).sum() == np.isnan(table.outcomes.quality).sum() == holes
    assert np.isnan(table.outcomes.cost).sum() == holes
    assert table.features.shape == (shape[0], 256 if name.endswith("1pct") else 384)
    # Against a plain group-by of the file.
    written = pd.read_parquet(folder / "outcomes.parquet").groupby("model")[["quality", "cost"]].mean()
    for means, column in zip(table.outcomes, ("quality", "cost"), strict=True):
        expected = written[column].reindex(list(table.models))
        np.testing.assert_allclose(np.nanmean(means, 0), expected, rtol=1e-5)
    scale, _ = tables.cost_scale(table)
    assert 0 < scale < 1
    train, _, test = splits.split(0, table)
    assert abs(len(train) / shape[0] - 0.6) < 0.01
    assert not set(table.prompt[train]) & set(table.prompt[test])


def test_a_log_given_as_a_table_is_told_from_one():
    """What a log did not ask is no accident, and prompts with one answer leave nothing to choose."""
    table = synthetic.make(jax.random.key(0), num_prompts=90)
    chosen = np.arange(90) % len(table.models)
    alone = np.arange(len(table.models)) == chosen[:, None]
    few = replace(table, available=np.where(np.arange(90)[:, None] < 40, alone, True))
    many = replace(table, available=np.where(np.arange(90)[:, None] < 80, alone, True))
    assert tables.like_a_log(few) == []
    (said,) = tables.like_a_log(many)
    assert said.startswith("80 of the 90 prompts have the answer of one model alone, as in a log of requests.")
