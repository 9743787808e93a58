"""Result files of evaluation tools, and what tests of them read off a table."""

from pathlib import Path

import pytest

from jaxroute.data import harness

DATA = Path(__file__).parent / "data" / "harness"
SHARED = Path(__file__).parents[2] / "shared" / "cases" / "harness"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not on this machine")


def joined(*runs, **options):
    return harness.join([one for run in runs for one in harness.read(run)], **options)


def wide(found, column="quality"):
    """{query_id: {model: value}}, models in the table's order."""
    return {
        name: rows.set_index("model")[column].to_dict() for name, rows in found.outcomes.groupby("query_id", sort=False)
    }


def near(expected):
    return {name: {model: pytest.approx(y, nan_ok=True) for model, y in row.items()} for name, row in expected.items()}
