"""RouterBench's pickles, of three generations of pandas."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import hub, tables, unpickle
from jaxroute.data.benchmarks import routerbench
from jaxroute.types import InputError

DATA = Path(__file__).parent / "data"
PICKLES = sorted(DATA.glob("wide_pandas*.pkl"))
ONE_PERCENT = Path(__file__).parents[2] / "shared" / "data" / "routerbench_0shot_1pct"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("path", PICKLES, ids=lambda path: path.stem)
def test_pickles_of_three_pandas_load_with_exact_content(path):
    table = routerbench.load(path)
    assert table.models == ("small", "large")
    assert table.query_id.tolist() == ["sum.0", "sum.1", "poem.0"]
    assert table.prompt.tolist() == ["What is 2 + 2?", "None", "Write a poem about a ríver."]
    assert table.task.tolist() == ["sum", "sum", "poem"]
    np.testing.assert_array_equal(table.outcomes.quality, [[1, 1], [0, 1], [0.25, np.nan]])
    np.testing.assert_array_equal(table.outcomes.cost, [[0.001, 0.02], [0.002, 0.03], [0, np.nan]])
    assert table.features.shape[0] == 3


def test_the_three_fixtures_are_there():
    assert [path.stem for path in PICKLES] == ["wide_pandas1.5", "wide_pandas2.2", "wide_pandas3.0"]


def test_a_pickle_that_asks_for_more_is_refused_and_not_kept(tmp_path, cache):
    path = tmp_path / "more.pkl"
    path.write_bytes(pickle.dumps(pd.DataFrame({"prompt": pd.Series([Path("x")], dtype=object)})))
    with pytest.raises(InputError, match=r"more\.pkl: refused, .*pathlib\."):
        routerbench.load(path)
    assert not cache.exists()


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.pkl: no such file"):
        routerbench.load(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="no part 'x'"):
        routerbench.load(part="x")


def test_second_read_comes_from_parquet(cache, monkeypatch):
    first = routerbench.load(PICKLES[1])
    (kept,) = cache.glob("routerbench/*.parquet")
    assert hub.checksum(PICKLES[1]) == kept.stem
    monkeypatch.setattr(unpickle, "read", None)
    second = routerbench.load(PICKLES[1])
    np.testing.assert_array_equal(first.outcomes.quality, second.outcomes.quality)
    assert first.prompt.tolist() == second.prompt.tolist()


def test_raw_long_form_equals_the_wide_one(tmp_path):
    wide = unpickle.read(PICKLES[0])
    rows = [
        (row["sample_id"], row["prompt"], row["eval_name"], model, row[model], row[f"{model}|total_cost"])
        for model in ("small", "large")
        for _, row in wide.iterrows()
    ]
    raw = pd.DataFrame(rows, columns=list(routerbench.LONG)).assign(model_response="x")
    path = tmp_path / "raw.pkl"
    raw.to_pickle(path)
    long, table = routerbench.load(path), routerbench.load(PICKLES[0])
    assert long.models == table.models
    np.testing.assert_array_equal(long.outcomes.quality, table.outcomes.quality)
    np.testing.assert_array_equal(long.outcomes.cost, table.outcomes.cost)
    raw.loc[1, "performance"] = 3.0
    raw.to_parquet(tmp_path / "raw.parquet")
    with pytest.raises(InputError, match=r"raw\.parquet, column 'quality', row 1 \(query 'sum\.1'.*3\.0"):
        routerbench.load(tmp_path / "raw.parquet")


def test_hub_out_of_reach_is_said(monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(InputError, match=r"withmartian/routerbench, file routerbench_5shot\.pkl: could not be down"):
        routerbench.load(part="5shot")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(PICKLES[2]))
    assert len(routerbench.load()) == 3


@pytest.mark.skipif(not ONE_PERCENT.exists(), reason="the real table is not at hand")
def test_one_percent_of_routerbench_in_its_own_shape(tmp_path):
    real = tables.load(ONE_PERCENT)
    frame = pd.DataFrame({"sample_id": real.query_id, "prompt": real.prompt, "eval_name": real.task})
    for k, model in enumerate(real.models):
        frame[model] = real.outcomes.quality[:, k]
        frame[f"{model}|model_response"] = "an answer"
        frame[f"{model}|total_cost"] = real.outcomes.cost[:, k]
    best = np.argmax(real.outcomes.quality, 1)
    frame["oracle_model_to_route_to"] = [real.models[k] for k in best]
    frame.to_pickle(tmp_path / "routerbench_0shot.pkl")
    table = routerbench.load(tmp_path / "routerbench_0shot.pkl")
    assert (len(table), len(table.models)) == (365, 11)
    assert table.models == real.models
    np.testing.assert_array_equal(table.outcomes.quality, real.outcomes.quality)
    np.testing.assert_array_equal(table.outcomes.cost, real.outcomes.cost)
    assert (table.prompt == real.prompt).all()
    np.testing.assert_array_equal(table.features, real.features)
