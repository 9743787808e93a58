"""The comparison of stacks: differences by hand, and a smoke run."""

import numpy as np
import pandas as pd
import pytest

from experiments.side import wider_stacks


def test_the_summary_is_the_paired_difference():
    found = pd.DataFrame(
        {
            "dataset": ["x"] * 4 + ["y"] * 4,
            "logger": "uniform",
            "seed": [0, 1] * 4,
            "arm": ["default", "default", "with trees", "with trees"] * 2,
            "recipe": [10.0, 20.0, 9.0, 17.0, 2.0, 4.0, 2.0, 6.0],
        }
    )
    table = wider_stacks.summary(found, "recipe").set_index("stack")
    assert table.loc["default"].tolist() == ["15.00", "3.00", "9.00"]
    # Differences -1, -3 and 0, 2: variances 2, so standard errors sqrt(2 / 2).
    assert table.loc["with trees", "x"] == "-2.00 ± 1.00"
    assert table.loc["with trees", "y"] == "+1.00 ± 1.00"
    assert table.loc["with trees", "all"] == f"-0.50 ± {np.std([-1, -3, 0, 2], ddof=1) / 2:.2f}"


@pytest.mark.slow
def test_the_smoke_run_measures_every_stack_and_goes_on_from_what_is_there(tmp_path, capsys, monkeypatch):
    assert wider_stacks.main(["--smoke", "--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert all(f"| {arm} " in first for arm in wider_stacks.arms(()))
    monkeypatch.setattr(wider_stacks, "measure", None)
    assert wider_stacks.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == first
