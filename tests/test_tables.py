"""Full tables: what is written comes back, holes stay holes, and bad files get one line that says where."""

import re
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from jaxroute.data import shapes, splits, synthetic, tables
from jaxroute.types import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def queries():
    return pd.DataFrame({"query_id": ["a", "b", "c"], "prompt": ["2+2?", "None", "007"], "task": ["m/x", "m/y", "n/z"]})


@pytest.fixture
def outcomes():
    """Long, complete but for model large on query c."""
    return pd.DataFrame(
        [
            ("a", "small", 1.0, 0.1),
            ("a", "large", 0.5, 2.0),
            ("b", "large", 1.0, 3.0),
            ("b", "small", 0.0, 0.2),
            ("c", "small", 0.25, 0.0),
        ],
        columns=["query_id", "model", "quality", "cost"],
    )


@pytest.fixture
def wide():
    return pd.DataFrame(
        {
            "sample_id": ["a", "b", "c"],
            "prompt": ["2+2?", "None", "007"],
            "eval_name": ["m/x", "m/y", "n/z"],
            "small": [1.0, 0.0, 0.25],
            "large": [0.5, 1.0, np.nan],
            "small|model_response": ["4", "?", "7"],
            "small|total_cost": [0.1, 0.2, 0.0],
            "large|total_cost": [2.0, 3.0, np.nan],
            "oracle_model_to_route_to": ["small", "large", "small"],
        }
    )


def _folder(path, queries, outcomes, features=None):
    path.mkdir(exist_ok=True)
    queries.to_parquet(path / "queries.parquet")
    outcomes.to_parquet(path / "outcomes.parquet")
    if features is not None:
        np.save(path / "features.npy", features)
    return path


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
    table = tables.load(_folder(tmp_path, queries, outcomes, features))
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
    table = tables.load(_folder(tmp_path, queries, shuffled))
    order = [table.models.index(m) for m in ("small", "large")]
    np.testing.assert_array_equal(table.outcomes.quality[:, order], QUALITY)


def test_numbers_as_ids_and_booleans_as_quality(tmp_path, queries, outcomes):
    ids = {"a": 7, "b": 8, "c": 9}
    queries["query_id"] = queries["query_id"].map(ids)
    outcomes["query_id"] = outcomes["query_id"].map(ids)
    outcomes["quality"] = outcomes["quality"] > 0.4
    table = tables.load(_folder(tmp_path, queries, outcomes))
    assert table.query_id.tolist() == ["7", "8", "9"]
    np.testing.assert_array_equal(table.outcomes.quality, [[1, 1], [0, 1], [0, np.nan]])


@pytest.mark.parametrize("column", ["quality", "cost"])
def test_an_empty_number_in_a_folder_is_refused_with_its_place(tmp_path, queries, outcomes, column):
    outcomes.loc[1, column] = np.nan
    with pytest.raises(InputError, match=rf"outcomes\.parquet, column '{column}', row 1 "):
        tables.load(_folder(tmp_path, queries, outcomes))


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
    group = tables.load(_folder(tmp_path, queries, outcomes)).group
    assert group[0] == group[2] != group[1]
    assert group.dtype.kind == "i"


def test_quality_on_another_scale(tmp_path, queries, outcomes):
    outcomes["quality"] = 1 + 4 * outcomes["quality"]  # marks from 1 to 5
    folder = _folder(tmp_path, queries, outcomes)
    with pytest.raises(InputError, match=r"column 'quality', row 0 .*: 5.0 is outside \[0, 1\]"):
        tables.load(folder)
    np.testing.assert_array_equal(tables.load(folder, quality_range=(1, 5)).outcomes.quality, QUALITY)
    with pytest.raises(InputError, match="two different numbers"):
        tables.load(folder, quality_range=(1, 1))


def test_without_features_prompts_are_encoded(tmp_path, queries, outcomes):
    folder = _folder(tmp_path, queries, outcomes)
    features = tables.load(folder).features
    assert features.shape == (3, 256)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    with pytest.raises(InputError, match="unknown encoder 'big'"):
        tables.load(folder, encoder="big")


