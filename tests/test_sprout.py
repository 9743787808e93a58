"""SPROUT's Parquet of structs: scores as they are, costs from tokens and prices, its own split kept."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxroute.data import prices
from jaxroute.data.benchmarks import sprout
from jaxroute.types import InputError

MODELS = ("aws-claude-3-5-sonnet-v1", "openai-gpt-4o-mini")


def _answers(scores, read, written):
    return [
        None if s is None else {"response": "text", "score": s, "num_input_tokens": i, "num_output_tokens": o}
        for s, i, o in zip(scores, read, written, strict=True)
    ]


def _write(path, start=0, rows=3, **changes):
    number = range(start, start + rows)
    columns = {
        "key": [f"k{i}" for i in number],
        "dataset": ["math", "rag", "math"][:rows],
        "dataset_level": ["x"] * rows,
        "prompt": [f"question {i}" for i in number],
        "golden_answer": ["4"] * rows,
        MODELS[0]: _answers([1.0, 0.5, 0.0][:rows], [100, 200, 300][:rows], [10, 20, 30][:rows]),
        MODELS[1]: _answers([0.0, None, 1.0][:rows], [90, 0, 290][:rows], [9, 0, 29][:rows]),
    }
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table(columns | changes), path)
    return path


def test_scores_and_costs_are_the_arithmetic_on_the_file(tmp_path):
    table = sprout.load(_write(tmp_path / "t.parquet"))
    assert table.models == MODELS
    assert table.task.tolist() == ["math", "rag", "math"]
    assert table.query_id[1] == "t.1.k1"
    np.testing.assert_array_equal(table.outcomes.quality, [[1, 0], [0.5, np.nan], [0, 1]])
    expected = [
        [(100 * 3 + 10 * 15) / 1e6, (90 * 0.15 + 9 * 0.6) / 1e6],
        [(200 * 3 + 20 * 15) / 1e6, np.nan],
        [(300 * 3 + 30 * 15) / 1e6, (290 * 0.15 + 29 * 0.6) / 1e6],
    ]
    np.testing.assert_allclose(table.outcomes.cost, expected, rtol=1e-14)
    assert table.available.tolist() == [[True, True], [True, False], [True, True]]


def test_its_own_split_is_kept_and_shards_are_joined(tmp_path):
    for i in range(3):
        _write(tmp_path / "data" / f"train-{i:05}-of-00003.parquet", start=3 * i)
    _write(tmp_path / "data" / "test-00000-of-00001.parquet", start=100, rows=2)
    train, test = sprout.load(tmp_path), sprout.load(tmp_path, split="test")
    assert train.prompt.tolist() == [f"question {i}" for i in range(9)]
    assert test.prompt.tolist() == ["question 100", "question 101"]
    assert len(set(train.query_id)) == 9
    assert len(set(train.group)) == 9
    assert train.features.shape[0] == 9
    with pytest.raises(InputError, match=r"no file validation\*\.parquet"):
        sprout.load(tmp_path, split="validation")
    with pytest.raises(InputError, match="no split 'dev'"):
        sprout.load(tmp_path, split="dev")


def test_a_price_that_changes_is_one_file(tmp_path):
    frame = pd.read_csv(prices.PRICES)
    frame["input"] *= 2
    frame["output"] *= 2
    frame.to_csv(tmp_path / "prices.csv", index=False)
    path = _write(tmp_path / "t.parquet")
    doubled = sprout.load(path, price_table=tmp_path / "prices.csv")
    np.testing.assert_allclose(doubled.outcomes.cost, 2 * sprout.load(path).outcomes.cost)


def test_a_split_of_the_hub_is_read_by_datasets(tmp_path, monkeypatch):
    """The real library reads local files of the published shape in the place of the hub's."""
    import datasets

    files = [str(_write(tmp_path / f"{i}.parquet", start=3 * i)) for i in range(3)]
    real, asked = datasets.load_dataset, []

    def load_dataset(repo, *, data_files, split, revision):
        asked.append((repo, data_files, split, revision))
        return real("parquet", data_files={split: files}, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    table = sprout.load(split="test")
    assert asked == [(sprout.REPO, None, "test", None)]
    assert len(table) == 9
    apart = [sprout.load(file) for file in files]
    np.testing.assert_array_equal(table.outcomes.quality, np.concatenate([t.outcomes.quality for t in apart]))
    np.testing.assert_array_equal(table.outcomes.cost, np.concatenate([t.outcomes.cost for t in apart]))
    assert table.query_id[3] == "test.3." + apart[1].query_id[0].split(".")[-1]
    with pytest.raises(InputError, match="no split 'dev'"):
        sprout.load(split="dev")


BAD = {
    "score": ({MODELS[0]: _answers([1.0, 3.0, 0.0], [1] * 3, [1] * 3)}, rf"column '{MODELS[0]}', row 1.*3\.0"),
    "tokens": ({MODELS[0]: _answers([1.0] * 3, [1, 1, None], [1] * 3)}, rf"{MODELS[0]}\|total_cost', row 2"),
    "negative": ({MODELS[0]: _answers([1.0] * 3, [1, -9, 1], [0] * 3)}, rf"{MODELS[0]}\|total_cost', row 1"),
    "prompt": ({"prompt": ["a", None, "c"]}, r"column 'prompt', row 1: empty"),
    "price": ({"new-model": _answers([1.0] * 3, [1] * 3, [1] * 3)}, r"no price for model 'new-model'"),
    "field": ({"new-model": [{"score": 1.0}] * 3}, r"column 'new-model': has no field 'num_input_tokens'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named(tmp_path, name):
    changes, pattern = BAD[name]
    with pytest.raises(InputError, match=r"bad\.parquet.*" + pattern):
        sprout.load(_write(tmp_path / "bad.parquet", **changes))


def test_bad_files_are_named(tmp_path):
    path = _write(tmp_path / "cut.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"cut\.parquet: damaged"):
        sprout.load(path)
    with pytest.raises(InputError, match=r"none\.parquet: no such file"):
        sprout.load(tmp_path / "none.parquet")
    pq.write_table(pa.table({"key": ["a"], "dataset": ["b"], "prompt": ["c"]}), path)
    with pytest.raises(InputError, match="no model was found"):
        sprout.load(path)
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(InputError, match="column 'dataset' is missing"):
        sprout.load(path)


def test_price_tables_are_checked(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("model,input,output,source,date\na,1,2,list,2025-01\na,1,2,list,2025-01\n")
    with pytest.raises(InputError, match=r"prices\.csv, column 'model', row 1: 'a' occurs twice"):
        prices.load(path)
    path.write_text("model,input,output,source,date\na,1,2,list,2025-01\nb,-1,2,list,2025-01\n")
    with pytest.raises(InputError, match=r"column 'input', row 1 \(model 'b'\): -1"):
        prices.load(path)
    path.write_text("model,input,output,cached_input\na,1,2,\nb,1,2,0.1\n")
    loaded = prices.load(path)
    assert loaded["b"].cached_input == 0.1
    assert np.isnan(loaded["a"].cached_input)
    assert loaded["a"][:4] == (1, 2, "", "")
    assert set(MODELS) <= set(prices.load())
