"""The bench of rows on disk: sizes, memory watched, a file and an exit status."""

import json
import time

import numpy as np
import pytest

from experiments.bench import scale


def test_the_made_up_log_is_the_same_whatever_its_length():
    short, long = next(scale.made_up(50)), list(scale.made_up(scale.WRITTEN + 30))
    assert [len(block.action) for block in long] == [scale.WRITTEN, 30]
    assert short.features.shape == (50, scale.FEATURES)
    assert not np.array_equal(long[0].features[:30], long[1].features)
    again = list(scale.made_up(scale.WRITTEN + 30))
    np.testing.assert_array_equal(long[1].quality, again[1].quality)


def test_a_peak_that_is_gone_again_was_seen():
    if np.isnan(scale.anonymous()):
        pytest.skip("the kernel does not say RssAnon")
    with scale.watched(0.001) as seen:
        held = np.ones(30_000_000)
        time.sleep(0.1)
        del held
    # 0.24 GB, less what earlier tests' threads give back meanwhile
    assert 0.1 < seen[1] - seen[0] < 0.5
    assert scale.anonymous() < seen[1] - 0.1


@pytest.mark.study
def test_bench_measures_and_says_where_memory_passes_the_limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scale, "GIGABYTES", 0.0)
    assert scale.main(["--smoke", "--out", str(tmp_path)]) == 1
    first, second = json.loads((tmp_path / "scale.json").read_text())["sizes"]
    assert (first["rows"], second["rows"]) == (4000, 8000)
    assert (first["visits"], second["visits"]) == (4, 7)
    assert min(first["rows_per_second"], first["rows_per_second_in_memory"], second["rows_per_second"]) > 100
    for way in ("", "_in_memory"):
        assert 0.01 < first[f"processor_seconds_a_million{way}"] * first[f"rows_per_second{way}"] / 1e6 < 64  # cores
    assert "over 0 GB: 4,000 rows, 8,000 rows" in capsys.readouterr().out
