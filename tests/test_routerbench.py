"""RouterBench's pickles, of three generations of pandas, and pickles that try something else."""

import builtins
import os
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


class Call:
    """Pickles as a call of ``function`` with ``args``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def _write(path, thing, protocol=4):
    path.write_bytes(pickle.dumps(thing, protocol))
    return path


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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("change", [lambda f: f, lambda f: f.iloc[::-1], lambda f: f.convert_dtypes()])
def test_frames_of_this_pandas_come_back_whatever_the_protocol(tmp_path, protocol, change):
    frame = pd.DataFrame({"text": ["a", "b", None], "real": [0.5, np.nan, 2.0], "whole": [1, 2, 3]})
    found = unpickle.read(_write(tmp_path / "frame.pkl", change(frame), protocol))
    expected = change(frame)
    for name in frame:
        assert found[name].isna().tolist() == expected[name].isna().tolist()
        assert found[name].dropna().tolist() == expected[name].dropna().tolist()


EVIL = {
    "os.system": (Call(os.system, "touch {marker}"), r"(posix|nt)\.system"),
    "eval": (Call(builtins.eval, "open('{marker}', 'w')"), r"builtins\.eval"),
    "exec": (Call(builtins.exec, "open('{marker}', 'w')"), r"builtins\.exec"),
    "getattr": (Call(getattr, pd.DataFrame, "to_csv"), r"builtins\.getattr"),
    "import": (Call(__import__, "os"), r"builtins\.__import__"),
    "open": (Call(open, "{marker}", "w"), r"io\.open"),
    "pandas reader": (Call(pd.read_pickle, "{marker}"), r"pandas\.(io\.pickle\.)?read_pickle"),
    "method": (Call(pd.DataFrame.to_csv, pd.DataFrame({"a": [1]}), "{marker}"), r"pandas\..*\.to_csv"),
    "numpy reader": (Call(np.fromfile, "{marker}"), r"numpy.*fromfile"),
    "class": (Path("x"), r"pathlib\."),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("inside", [False, True], ids=["bare", "in a cell"])
def test_pickles_that_call_something_are_refused_by_name_and_do_nothing(tmp_path, name, inside):
    thing, pattern = EVIL[name]
    marker = tmp_path / "marker"
    if isinstance(thing, Call):
        args = tuple(a.format(marker=marker) if isinstance(a, str) else a for a in thing.call[1])
        thing = Call(thing.call[0], *args)
    thing = pd.DataFrame({"prompt": pd.Series([thing], dtype=object)}) if inside else thing
    path = _write(tmp_path / "evil.pkl", thing)
    with pytest.raises(InputError, match=rf"evil\.pkl: refused, .*{pattern}"):
        routerbench.load(path)
    assert not marker.exists()
    assert not list(tmp_path.glob("cache/**/*.parquet"))


def test_a_dotted_name_does_not_reach_through_an_admitted_class(tmp_path):
    path = tmp_path / "dotted.pkl"
    path.write_bytes(b"\x80\x04\x8c\x06pandas\x8c\x0eDataFrame.eval\x93.")
    with pytest.raises(InputError, match=r"pandas\.DataFrame\.eval"):
        unpickle.read(path)


def test_an_array_of_objects_is_not_laid_over_the_bytes_of_the_file(tmp_path):
    path = _write(tmp_path / "array.pkl", Call(np.ndarray, (1,), np.dtype(object), b"\x41" * 8))
    with pytest.raises(InputError, match="not a readable pickle"):
        unpickle.read(path)


def test_other_contents(tmp_path):
    with pytest.raises(InputError, match=r"list\.pkl: holds a list, not a data frame"):
        unpickle.read(_write(tmp_path / "list.pkl", [1, 2]))
    with pytest.raises(InputError, match=r"none\.pkl: no such file"):
        routerbench.load(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="no part 'x'"):
        routerbench.load(part="x")


def test_every_truncation_is_one_clear_error(tmp_path):
    whole = PICKLES[0].read_bytes()
    path = tmp_path / "cut.pkl"
    for length in range(0, len(whole), 29):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.pkl: "):
            unpickle.read(path)


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