def test_feature_files_can_be_named(tmp_path, queries, outcomes):
    folder = _folder(tmp_path, queries, outcomes, np.ones((3, 2)))
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
    _folder(tmp_path / "in", queries, outcomes)
    tables.save(tables.load(tmp_path / "in"), tmp_path / "out")
    _is_the_example(tables.load(tmp_path / "out"))
    # Also where the first model lacks the first prompt: models keep their order.
    swapped = tables.load(_folder(tmp_path / "in", queries, outcomes.iloc[1:]))
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
    table = tables.load(_folder(tmp_path, queries, outcomes))
    assert tables.with_task(table, "m/").query_id.tolist() == ["a", "b"]
    with pytest.raises(InputError, match="no task starts with 'k/'; the tasks are: m/x, m/y, n/z"):
        tables.with_task(table, "k/")


def _set(column, row, value):
    def change(frame):
        frame = frame.astype({column: str}) if isinstance(value, str) else frame
        frame.loc[row, column] = value
        return frame

    return change


LONG_ERRORS = {
    "NaN cost": ("outcomes", _set("cost", 2, np.nan), r"column 'cost', row 2 \(query 'b', model 'large'\): nan"),
    "infinite cost": ("outcomes", _set("cost", 2, np.inf), "column 'cost', row 2 .*: inf"),
    "negative cost": ("outcomes", _set("cost", 3, -0.5), "column 'cost', row 3 .*: -0.5 is not"),
    "quality above": ("outcomes", _set("quality", 1, 1.5), r"column 'quality', row 1 .*: 1.5 is outside \[0, 1\]"),
    "quality below": ("outcomes", _set("quality", 1, -0.1), "column 'quality', row 1 .*: -0.1"),
    "infinite quality": ("outcomes", _set("quality", 1, -np.inf), "column 'quality', row 1 .*: -inf"),
    "words for numbers": ("outcomes", _set("cost", 4, "free"), "column 'cost', row 4 .*: 'free' is not a number"),
    "unknown query": ("outcomes", _set("query_id", 2, "d"), "row 2: 'd' is not in .*queries.parquet"),
    "answered twice": ("outcomes", _set("query_id", 3, "a"), "row 3: model 'small' has a second answer to query 'a'"),
    "no model name": ("outcomes", _set("model", 3, None), "column 'model', row 3: empty"),
    "no prompt": ("queries", _set("prompt", 1, None), "column 'prompt', row 1: empty"),
    "duplicate ids": ("queries", _set("query_id", 2, "a"), "column 'query_id', row 2: the id 'a' occurs twice"),
    "column missing": ("outcomes", lambda f: f.drop(columns="cost"), "column 'cost' is missing"),
    "task missing": ("queries", lambda f: f.drop(columns="task"), "column 'task' is missing"),
    "no queries": ("queries", lambda f: f.iloc[:0], "no rows"),
    "no outcomes": ("outcomes", lambda f: f.iloc[:0], "no rows"),
    "one model": ("outcomes", lambda f: f[f.model == "small"], r"only one model \('small'\)"),
    "nobody answered": ("outcomes", lambda f: f[f.query_id != "c"], "row 2: no model answered query 'c'"),
}  # fmt: skip


@pytest.mark.parametrize("case", LONG_ERRORS)
def test_bad_folders(tmp_path, queries, outcomes, case):
    which, change, message = LONG_ERRORS[case]
    frames = {"queries": queries, "outcomes": outcomes}
    frames[which] = change(frames[which])
    named = "queries" if case == "nobody answered" else which
    _one_line(lambda: tables.load(_folder(tmp_path, **frames)), f"{named}.parquet[,:].*{message}", tmp_path)


