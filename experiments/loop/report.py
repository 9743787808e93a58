"""What the loop's rows say: tables, whether the aims are met, and the picture."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.loop.policies import BOUNDS, EXACT, OURS, UNIFORM
from experiments.loop.problem import ARRIVES, ROUNDS, SCENARIOS
from experiments.study.design import SYNTHETIC, in_order
from experiments.study.tables import interval, markdown
from jaxroute.report.canvas import COLOURS, MUTED, STYLE
from jaxroute.report.summary import student_interval

REGRET, EXCESS, EXPLORATION = "cumulative_regret", "cumulative_excess", "cumulative_exploration"
LESS, BACK, COVERED = 0.2, 0.5, 0.93
DRAWN = {
    "no exploration": (MUTED, "--"),
    "uniform 0.02": (COLOURS[0], "-"),
    "uniform 0.1": (COLOURS[0], ":"),
    "contenders, limited": (COLOURS[1], "-"),
    "thompson, fading": (COLOURS[2], "-"),
    "LinUCB": (COLOURS[3], "-"),
    "for evaluation, limited": (COLOURS[4], "-"),
}


def last(found: pd.DataFrame, scenario: str, metric: str) -> pd.DataFrame:
    """After the last round: index (table, seed), a column per policy."""
    rows = found[(found["scenario"] == scenario) & (found["round"] == ROUNDS)]
    return rows.pivot(index=["table", "seed"], columns="policy", values=metric)


def by_table(wide: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """Means over seeds: a line per policy, a column per table, and their mean over the real ones."""
    mean = wide.groupby(level="table").mean().T
    mean = mean.loc[[name for name in order if name in mean.index], in_order(mean.columns)]
    return mean.assign(**{"real tables": mean.drop(columns=SYNTHETIC, errors="ignore").mean(axis=1, skipna=False)})


def real(wide: pd.DataFrame) -> pd.DataFrame:
    return wide.drop(index=SYNTHETIC, level="table", errors="ignore")


def against(wide: pd.DataFrame, policy: str, rival: str) -> tuple[float, float, float]:
    """Policy less rival over the real tables: mean over tables within a seed, then an interval over seeds."""
    gap = real(wide)[policy] - real(wide)[rival]
    return student_interval(gap.groupby(level="seed").mean().to_numpy())


def verdict(found: pd.DataFrame) -> list[dict[str, str]]:
    """For each of our policies: regret and excess beside the best uniform epsilon, and the tables it is worse on."""
    lines = []
    for metric in (REGRET, EXCESS):
        wide = last(found, SCENARIOS[0], metric)
        uniform = [name for name in UNIFORM if name in wide]
        best = min(uniform, key=lambda name: real(wide)[name].mean())
        for policy in (name for name in OURS if name in wide):
            mean, low, high = against(wide, policy, best)
            level = real(wide)[best].mean()
            gaps = (wide[policy] - wide[best]).groupby(level="table")
            worse = [str(table) for table, gap in gaps if student_interval(gap.to_numpy())[1] > 0]
            lines.append(
                {
                    "measure": "regret" if metric == REGRET else "excess",
                    "policy": policy,
                    "best uniform": best,
                    "difference": interval(mean, low, high),
                    "per cent": f"{100 * mean / level:+.1f}",
                    "20% below": "yes" if mean <= -LESS * level else "no",
                    "significantly worse on": ", ".join(worse) or "none",
                }
            )
    return lines


def parts_of(found: pd.DataFrame) -> pd.DataFrame:
    """Excess over the real tables, and what of it is exploration and what learning: a line per policy."""
    excess, exploration = (
        real(last(found, SCENARIOS[0], name)).groupby("table").mean() for name in (EXCESS, EXPLORATION)
    )
    parts = pd.DataFrame({"excess": excess.mean(), "exploration": exploration.mean()})
    order = [name for name in dict.fromkeys(found["policy"]) if name in parts.index]
    return parts.assign(learning=parts["excess"] - parts["exploration"]).loc[order]


def bound(found: pd.DataFrame) -> list[str]:
    """Whether the aim is within reach of those that explore for free, where they were run."""
    means = real(last(found, SCENARIOS[0], EXCESS)).groupby("table").mean().mean()
    uniform = [name for name in UNIFORM if name in means]
    if not uniform or not set(BOUNDS) <= set(means.index):
        return []
    best = means[uniform].min()
    gaps = [f"{name} {means[name]:.1f} ({100 * (means[name] / best - 1):+.0f}%)" for name in BOUNDS]
    return [f"The best uniform exploration has {best:.1f}, 20% below it is {(1 - LESS) * best:.1f}: {', '.join(gaps)}."]


def arrival(found: pd.DataFrame) -> pd.DataFrame:
    """Two rounds after a model arrived: the router's regret less that of the same policy where it was always there."""
    at = found[found["round"] == ARRIVES + 2].set_index(["scenario", "policy", "table", "seed"])["regret"]
    if "new model" not in at.index.unique("scenario"):
        return pd.DataFrame()
    gap = (at.loc["new model"] - at.loc[SCENARIOS[0]]).dropna().unstack("policy")
    lines = []
    for policy in gap:
        mean = real(gap)[policy].groupby(level="seed").mean()
        tables = gap[policy].groupby(level="table").mean()
        text = {"policy": policy, "real tables": interval(*student_interval(mean.to_numpy()))}
        lines.append(text | {table: f"{tables[table]:+.2f}" for table in in_order(tables.index)})
    return pd.DataFrame(lines)


