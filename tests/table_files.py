"""A table of three prompts and two models, as a folder and as a wide file."""

import re

import numpy as np
import pandas as pd
import pytest

from jaxroute.types import InputError


def queries():
    return pd.DataFrame({"query_id": ["a", "b", "c"], "prompt": ["2+2?", "None", "007"], "task": ["m/x", "m/y", "n/z"]})


def outcomes():
    """Long, complete but for model large on query c."""
    return pd.DataFrame(
        [
            ("a", "small", 1.0, 0.1),
            ("a", "large", 0.5, 2.0),
            ("b", "large", 1.0, 3.0),
            ("b", "small", 0.0, 0.2),
            ("c", "small", 0.25, 0.0),
        ],
        columns=["query_id", "model", "quality", "cost"],
    )


def wide():
    return pd.DataFrame(
        {
            "sample_id": ["a", "b", "c"],
            "prompt": ["2+2?", "None", "007"],
            "eval_name": ["m/x", "m/y", "n/z"],
            "small": [1.0, 0.0, 0.25],
            "large": [0.5, 1.0, np.nan],
            "small|model_response": ["4", "?", "7"],
            "small|total_cost": [0.1, 0.2, 0.0],
            "large|total_cost": [2.0, 3.0, np.nan],
            "oracle_model_to_route_to": ["small", "large", "small"],
        }
    )


def write_folder(path, queries, outcomes, features=None):
    path.mkdir(exist_ok=True)
    queries.to_parquet(path / "queries.parquet")
    outcomes.to_parquet(path / "outcomes.parquet")
    if features is not None:
        np.save(path / "features.npy", features)
    return path


def one_line(load, message, folder):
    with pytest.raises(InputError) as caught:
        load()
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