WIDE_ERRORS = {
    "NaN cost": (_set("large|total_cost", 1, np.nan), r"column 'large\|total_cost', row 1 \(query 'b'\): nan"),
    "negative cost": (_set("small|total_cost", 1, -1.0), r"column 'small\|total_cost', row 1 .*: -1"),
    "quality above": (_set("small", 0, 7.0), "column 'small', row 0 .*: 7.0 is outside"),
    "words": (_set("small", 2, "yes"), "column 'small', row 2 .*: 'yes' is not a number"),
    "duplicate ids": (_set("sample_id", 1, "a"), "column 'sample_id', row 1: the id 'a' occurs twice"),
    "no eval": (lambda f: f.drop(columns="eval_name"), "column 'eval_name' is missing"),
    "no quality": (lambda f: f.drop(columns="large"), "column 'large' is missing"),
    "no models": (lambda f: f[["sample_id", "prompt", "eval_name"]], "there are no models"),
    "one model": (lambda f: f.drop(columns="large|total_cost"), "only one model"),
    "nobody answered": (_set("small", 2, np.nan), "row 2: no model answered query 'c'"),
    "empty": (lambda f: f.iloc[:0], "no rows"),
}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("case", WIDE_ERRORS)
def test_bad_wide_files(tmp_path, wide, case, suffix):
    change, message = WIDE_ERRORS[case]
    path, frame = tmp_path / f"wide{suffix}", change(wide)
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    _one_line(lambda: tables.load(path), f"wide{suffix}.*{message}", tmp_path)


FEATURE_ERRORS = {
    "too short": (np.ones((2, 4)), r"features.npy: shape \(2, 4\), expected \[3, D\]"),
    "no columns": (np.ones((3, 0)), "features.npy"),
    "one axis": (np.ones(3), "not an array of numbers"),
    "words": (np.array([["a"], ["b"], ["c"]]), "not an array of numbers"),
    "NaN": (np.array([[0, 1], [0, np.nan], [0, 0]]), "features.npy, row 1, column 1: nan"),
    "infinite as float32": (np.array([[0, 1], [0, 0], [1e300, 0]]), "features.npy, row 2, column 0: inf"),
}


@pytest.mark.parametrize("case", FEATURE_ERRORS)
def test_bad_features(tmp_path, queries, outcomes, case):
    features, message = FEATURE_ERRORS[case]
    _one_line(lambda: tables.load(_folder(tmp_path, queries, outcomes, features)), message, tmp_path)


@pytest.mark.parametrize("name", ["queries.parquet", "outcomes.parquet", "features.npy"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.98])
def test_truncated_files(tmp_path, queries, outcomes, name, keep):
    path = _folder(tmp_path, queries, outcomes, np.ones((3, 2))) / name
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    _one_line(lambda: tables.load(tmp_path), name, tmp_path)


def test_a_column_that_occurs_twice_is_refused(wide):
    twice = pd.concat([wide, wide[["small"]]], axis=1)
    with pytest.raises(InputError, match=r"wide.parquet: column 'small' occurs more than once"):
        shapes.from_wide(twice, source="wide.parquet")


def test_objects_in_features_are_not_unpickled(tmp_path, queries, outcomes):
    _folder(tmp_path, queries, outcomes)
    np.save(tmp_path / "features.npy", np.array([{}, {}, {}], object), allow_pickle=True)
    _one_line(lambda: tables.load(tmp_path), "features.npy: not a readable .npy array", tmp_path)


def test_missing_files(tmp_path, queries, outcomes):
    _one_line(lambda: tables.load(tmp_path / "nowhere"), "nowhere: no such file or folder", tmp_path)
    _one_line(lambda: tables.load(tmp_path), "queries.parquet: no such file", tmp_path)
    _folder(tmp_path, queries, outcomes)
    (tmp_path / "outcomes.parquet").unlink()
    _one_line(lambda: tables.load(tmp_path), "outcomes.parquet: no such file", tmp_path)
    (tmp_path / "table.pkl").write_bytes(b"x")
    _one_line(lambda: tables.load(tmp_path / "table.pkl"), "cannot read .pkl", tmp_path)
    (tmp_path / "nothing.csv").write_text("")
    _one_line(lambda: tables.load(tmp_path / "nothing.csv"), "nothing.csv: damaged", tmp_path)


def _one_line(load, message, folder):
    with pytest.raises(InputError) as caught:
        load()
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


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
