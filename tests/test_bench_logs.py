"""The logs' bench measures fresh processes and leaves a file."""

import json

import numpy as np
import pytest

from experiments.bench import encoding, logs


def test_bench_reads_every_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logs, "measure", logs.read)  # in this process: a fresh one takes seconds to import
    monkeypatch.setattr(encoding, "at_hand", lambda: [])
    monkeypatch.setattr(logs, "GIGABYTES", 1e3)  # this process holds what earlier tests held, too
    assert logs.main(["--rows", "3000", "--out", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "logs.json").read_text())
    assert set(measured) == {"parquet", "csv", "jsonl", "environment"}
    for kind in logs.KINDS:
        assert (measured[kind]["rows"], measured[kind]["dropped"]) == (2997, 3)
        assert 0 < measured[kind]["seconds"] < 60
    monkeypatch.setattr(logs, "GIGABYTES", 0.0)
    assert logs.main(["--rows", "2000", "--out", str(tmp_path)]) == 1
    assert "over 60 seconds or 0 GB: parquet, csv, jsonl" in capsys.readouterr().out


def test_peak_sees_what_was_held():
    before = logs.peak()
    held = np.ones(max(before // 8, 10_000_000))
    assert logs.peak() >= held.nbytes


@pytest.mark.slow
def test_a_fresh_process(tmp_path):
    logs.write(logs.requests(2000), tmp_path / "log.jsonl")
    took = logs.measure(tmp_path / "log.jsonl")
    assert took["dropped"] == 2
    assert 0.05 < took["gigabytes"] < 1
