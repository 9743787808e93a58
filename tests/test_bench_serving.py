"""The serving bench measures what it names and leaves a file."""

import importlib.util
import json
import time

import pytest

from experiments.bench import serving


def test_timed_sees_the_median_and_the_tail():
    waits = iter([0.0] + [0.001] * 98 + [0.02] * 2)
    median, tail = serving.timed(lambda: time.sleep(next(waits)), 100)
    assert 1000 <= median < 5000
    assert tail >= 15_000


def test_each_is_the_second_call_by_the_prompt():
    waits = iter([0.2, 0.01])
    nanoseconds, tail = serving.each(lambda: time.sleep(next(waits)), 100)
    assert 1e5 <= nanoseconds < 1e6
    assert tail is None


@pytest.mark.study
def test_everything_is_measured(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "litellm" else find(name, *more)
    )
    assert serving.main(["--smoke", "--out", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "serving.json").read_text())
    times = {what: value for what, value in measured.items() if isinstance(value, list)}
    assert sum("20,000 prompts at once" in what for what in times) == 3
    assert sum("1,000 prompts at once" in what for what in times) == 1  # kNN: as many as the log has rows
    assert sum("32 cost weights" in what for what in times) == 2
    assert len(times) == 9
    for median, tail in times.values():
        assert median > 0
        assert tail is None or tail >= median
    said = capsys.readouterr().out
    assert "gateway's gate" in said
    assert said.count("not measured: what LiteLLM's requests pay") == 1


@pytest.mark.study
@pytest.mark.filterwarnings("ignore")  # LiteLLM's own, of many kinds
def test_requests_of_litellm_are_measured():
    litellm = pytest.importorskip("litellm")
    times = serving.gateway(rows=200, calls=20)
    assert len(times) == 6
    measured = {what: median for what, (median, _) in times.items() if not what.endswith("added by us")}
    assert all(median > 0 for median in measured.values())  # the clock may say anything of a difference
    assert times["of that, encoding the text"][0] < 2 * times["LiteLLM's pre-call hook, one text"][0]
    assert litellm.callbacks == []