def evidence(found: pd.DataFrame) -> pd.DataFrame:
    """Half width of the interval for the next router's gain, its coverage, and how often there is one."""
    rows = found[(found["scenario"] == SCENARIOS[0]) & found["policy"].isin(EXACT)]
    lines = []
    for policy, part in rows.groupby("policy", sort=False):
        there = part["half_width"].notna()
        covered = part.loc[there, "covered"]
        lines.append(
            {
                "policy": policy,
                "half width, points (median)": f"{part['half_width'].median():.1f}",
                "coverage": f"{100 * covered.mean():.1f}%",
                "rounds with an interval": f"{100 * there.mean():.0f}%",
                "at least 93%": "yes" if covered.mean() >= COVERED else "no",
            }
        )
    return pd.DataFrame(lines)


def text(found: pd.DataFrame) -> str:
    """The page of results, in Markdown."""
    order = [name for name in dict.fromkeys(found["policy"]) if name not in BOUNDS]
    seeds = found["seed"].nunique()
    parts = [
        "# The closed loop over rounds",
        f"`make loop`: {seeds} seeds, start log of 500 rows, {ROUNDS} rounds of 300 requests. Cumulative regret is to "
        "the realised oracle, in answers' worth of quality over the 3,000 requests, exploration included. Excess is "
        "what is left of it above the same outcome model with every answer to other prompts, which no log gives.",
        "## Cumulative regret, nothing changes",
        markdown(_rounded(by_table(last(found, SCENARIOS[0], REGRET), order)), index=True),
        "## Cumulative excess, nothing changes",
        markdown(_rounded(by_table(last(found, SCENARIOS[0], EXCESS), order)), index=True),
        "## Beside the best uniform epsilon",
        "Real tables together, mean and 95% interval over seeds; below 0 the policy is better.",
        markdown(pd.DataFrame(verdict(found))),
        "## Where the excess comes from",
        "Exploration is what was served above the router's own answers, learning the rest. The lines at the end are "
        "bounds and no policies: the router's own answer is served, and at no cost the log gets the one that posterior "
        "sampling chooses, or that a policy chooses which knows the decisions of full feedback (where the router "
        "differs from them it logs either of the two), or every model's.",
        markdown(_rounded(parts_of(found)), index=True),
        *bound(found),
        "## The interval for the next router's gain",
        markdown(evidence(found)),
        "## Dollars",
        "Mean cost of 1,000 requests, in the table's unit, shadow answers included.",
        markdown(_rounded(_dollars(found, order), 4), index=True),
    ]
    for scenario in SCENARIOS[1:]:
        if scenario in set(found["scenario"]):
            parts += [f"## Cumulative excess: {scenario}"]
            parts += [markdown(_rounded(by_table(last(found, scenario, EXCESS), order)), index=True)]
    if len(late := arrival(found)):
        parts += [
            f"## Two rounds after a model arrived in round {ARRIVES}",
            f"Regret of the router in round {ARRIVES + 2}, in points, less that of the same policy where the model was "
            f"there from the start. The aim is at most {BACK}.",
            markdown(late),
        ]
    return "\n\n".join(parts) + "\n"


def _dollars(found: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    rows = found[found["scenario"] == SCENARIOS[0]]
    spent = rows.groupby(["policy", "table"])["dollars"].mean().unstack("table") / 0.3
    return spent.loc[order, in_order(spent.columns)]


def _rounded(frame: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    frame.columns.name = None
    return frame.map(lambda x: "-" if np.isnan(x) else f"{x:.{digits}f}")


def draw(found: pd.DataFrame) -> Figure:
    """Excess regret by round, a panel per table."""
    rows = found[found["scenario"] == SCENARIOS[0]]
    tables = in_order(rows["table"])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.0 * -(-len(tables) // 2) + 0.9), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(-(-len(tables) // 2), 2, squeeze=False).ravel()
        for axes in grid[len(tables) :]:
            axes.set_visible(False)
        for axes, table in zip(grid, tables, strict=False):
            axes.set_title(table)
            for policy, (colour, dash) in DRAWN.items():
                part = rows[(rows["table"] == table) & (rows["policy"] == policy)]
                line = part.groupby("round")[EXCESS].mean()
                if len(line):
                    axes.plot(line.index, line, color=colour, ls=dash, label=policy)
            axes.set_xticks(np.arange(1, ROUNDS + 1))
        figure.supxlabel("round of 300 requests", fontsize=11)
        figure.supylabel("cumulative regret above full feedback (answers)", fontsize=11)
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=10)
    return figure
