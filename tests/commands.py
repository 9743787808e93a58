"""Run a command of the command line in this process, and what tests of several commands share."""

import json

import pandas as pd
import pytest

from jaxroute import cli


def run(capsys, *arguments):
    """(exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return exit_.value.code or 0, printed.out, printed.err


def by_weight(out):
    """The rows of an object of --json."""
    return json.loads(out)["by_cost_weight"]


def answered_by_all(folder, path, rows=60):
    """So many prompts of the later log as a full table in which the large model is best."""
    log = pd.read_json(folder / "later.jsonl", lines=True).head(rows)
    queries = pd.DataFrame({"query_id": log.request_id, "prompt": log.prompt, "task": "demo"})
    answers = [
        {"query_id": q, "model": m, "quality": quality, "cost": cost}
        for q in queries.query_id
        for m, quality, cost in (("small", 0.4, 0.001), ("medium", 0.6, 0.002), ("large", 0.9, 0.01))
    ]
    path.mkdir()
    queries.to_parquet(path / "queries.parquet")
    pd.DataFrame(answers).to_parquet(path / "outcomes.parquet")
    return path
