"""Bad files of tables get one line that says where."""

import numpy as np
import pandas as pd
import pytest
import table_files
from table_files import one_line, write_folder

from jaxroute.data import shapes, tables
from jaxroute.types import InputError

queries, outcomes, wide = map(pytest.fixture, (table_files.queries, table_files.outcomes, table_files.wide))


@pytest.mark.parametrize("column", ["quality", "cost"])
def test_an_empty_number_in_a_folder_is_refused_with_its_place(tmp_path, queries, outcomes, column):
    outcomes.loc[1, column] = np.nan
    with pytest.raises(InputError, match=rf"outcomes\.parquet, column '{column}', row 1 "):
        tables.load(write_folder(tmp_path, queries, outcomes))


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
    one_line(lambda: tables.load(write_folder(tmp_path, **frames)), f"{named}.parquet[,:].*{message}", tmp_path)


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
    one_line(lambda: tables.load(path), f"wide{suffix}.*{message}", tmp_path)


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
    one_line(lambda: tables.load(write_folder(tmp_path, queries, outcomes, features)), message, tmp_path)


@pytest.mark.parametrize("name", ["queries.parquet", "outcomes.parquet", "features.npy"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.98])
def test_truncated_files(tmp_path, queries, outcomes, name, keep):
    path = write_folder(tmp_path, queries, outcomes, np.ones((3, 2))) / name
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    one_line(lambda: tables.load(tmp_path), name, tmp_path)


def test_a_column_that_occurs_twice_is_refused(wide):
    twice = pd.concat([wide, wide[["small"]]], axis=1)
    with pytest.raises(InputError, match=r"wide.parquet: column 'small' occurs more than once"):
        shapes.from_wide(twice, source="wide.parquet")


def test_objects_in_features_are_not_unpickled(tmp_path, queries, outcomes):
    write_folder(tmp_path, queries, outcomes)
    np.save(tmp_path / "features.npy", np.array([{}, {}, {}], object), allow_pickle=True)
    one_line(lambda: tables.load(tmp_path), "features.npy: not a readable .npy array", tmp_path)


def test_missing_files(tmp_path, queries, outcomes):
    one_line(lambda: tables.load(tmp_path / "nowhere"), "nowhere: no such file or folder", tmp_path)
    one_line(lambda: tables.load(tmp_path), "queries.parquet: no such file", tmp_path)
    write_folder(tmp_path, queries, outcomes)
    (tmp_path / "outcomes.parquet").unlink()
    one_line(lambda: tables.load(tmp_path), "outcomes.parquet: no such file", tmp_path)
    (tmp_path / "table.pkl").write_bytes(b"x")
    one_line(lambda: tables.load(tmp_path / "table.pkl"), "cannot read .pkl", tmp_path)
    (tmp_path / "nothing.csv").write_text("")
    one_line(lambda: tables.load(tmp_path / "nothing.csv"), "nothing.csv: damaged", tmp_path)
