"""Rows of a good log, of which tests spoil one or another."""

import json

import numpy as np
import pandas as pd

GOOD = pd.DataFrame(
    {"prompt": ["007", "NA", "c"], "model": ["b", "a", "b"], "quality": [1.0, np.nan, 0.5], "cost": [0.1, 0.2, 0.3]}
)


def lines(*rows, **common):
    """JSON lines of rows that are good but for what is said of them."""
    plain = {"prompt": "p", "model": "a", "quality": 1, "cost": 1}
    return "\n".join(json.dumps(plain | common | row) for row in rows)
