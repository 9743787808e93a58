"""The bench of fitting beside an earlier commit: its medians and ratios, and what it runs."""

from pathlib import Path

import pytest

from experiments.bench import fit
from jaxroute.types import InputError


def test_ratios_are_to_the_earlier_commit_and_of_decisions_to_the_peer():
    old = [fit.Found("fit, full cache", "s", seconds) for seconds in (30.0, 50.0, 40.0)]
    now = [fit.Found("fit, full cache", "s", 8.0), fit.Found("fit, 20,000 rows, memory", "MB", 900.0)]
    asked = [fit.Found("a million prompts", "ns each", 3.0), fit.Found(f"{fit.PEER}a million prompts", "ns each", 2.0)]
    asked.append(fit.Found("a million prompts, 32 cost weights", "ns each", 4.0))
    found = fit.summary({"old": [*old, fit.Found("a million prompts", "ns each", 6.0)], "now": [*now, *asked]})
    assert found["fit, full cache"] == {"unit": "s", "old": 40.0, "now": 8.0, "ratio": 0.2, "aim": 1 / 5}
    million = {"unit": "ns each", "old": 6.0, "now": 3.0, "peer": 2.0, "ratio": 1.5, "aim": 1}
    assert found["a million prompts"] == million
    assert found["a million prompts, 32 cost weights"]["ratio"] == 2.0
    assert found["fit, 20,000 rows, memory"] == {"unit": "MB", "now": 900.0}
    assert fit.table(found, "abc").row_count == len(found)


def test_a_process_is_measured_and_a_failed_one_is_no_number(tmp_path):
    read = fit.spent(tmp_path, tmp_path, "-c", "print(input() * 2)", text="ab\n")
    assert read.printed == "abab\n"
    assert 0 < read.cpu < 60
    assert 1 < read.megabytes < 1000
    with pytest.raises(RuntimeError, match="no such thing"):
        fit.spent(tmp_path, tmp_path, "-c", "raise SystemExit('no such thing')")


def test_a_commit_that_the_history_lacks_is_said():
    with pytest.raises(InputError, match="is not in the history"), fit.checkout("0" * 40):
        pass


@pytest.mark.study
def test_a_commit_is_checked_out_and_removed():
    with fit.checkout("HEAD") as tree:
        assert (tree / "jaxroute" / "cli").is_dir()
    assert not Path(tree).exists()
