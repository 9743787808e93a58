"""The worked example: estimates from a held-out log beside the truth of the table."""

import pandas as pd
import pytest

from experiments.side import worked_example


@pytest.mark.slow
def test_the_smoke_run_writes_estimates_and_truth(tmp_path, capsys):
    assert worked_example.main(["--smoke", "--out", str(tmp_path)]) == 0
    frame = pd.read_parquet(tmp_path / "worked_example" / "values.parquet")
    assert len(frame) == 3
    assert frame["truth"].between(0, 1).all()
    assert (frame["truth"].diff().dropna() < 0).all()  # a higher cost weight is worth less
    refused = frame["verdict"] == "refuse"  # 200 rows: whatever is not refused has an interval
    held = frame[~refused]
    assert frame.loc[refused, ["low", "high", "hidden_low", "flips_at"]].isna().all(axis=None)
    assert (held["band_low"] < held["low"]).all()
    assert (held["low"] < held["value"]).all()
    gains = pd.read_parquet(tmp_path / "worked_example" / "gains.parquet")
    assert set(gains["against"]) == {"logging policy", "best_single"}
    assert "valued from a held-out log" in capsys.readouterr().out


def test_an_unknown_router_is_refused(tmp_path, capsys):
    assert worked_example.main(["--smoke", "--method", "nope", "--out", str(tmp_path)]) == 2
    assert "unknown method 'nope'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
