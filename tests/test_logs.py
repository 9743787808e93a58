"""People's logs: exact content, or every problem at once."""

import gzip

import numpy as np
import pandas as pd
import pytest
from log_rows import GOOD, lines

from jaxroute.data import logs
from jaxroute.types import InputError


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "csv.gz", "jsonl.gz"])
def test_exact_content(tmp_path, kind):
    file = tmp_path / "2025" / f"log.{kind}"
    file.parent.mkdir()
    if "jsonl" in kind:
        GOOD.to_json(file, orient="records", lines=True)
    else:
        GOOD.to_csv(file, index=False) if "csv" in kind else GOOD.to_parquet(file)
    (tmp_path / "readme.txt").write_text("not a log")
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "_SUCCESS.csv").write_text("")
    for path in (file, tmp_path):
        log = logs.load(path)
        assert log.prompt.tolist() == ["007", "NA", "c"]
        assert log.models == ("a", "b")
        assert log.action.tolist() == [1, 0, 1]
        np.testing.assert_array_equal(log.quality, GOOD.quality)
        np.testing.assert_allclose(log.cost, GOOD.cost)
        assert log.counts["missing quality"] == 1
        assert np.isnan(log.propensity).all()
        assert len(log) == 3
        assert log.timestamp is log.group is log.features is log.request_id is None


def test_a_folder_is_one_log_and_problems_name_the_file(tmp_path):
    GOOD.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.jsonl").write_text(lines({"prompt": "x", "cost": -1}, {"prompt": "y", "propensity": 0.5}))
    (tmp_path / "c.csv").write_text("")
    log = logs.load(tmp_path, drop_bad=True)
    assert log.prompt.tolist() == ["007", "NA", "c", "y"]
    np.testing.assert_array_equal(log.propensity, [np.nan, np.nan, np.nan, 0.5])
    with pytest.raises(InputError, match=r"b\.jsonl, row 0, column 'cost': -1$"):
        logs.load(tmp_path)


def test_every_problem_is_listed_or_dropped(tmp_path):
    bad = pd.DataFrame({"prompt": ["x"] * 12, "model": "a", "quality": 2.0, "cost": [-1.0] * 2 + [1.0] * 10})
    file = tmp_path / "log.csv"
    pd.concat([GOOD, bad]).to_csv(file, index=False)
    with pytest.raises(InputError) as error:
        logs.load(file)
    said = str(error.value).splitlines()
    assert said[0].startswith("quality is outside [0, 1]: 12 row(s)")
    assert len(said) == 1 + 10 + 1 + 2
    assert said[-1] == f"  {file}, row 4, column 'cost': -1"
    log = logs.load(file, drop_bad=True)
    assert len(log) == 3
    assert log.counts["dropped"] == 12
    assert list(log.problems) == said


ODD = {
    "prompt": [None, "", " \n", 7, True, {"a": 1}, [1], [], "\ud800"],
    "model": [None, "", " ", ["a"], {"name": "a"}, False],
    "quality": ["good", [1], {"a": 1}, 1.5, -0.1, "1_0", float("inf")],
    "cost": [None, "", "free", [1.0], {}, -1, float("inf"), 10**400],
    "propensity": [0, 1.1, "x", [0.5]],
    "timestamp": ["yesterday", {}, [1], True, float("inf")],
    "group": [["u"], {"u": 1}, True],
    "request_id": [[1], {}],
    "available": [5, [1], {"a": 1}, ["b"], "b|c", [["a"]]],
    "features": [[1, 2], [], ["x", 1, 2], [[1, 2, 3]], [1, 2, float("nan")], [1, 2, 1e300], 5, None],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in ODD for value in ODD[field]])
