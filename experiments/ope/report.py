"""What the off-policy study found: tidy rows, printed tables, figures. Host side, no JAX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as Grid

from experiments import storage
from jaxroute import estimators

MC = 1.96  # Monte Carlo errors are of many draws
SHOWN = ("ipw", "snipw", "dr", "sndr")  # drawn; all are in the tables
BIASED = ("direct", "switch", "shrinkage")
"""Estimators whose intervals carry the outcome model's bias, see ``estimators.interval``."""


def label(estimator: str) -> str:
    """An estimator's name as tables and figures show it."""
    return f"{estimator} (carries the model's bias)" if estimator in BIASED else estimator


class Cell(NamedTuple):
    """One design: truth [T], estimates (value, error, effective size) [R, E, T], verdicts of some draws [R', T]."""

    design: Any
    truth: np.ndarray
    got: Any
    verdict: np.ndarray
    smallest_propensity: float


def tidy(
    dataset: str, cells: Sequence[Cell], names: Sequence[str], policies: Sequence[str], weight: float
) -> pd.DataFrame:
    """One row per design, estimator, policy and metric, in the schema of all results.

    Per policy: bias, rmse, coverage and width of the 95% intervals, each with its Monte Carlo error. Over all
    policies of a draw (policy "all"): rank_correlation with the truth and selection_regret.
    """
    rows: list[dict[str, Any]] = []
    for cell in cells:
        value, error = np.asarray(cell.got.value, float), np.asarray(cell.got.standard_error, float)
        miss = value - cell.truth
        half = estimators.half_width(cell.got.effective_sample_size) * error
        covered = np.abs(miss) <= half
        per_draw = {
            "bias": miss,
            "squared_error": miss**2,
            "coverage": covered.astype(float),
            "width": 2 * half,
        }
        rank = np.argsort(np.argsort(value, -1), -1) - (len(cell.truth) - 1) / 2
        true_rank = np.argsort(np.argsort(cell.truth)) - (len(cell.truth) - 1) / 2
        correlation = (rank * true_rank).sum(-1) / (true_rank**2).sum()
        regret = cell.truth.max() - cell.truth[np.argmax(value, -1)]
        judged = len(cell.verdict)
        base = {
            "dataset": dataset, "logger": cell.design.logger, "log_size": cell.design.rows, "cost_weight": weight,
            "seed": len(value), "split": "simulation",
            "hyperparameters": json.dumps(
                cell.design._asdict() | {"design": cell.design.name, "promised": cell.design.promised,
                                         "smallest_propensity": round(cell.smallest_propensity, 4)}
            ),
        }  # fmt: skip

        def add(method: str, estimator: str, metric: str, x: np.ndarray, base: dict[str, Any] = base) -> None:
            x = x[np.isfinite(x)]
            spread = x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
            mean = x.mean() if len(x) else np.nan
            if metric == "squared_error":
                metric, mean, spread = "rmse", np.sqrt(mean), spread / (2 * np.sqrt(mean)) if mean else 0.0
            rows.append(base | {"method": method, "estimator": estimator, "metric": metric, "value": mean,
                                "standard_error": spread})  # fmt: skip

        for e, name in enumerate(names):
            for t, policy in enumerate(policies):
                for metric, x in per_draw.items():
                    add(policy, name, metric, x[:, e, t])
            add("all", name, "rank_correlation", correlation[:, e])
            add("all", name, "selection_regret", regret[:, e])
        ok = cell.verdict == "ok"
        add("all", "sndr", "verdict_ok", ok.mean(1))
        add("all", "sndr", "verdict_refuse", (cell.verdict == "refuse").mean(1))
        missed = ~covered[:judged, list(names).index("sndr")]
        add("all", "sndr", "missed_although_ok", missed[ok].astype(float))
        add("all", "sndr", "missed_when_refused", missed[cell.verdict == "refuse"].astype(float))
    return pd.DataFrame(rows)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per design and estimator: worst and mean over policies. Values and errors in points."""
    frame = frame.assign(design=frame["hyperparameters"].map(lambda h: json.loads(h)["design"]))
    own, every = frame[frame["method"] != "all"], frame[frame["method"] == "all"]
    wide = own.pivot_table(index=["design", "estimator", "method"], columns="metric", values="value", sort=False)
    grouped = wide.groupby(level=["design", "estimator"], sort=False)
    lowest = own[own["metric"] == "coverage"]
    lowest = lowest.loc[lowest.groupby(["design", "estimator"], sort=False)["value"].idxmin()]
    result = pd.DataFrame(
        {
            "largest bias": 100 * grouped["bias"].agg(lambda x: max(x, key=abs)),
            "rmse": 100 * np.sqrt((wide["rmse"] ** 2).groupby(level=["design", "estimator"], sort=False).mean()),
            "width": 100 * grouped["width"].mean(),
            "coverage": 100 * grouped["coverage"].mean(),
            "lowest coverage": 100 * grouped["coverage"].min(),
        }
    )
    lowest = lowest.set_index(["design", "estimator"])
    result["its Monte Carlo error"] = 100 * lowest["standard_error"]
    for metric, factor in (("rank_correlation", 1), ("selection_regret", 100)):
        part = every[every["metric"] == metric].set_index(["design", "estimator"])["value"]
        result[metric.replace("_", " ")] = factor * part
    return result


def promise(frame: pd.DataFrame) -> pd.DataFrame:
    """Lowest and highest coverage over policies of dr and sndr in the designs that promise it, with 95% error."""
    frame = frame[frame["metric"].eq("coverage") & frame["estimator"].isin(["dr", "sndr"])]
    frame = frame.assign(about=frame["hyperparameters"].map(json.loads))
    frame = frame[frame["about"].map(lambda a: a["promised"])]
    frame = frame.assign(design=frame["about"].map(lambda a: a["design"]))
    grouped = frame.groupby(["design", "estimator"], sort=False)["value"]
    low = frame.loc[grouped.idxmin()].set_index(["design", "estimator"])
    return pd.DataFrame(
        {
            "lowest": 100 * low["value"],
            "-+": 100 * MC * low["standard_error"],
            "policy": low["method"],
            "highest": 100 * grouped.max(),
        }
    )


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of draws and policies by verdict, and how often the sndr interval missed under each."""
    names = ("verdict_ok", "missed_although_ok", "verdict_refuse", "missed_when_refused")
    part = frame[frame["metric"].isin(names)]
    part = part.assign(design=part["hyperparameters"].map(lambda h: json.loads(h)["design"]))
    wide = part.pivot_table(index="design", columns="metric", values="value", sort=False)
    return 100 * wide.reindex(columns=list(names))  # a verdict that never came has no column of its own


