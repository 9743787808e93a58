"""The study of shadow samples: summaries against counts by hand, and runs that go on where they were."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import side_problem

from experiments.problem import table
from experiments.side import shadow


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return side_problem.smoke(tmp_path_factory.mktemp("data"))


def test_the_summary_pairs_by_table_and_seed():
    bought = {"prompts": 40, "models": 2, "answers": 80, "dollars": 60.0}
    judged = {"log's share": 5.0, "stack": 5.0, "share": 0.5}
    rows = []
    for dataset, of in (
        ("x", ([3.0, 4.0], [2.0, 3.5], [2.5, 3.0])),
        ("y", ([1.0, 1.0], [1.0, 2.0], [0.0, 0.0])),
        ("synthetic", ([9.0, 9.0], [9.0, 9.0], [0.0, 0.0])),
    ):
        for way, regrets in zip(("log", "random 40", "information 40"), of, strict=True):
            rows += [
                {"dataset": dataset, "seed": seed, "way": way, "recipe": regret} | bought | judged
                for seed, regret in enumerate(regrets)
            ]
    table = shadow.summary(pd.DataFrame(rows)).set_index(["dataset", "way"])
    assert table.loc[("x", "log"), "less log"] == table.loc[("x", "random 40"), "less random"] == "-"
    assert table.loc[("x", "random 40"), "recipe"] == "2.75"
    assert table.loc[("x", "random 40"), "less log"].startswith("-0.75 [")
    assert table.loc[("x", "information 40"), "less random"].startswith("+0.00 [")
    half = 12.706 * np.std([-0.25, -1.25], ddof=1) / np.sqrt(2)  # seed 0: (0.5 - 1) / 2, seed 1: (-0.5 - 2) / 2
    together = table.loc[("real tables", "information 40"), "less random"]
    assert together == f"-0.75 [{-0.75 - half:+.2f}, {-0.75 + half:+.2f}]"


def test_the_gap_goes_from_a_stack_on_the_log_to_full_feedback():
    of = {"log": (4.0, 5.0), "random 40": (2.0, 3.0), shadow.FIRST: (7.0, 7.0), shadow.FULL: (1.0, 1.0)}
    rows = [
        {"dataset": dataset, "seed": 0, "way": way, "recipe": recipe + more, "stack": stack + more}
        for dataset, more in (("x", 0.0), ("y", 10.0))
        for way, (recipe, stack) in of.items()
        if (dataset, way) != ("y", "random 40")
    ]
    found = pd.DataFrame(rows).assign(prompts=np.nan, models=np.nan, answers=np.nan, dollars=np.nan)
    table = shadow.summary(found).set_index(["dataset", "way"])
    for dataset in ("x", "real tables"):  # the other table has no shadow
        for way, first, stack in (("log", "50%", "25%"), ("random 40", "83%", "75%")):
            assert table.loc[(dataset, way), "gap closed"] == f"{first} ({first} to {first})"  # (7 - 4) / (7 - 1)
            assert table.loc[(dataset, way), "of the stack's"] == f"{stack} ({stack} to {stack})"  # (5 - 4) / (5 - 1)
    assert table.loc[("x", shadow.FULL), "gap closed"] == table.loc[("x", "log"), "prompts"] == "-"


@pytest.mark.study
def test_more_answers_decide_better_than_the_log(smoke):
    """On the smoke problem, as everywhere, whoever saw every answer to the log's prompts decides best."""
    data = table.prepare(dataclasses.replace(smoke, seeds=4))
    rows = data.rows[0]
    found = shadow.measure(smoke, data.table, 0, rows, ways=("log", shadow.FULL), size=200, pool=20, a_row=1.0)
    assert found["way"].tolist() == ["log", shadow.FULL]
    assert found["recipe"].iloc[1] < found["recipe"].iloc[0]


@pytest.mark.study
def test_the_smoke_run_goes_on_where_it_was(tmp_path, capsys):
    assert shadow.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert "| synthetic | random 40 |" in capsys.readouterr().out
    path = tmp_path / "shadow" / "shadow.parquet"
    first = pd.read_parquet(path)
    assert first.groupby("seed")["way"].agg(set).tolist() == [set(shadow.SMOKE)] * 2
    asked, every = (first[first["way"].str.startswith(rule)] for rule in ("information", "random"))
    assert (asked["models"] <= 10).all()
    assert (asked["answers"] <= asked["models"] * asked["prompts"]).all()
    assert (every["answers"] == 10 * every["prompts"]).all()
    kept, lost = sorted(tmp_path.glob("cells/shadow-smoke-*.parquet"))
    written = kept.stat().st_mtime_ns
    lost.unlink()
    assert shadow.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert kept.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(pd.read_parquet(path), first)
