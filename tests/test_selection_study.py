"""The selection study: pairs from real fits, and its summary against a count by hand."""

import pandas as pd
import pytest

from experiments.side import selection


def test_the_summary_counts_what_was_picked_right():
    found = pd.DataFrame(
        {
            "logger": "weak router",
            "dataset": ["x"] * 4 + ["y", "synthetic"],
            "seed": [0, 0, 1, 1, 0, 0],
            "difference": [0.1, -0.2, 0.3, 0.0, 0.2, 9.0],
            "standard_error": [0.2, 0.15, 0.1, 0.1, 0.05, 1.0],
            "truth": [0.05, 0.02, 0.01, 0.5, -0.04, 9.0],
        }
    )
    table = selection.summary(found).set_index("dataset")
    assert table.loc["x", "pairs"] == 3  # a difference of exactly 0 picks nothing
    assert table.loc["x", "pairs: right"] == "67 (50 to 100)"  # seed 0: one of two, seed 1: one of one
    assert table.loc["x", "z > 1"] == 2
    assert table.loc["x", "z > 1: right"] == "50 (0 to 100)"
    assert table.loc["x", "z > 2: right"] == "100 (100 to 100)"
    assert table.loc["x", "lost"] == "0.67"
    assert table.loc["x", "by a coin"] == "1.33"
    assert table.loc["real tables", "pairs"] == 4
    assert table.loc["real tables", "lost"] == "1.50"
    assert selection.summary(found[found["dataset"] == "y"]).iloc[0]["pairs: right"] == "0 (0 to 0)"


@pytest.mark.slow
def test_the_smoke_run_writes_every_pair(tmp_path, capsys):
    assert selection.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "selection" / "selection.parquet")
    routers = set(found["a"]) | set(found["b"])
    assert routers == {"plug_in_ridge", "plug_in_knn", "plug_in_stack", "recommended"}
    assert len(found) == 2 * 6
    assert found[["difference", "truth"]].abs().max(axis=None) < 1
    assert (found["standard_error"] >= 0).all()
    assert "| synthetic" in capsys.readouterr().out
