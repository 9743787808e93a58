"""The logs' bench measures fresh processes and leaves a file."""

import json
import tracemalloc

import numpy as np
import pytest

from experiments.bench import encoding, logs
from jaxroute.data import logs as people
from jaxroute.data import records


def test_bench_reads_every_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logs, "measure", logs.read)  # in this process: a fresh one takes seconds to import
    monkeypatch.setattr(encoding, "at_hand", lambda: [])
    monkeypatch.setattr(logs, "GIGABYTES", 1e3)  # this process holds what earlier tests held, too
    monkeypatch.setattr(logs, "SPANS", 1e3)  # few rows take no time to speak of
    assert logs.main(["--rows", "3000", "--out", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "logs.json").read_text())
    assert set(measured) == {*logs.KINDS, "environment"}
    for kind in logs.KINDS:
        assert (measured[kind]["rows"], measured[kind]["dropped"]) == (2997, 3)
        assert 0 < measured[kind]["seconds"] < 60
    monkeypatch.setattr(logs, "GIGABYTES", 0.0)
    assert logs.main(["--rows", "2000", "--out", str(tmp_path)]) == 1
    assert "or 0 GB: parquet, csv, jsonl, otlp.jsonl" in capsys.readouterr().out


def test_spans_are_the_same_log_and_answers_cost_no_memory(tmp_path, monkeypatch):
    """The peak of reading is of the table and of one chunk, however long the answers are that no one reads."""
    monkeypatch.setattr(records, "BYTES", 1_000_000)
    frame = logs.requests(1000)
    peaks = []
    for length in (10, 20_000):
        file = tmp_path / "log.otlp.jsonl"
        with file.open("w") as lines:
            lines.writelines(logs.spans(frame, "x" * length))
        tracemalloc.start()
        log = people.load(file, drop_bad=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert file.stat().st_size > 20 * records.BYTES
    assert peaks[1] - peaks[0] < 5 * records.BYTES  # of a line of 2 MB, as text and as objects
    logs.write(frame, tmp_path / "log.jsonl")
    plain = people.load(tmp_path / "log.jsonl", drop_bad=True)
    for field in ("prompt", "action", "quality", "timestamp", "group", "request_id"):
        np.testing.assert_array_equal(getattr(log, field), getattr(plain, field))
    for field in ("cost", "propensity"):
        np.testing.assert_allclose(getattr(log, field), getattr(plain, field), rtol=1e-5)


def test_peak_sees_what_was_held():
    before = logs.peak()
    held = np.ones(max(before // 8, 10_000_000))
    assert logs.peak() >= held.nbytes


@pytest.mark.study
def test_a_fresh_process(tmp_path):
    logs.write(logs.requests(2000), tmp_path / "log.jsonl")
    took = logs.measure(tmp_path / "log.jsonl")
    assert took["dropped"] == 2
    assert 0.05 < took["gigabytes"] < 1