def test_a_bad_cell_is_named_and_costs_its_row_only(tmp_path, field, value):
    common = {"features": [1, 2, 3]} if field == "features" else {}
    file = tmp_path / "log.jsonl"
    file.write_text(lines({}, {field: value}, {"model": "b"}, **common))
    with pytest.raises(InputError, match=rf"log\.jsonl, row 1, column '{field}'") as error:
        logs.load(file)
    assert str(error.value).count("row(s)") == 1
    log = logs.load(file, drop_bad=True)
    assert log.prompt.tolist() == ["p", "p"]
    assert log.counts["dropped"] == 1


def test_rows_that_cannot_be_read(tmp_path):
    good, other = lines({}, {"model": "b"}).splitlines()
    file = tmp_path / "log.jsonl"
    torn = [b'{"prompt": ', b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"1" * 5000]
    file.write_bytes(b"\xef\xbb\xbf" + b"\n".join([good.encode(), b"", *torn, other.encode()]))
    with pytest.raises(InputError) as error:
        logs.load(file)
    said = str(error.value).splitlines()
    assert said[0].startswith("cannot be read: 5 row(s)")
    assert [line.split(":")[0].strip() for line in said[1:]] == [f"{file}, row {i}" for i in (2, 3, 4, 5, 6)]
    assert logs.load(file, drop_bad=True).models == ("a", "b")
    file = tmp_path / "log.csv"
    file.write_text('prompt,model,quality,cost\np,a,1,1\np,b,1\n"two\nlines",b,1,1\n\np,b,1,1,1\n')
    with pytest.raises(InputError, match=r"row 1: 3 cell\(s\) under 4 columns\n.*row 3: 5 cell"):
        logs.load(file)
    assert logs.load(file, drop_bad=True).prompt.tolist() == ["p", "two\nlines"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.parquet", b"PAR1 torn"),
        ("log.parquet", b""),
        ("log.csv", b'prompt,model,quality,cost\n"open,a,1,1\n'),
        ("log.csv", b"prompt,model,quality,cost,cost\np,a,1,1,1\n"),
        ("log.csv.gz", gzip.compress(b"prompt,model\n" * 99, mtime=0)[:-9]),
        ("log.jsonl.gz", b"not gzipped"),
        ("log.json", b'[{"prompt": '),
        ("log.json", b"[" * 100_000),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    for drop_bad in (False, True):
        with pytest.raises(InputError, match=name.replace(".", r"\.") + ": (damaged|column 'cost' occurs)"):
            logs.load(file, drop_bad=drop_bad)


def test_what_is_missing_is_said(tmp_path):
    file = tmp_path / "log.csv"
    for content, message in (
        ("", "no rows"),
        ("prompt,model,quality,cost\n", "no rows"),
        ("prompt,model,quality,cost\np,a,1,1\n", "all good rows are of the model a; a log needs rows of two models"),
        ("model,quality,cost\na,1,1\n", "column 'prompt' is missing"),
        ("prompt,model,cost\np,a,1\n", "column 'quality' is missing"),
        ("prompt,model,quality\np,a,1\n", "column 'cost' is missing.*price table"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=rf"log\.csv: {message}"):
            logs.load(file)
    file.write_text("prompt,model,quality,cost\np,a,1,1\n")
    for settings, message in (
        ({"columns": {"promt": "q"}}, "'promt', which is not a field"),
        ({"columns": {"group": "user"}}, "column 'user' is missing"),
        ({"quality_range": (1, 1)}, "quality_range"),
        ({"form": "csv"}, "log format 'csv' is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            logs.load(file, **settings)
    with pytest.raises(InputError, match="no such file"):
        logs.load(tmp_path / "none.csv")
    (tmp_path / "log.txt").touch()
    with pytest.raises(InputError, match=r"cannot read \.txt"):
        logs.load(tmp_path / "log.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="the folder has no log file"):
        logs.load(tmp_path / "folder")


def test_an_empty_cost_is_said_with_its_model_and_not_as_what_the_cell_holds():
    log = [{"prompt": f"p{i}", "model": "ab"[i % 2], "quality": 1, "cost": 1 if i else None} for i in range(4)]
    with pytest.raises(InputError, match=r"row 0, column 'cost', model 'a'$"):
        logs.load(log)