def figures(frame: pd.DataFrame, estimators: Sequence[str]) -> dict[str, Any]:
    """Coverage and error by design. Lowest coverage over policies, with its Monte Carlo interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    table = summary(frame)
    designs = list(dict.fromkeys(table.index.get_level_values("design")))
    height = np.arange(len(designs))[::-1]
    labels = [d.replace(", outcomes", "\noutcomes") for d in designs]
    drawn = {}
    for name, column, title in (
        ("coverage", "lowest coverage", "Lowest coverage over eight policies of nominal 95% intervals, %"),
        ("rmse", "rmse", "Root mean squared error over eight policies, points"),
    ):
        figure, axis = plt.subplots(figsize=(9, 0.55 * len(designs) + 1.6), layout="constrained")
        shown = [e for e in SHOWN if e in estimators] if name == "coverage" else list(estimators)
        for i, estimator in enumerate(shown):
            part = table.xs(estimator, level="estimator").loc[designs]
            bars = MC * part["its Monte Carlo error"] if name == "coverage" else None
            offset = height + 0.6 * ((len(shown) - 1) / 2 - i) / len(shown)
            axis.errorbar(part[column], offset, xerr=bars, fmt="osD^v<>P"[i], markersize=4, label=label(estimator))
        if name == "coverage":
            axis.axvline(95, color="grey", linewidth=1)
            axis.axvline(93, color="grey", linewidth=1, linestyle=":")
        else:
            axis.set_xscale("log")
        axis.set_yticks(height, labels, fontsize=8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.grid(axis="x", alpha=0.3)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        drawn[name] = figure
        plt.close(figure)
    return drawn


def show(table: pd.DataFrame, title: str) -> None:
    """Print one table."""
    grid = Grid(title=title)
    index = [str(n) for n in table.index.names]
    for name in (*index, *table.columns):
        grid.add_column(str(name), justify="left" if name in index else "right")
    for key, row in zip(table.index, table.to_numpy(), strict=True):
        keys = key if isinstance(key, tuple) else (key,)
        grid.add_row(*map(str, keys), *(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row))
    Console(width=190).print(grid)


def write(
    folder: Path, dataset: str, cells: Sequence[Cell], names: Sequence[str], policies: Sequence[str], weight: float
) -> pd.DataFrame:
    """Everything to ``folder``, tables to the terminal."""
    frame = tidy(dataset, cells, names, policies, weight)
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_frame(folder / "results.parquet", frame)
    storage.write_text(folder / "environment.json", json.dumps(storage.environment(), indent=1))
    for name, figure in figures(frame, names).items():
        for ending in ("png", "svg"):
            figure.savefig(folder / f"{name}.{ending}", dpi=150)
    table = summary(frame).rename(index=label, level="estimator")
    show(table, f"{dataset}: every estimator, in points; coverage in %")
    show(verdicts(frame), "the verdict, % of draws and policies; missed: the self-normalised doubly robust interval")
    show(promise(frame), "coverage where it is promised (overlap, one nuisance right), %; -+ Monte Carlo 95%")
    print(f"written: {folder}")
    return frame
