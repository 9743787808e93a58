"""The serving bench measures what it names and leaves a file."""

import json
import time

import pytest

from experiments.bench import serving


def test_timed_sees_the_median_and_the_tail():
    waits = iter([0.0] + [0.001] * 98 + [0.02] * 2)
    median, tail = serving.timed(lambda: time.sleep(next(waits)), 100)
    assert 1000 <= median < 5000
    assert tail >= 15_000


@pytest.mark.slow
def test_everything_is_measured(tmp_path, capsys):
    assert serving.main(["--smoke", "--out", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "serving.json").read_text())
    times = {what: value for what, value in measured.items() if isinstance(value, list)}
    assert len(times) == 6
    for median, tail in times.values():
        assert median > 0
        assert tail is None or tail >= median
    assert "gateway's gate" in capsys.readouterr().out
