"""People's logs: exact content, or every problem at once."""

import json

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import logs
from jaxroute.types import InputError

GOOD = pd.DataFrame(
    {"prompt": ["007", "NA", "c"], "model": ["b", "a", "b"], "quality": [1.0, np.nan, 0.5], "cost": [0.1, 0.2, 0.3]}
)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_exact_content(tmp_path, kind):
    file = tmp_path / f"log.{kind}"
    if kind == "jsonl":
        GOOD.to_json(file, orient="records", lines=True)
    else:
        GOOD.to_csv(file, index=False) if kind == "csv" else GOOD.to_parquet(file)
    for path in (file, tmp_path):
        log = logs.load(path)
        assert log.prompt.tolist() == ["007", "NA", "c"]
        assert log.models == ("a", "b")
        assert log.action.tolist() == [1, 0, 1]
        np.testing.assert_array_equal(log.quality, GOOD.quality)
        np.testing.assert_allclose(log.cost, GOOD.cost)
        assert log.counts["missing quality"] == 1
        assert np.isnan(log.propensity).all()


def test_every_problem_is_listed_or_dropped(tmp_path):
    bad = pd.DataFrame({"prompt": ["x"] * 12, "model": "a", "quality": 2.0, "cost": [-1.0] * 2 + [1.0] * 10})
    file = tmp_path / "log.csv"
    pd.concat([GOOD, bad]).to_csv(file, index=False)
    with pytest.raises(InputError) as error:
        logs.load(file)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("quality is outside [0, 1]: 12 row(s)")
    assert len(lines) == 1 + 10 + 1 + 2
    assert lines[-1] == f"  {file}, row 4, column 'cost'"
    log = logs.load(file, drop_bad=True)
    assert len(log.prompt) == 3
    assert log.counts["dropped"] == 12


def test_tokens_prices_and_names(tmp_path):
    file = tmp_path / "log.jsonl"
    rows = [{"q": "x", "model": m, "quality": 1, "input_tokens": 1000, "output_tokens": 500} for m in "ab"]
    file.write_text("\n".join(map(json.dumps, rows)))
    log = logs.load(file, columns={"prompt": "q"}, prices={"a": (1, 2), "b": (10, 20)})
    np.testing.assert_allclose(log.cost, [0.002, 0.02])
    with pytest.raises(InputError, match="model is not in the price table: 1 row"):
        logs.load(file, columns={"prompt": "q"}, prices={"a": (1, 2)})
    file.write_text('{"q": ')
    with pytest.raises(InputError, match="damaged"):
        logs.load(file)


@pytest.mark.parametrize("sets", [["a|b", None, "b|c"], [["a", "b"], None, ["b", "c"]]])
def test_candidate_sets_and_duplicates(tmp_path, sets):
    file = tmp_path / "log.parquet"
    frame = GOOD.assign(available=sets, request_id=["1", "2", "3"])
    frame.to_parquet(file)
    log = logs.load(file)
    assert log.models == ("a", "b", "c")
    assert log.available.tolist() == [[True, True, False], [True] * 3, [False, True, True]]
    frame.assign(model=["b", "a", "a"], request_id=["1", "2", "1"]).to_parquet(file)
    with pytest.raises(InputError) as error:
        logs.load(file)
    assert "request_id occurs before: 1 row" in str(error.value)
    assert "available lacks the chosen model: 1 row" in str(error.value)
