"""Tables in memory: every kind gives the table that the folder or the file of the same rows gives."""

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import jaxroute as jr
from jaxroute.data import hub, synthetic, tables, tabular
from jaxroute.types import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved table of 12 prompts and 10 models, two answers missing, and its two frames."""
    folder = tmp_path_factory.mktemp("table") / "saved"
    table = synthetic.make(jax.random.key(0), num_prompts=12)
    table.available[[3, 5], [0, 2]] = False
    for y in table.outcomes:
        y[~table.available] = np.nan
    tables.save(table, folder)
    names = ("queries", "outcomes")
    return folder, {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}


def long_of(frames):
    columns = ["query_id", "model", "quality", "cost"]
    return frames["queries"].merge(frames["outcomes"][columns], on="query_id")


def same(found, expected):
    assert found.models == expected.models
    for name in ("query_id", "prompt", "task", "available", "features"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for a, b in zip(found.outcomes, expected.outcomes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_kind_of_long_table_is_the_folders(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    path, frames = folder
    expected = tables.load(path)
    long = long_of(frames).sort_values("model", kind="stable", key=lambda names: names.map(list(expected.models).index))
    long = long.set_index(np.arange(len(long)) + 7)  # an index of one's own says nothing
    queries = long.drop_duplicates("query_id")["query_id"].tolist()
    order = [expected.query_id.tolist().index(q) for q in queries]
    expected = expected.rows(np.array(order))
    given = expected.features
    arrow = pa.Table.from_pandas(long, preserve_index=False)
    indexed = long.set_index(["query_id", "model"])  # the index of a group of rows, as pandas' groupby makes it
    for kind in (long, indexed, arrow, pa.table(indexed), datasets.Dataset(arrow), long.to_dict("records")):
        same(jr.read_table(kind, features=given), expected)
    vectors = dict(zip(expected.query_id, given, strict=True))
    own = long.assign(features=[vectors[query] for query in long["query_id"]])
    same(jr.read_table(datasets.Dataset.from_pandas(own, preserve_index=False)), expected)
    long.to_parquet(tmp_path / "long.parquet")
    of_file = hub.load("parquet", files=str(tmp_path / "long.parquet"))  # the library's own builder of local files
    same(jr.read_table(of_file, features=given), expected)


def test_two_tables_are_those_of_the_folder(folder):
    datasets = pytest.importorskip("datasets")
    path, frames = folder
    expected = tables.load(path)
    pair = {name: datasets.Dataset.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}
    same(jr.read_table(datasets.DatasetDict(pair), features=expected.features), expected)
    same(jr.read_table(frames, features=expected.features), expected)
    with pytest.raises(InputError, match="the table has no 'outcomes'"):
        jr.read_table({"queries": frames["queries"]})


def test_a_wide_table_is_read_as_its_file(tmp_path):
    wide = pd.DataFrame({"sample_id": ["a", "b"], "prompt": ["2+2?", "Prove it."], "eval_name": ["m", "m"]})
    wide = wide.assign(**{"small": [1.0, 0.0], "large": [1.0, np.nan]})
    wide = wide.assign(**{"small|total_cost": [0.001, 0.001], "large|total_cost": [0.02, np.nan]})
    wide.to_parquet(tmp_path / "wide.parquet")
    same(jr.read_table(wide), jr.read_table(tmp_path / "wide.parquet"))


def test_bad_tables_are_one_line(folder):
    _, frames = folder
    long = long_of(frames)
    cases = [
        (long.drop(columns="cost"), "column 'cost' is missing"),
        (long.assign(prompt=[f"prompt {i}" for i in range(len(long))]), "column 'prompt', row 1: differs"),
        (long.assign(quality=2.0), "outside"),
        (long.assign(features=[[1.0], *[[1.0, 2.0]] * (len(long) - 1)]), "column 'features'"),
        ([1, 2], "row 0: is a int; every row must be a dictionary"),
        (7, "cannot read a table from a int"),
    ]
    for source, message in cases:
        with pytest.raises(InputError, match=message) as error:
            tabular.table(source)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"features of shape \(3, 2\)"):
        tabular.table(long, features=np.zeros((3, 2)))


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match="could not be loaded") as error:
        hub.load("csv", files=str(tmp_path / "none.csv"))
    assert "\n" not in str(error.value)
