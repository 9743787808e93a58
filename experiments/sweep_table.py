"""The table of a sweep on the console: the best setting of every method and cost weight."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

SHORT = {
    "learning_rate": "rate",
    "weight_decay": "decay",
    "temperature": "temp.",
    "entropy": "entropy",
    "clip": "clip",
    "width": "width",
}


def best_settings(results: pd.DataFrame) -> pd.DataFrame:
    """Per method and cost weight, the surviving setting with the best mean validation value: one row each."""
    keys = ["method", "cost_weight", "hyperparameters"]
    wide = results.assign(what=results["split"] + " " + results["metric"])
    wide = wide.pivot_table(index=keys, columns="what", values="value", aggfunc="mean").reset_index()
    wide = wide[wide["validation dropped_at"] < 0].sort_values("validation utility", ascending=False, kind="stable")
    return wide.groupby(["method", "cost_weight"], sort=True).head(1).sort_values(["method", "cost_weight"])


def print_table(results: pd.DataFrame, count: int) -> None:
    """The best setting per method and cost weight, on the console."""
    table = Table(title=f"{count} routers; best setting per cost weight by validation value, mean over seeds")
    columns = ("method", "cost weight", "validation", "test utility", "test regret", "hidden", *SHORT.values())
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for _, row in best_settings(results).iterrows():
        numbers = json.loads(row["hyperparameters"])
        values = (row["validation utility"], row["test utility"], row["test regret"])
        table.add_row(
            row["method"],
            f"{row['cost_weight']:g}",
            *(f"{100 * value:.2f}" for value in values),
            "x".join(map(str, numbers["hidden"])) or "linear",
            *(f"{numbers[name]:.2g}" if name != "width" else f"{numbers[name]:.0f}" for name in SHORT),
        )
    Console(width=140).print(table)
    steps, numbers = np.unique(results.loc[results["metric"] == "dropped_at", "value"], return_counts=True)
    for step, number in zip(steps, numbers, strict=True):
        print(f"{number} routers " + ("were trained to the end" if step < 0 else f"dropped after step {step:.0f}"))
    print("validation values chose the settings and the steps, so they are optimistic; test values are not")
