"""What commands show to people: progress while they work, reasons and tables."""

import re
import time

import pytest
from commands import run

from jaxroute.cli import judged, progress
from jaxroute.cli.sheets import show
from jaxroute.data import logs as people
from jaxroute.types import InputError


def test_progress_is_said_off_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with progress.progress({"first": 0.0, "second": 0.5}) as stage:
        for name in ("first", "second"):
            stage(name)
            time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("first: 0 s so far") for line in lines)
    assert any(line.startswith("second: ") and "% done" in line for line in lines)


@pytest.mark.parametrize("command", [("doctor",), ("fit", "--out", "router", "--method", "plug_in_mean")])
def test_reading_and_encoding_a_large_log_are_said_too(capsys, monkeypatch, tmp_path, command):
    """They take half of the time of doctor and a fifth of that of fit, in which nothing was said."""
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "demo-log", "log.jsonl", "--rows", "200")[0] == 0
    monkeypatch.setattr(progress, "EVERY", 0.02)

    def slowly(*given, **named):
        time.sleep(0.1)
        return load(*given, **named)

    def encodes(*given):
        time.sleep(0.1)
        raise InputError("the rest of the command is tested elsewhere")

    load = people.load
    monkeypatch.setattr(people, "load", slowly)
    monkeypatch.setattr(people, "as_logs", encodes)
    name, *options = command
    _, _, said = run(capsys, name, "log.jsonl", *options)
    assert re.search(r"^reading log.jsonl: 0 s so far$", said, re.M)
    assert re.search(r"^encoding 200 prompts: 0 s so far$", said, re.M)
    _, _, said = run(capsys, name, "log.jsonl", *options, "--quiet")
    assert "so far" not in said


def test_reasons_are_said_once_for_all_cost_weights_that_share_them():
    rows = [{"normalised_cost_weight": w, "verdict": "refuse", "reasons": ["few rows"]} for w in (1, 2)]
    fine = {"normalised_cost_weight": 0, "verdict": "ok", "reasons": ["many rows"]}
    assert judged.reasons([fine, *rows]) == ["refuse at cost weights 1, 2: few rows"]


def test_a_narrow_table_breaks_headings_before_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    header = ["model", "rows", "share", "feedback", "quality", "cost", "evaluating it", "rows needed"]
    lines = [
        ["medium", 803, 0.803, 0.9004, 0.6653, 0.0010334, "caution", 0],
        ["small", 98, 0.098, 0.8878, 0.4713, 2e-4, "ok", 13],
    ]
    show("models", header, lines)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 60
    assert all(figure in out for figure in ("medium", "803", "0.9004", "0.001033", "caution", "0.0002"))


@pytest.mark.parametrize("columns", [30, 80, 120])
def test_a_table_keeps_every_figure_and_breaks_no_number_where_there_is_room(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    header = ["model", "rows", "share", "feedback", "quality", "cost", "evaluating it", "rows needed", "p95 (s)"]
    line = ["mistral-small-latest", 12_345, 0.1175, 0.8915, 0.5048, 8.591e-05, "ok", 34_417.6, None]
    show("models", header, [line])
    out = capsys.readouterr().out
    figures = ("12,345", "0.1175", "8.591e-05", "34,420", "unknown")
    assert max(map(len, out.splitlines())) <= columns
    if columns == 30:  # folded, but nothing is cut off
        cells = [row.split("│")[1:-1] for row in out.splitlines() if row.startswith("│")]
        assert ["".join(part.strip() for part in cell) for cell in zip(*cells, strict=True)][1] == figures[0]
    else:
        assert all(figure in out for figure in figures)
