"""What to expect after a day, a week and a month at 1,000 requests a day: the loop with a day as its round.

    make loop MONTH=1 DATA=<folder of tables>        SMOKE=1 for a run of seconds

One table (--table), whose prompts come again in another order when all were asked; the rest is as in
`experiments.loop`: 500 rows of a weak router to start from, a fit after every day, five seeds. All answers are rated,
or a tenth of them and a day late.

Writes results/loop/month.parquet (a row per policy, feedback, seed and day) and month.md.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from experiments import commands, storage
from experiments.cells import Cells
from experiments.loop import problem
from experiments.loop.__main__ import FIRST_SEED, measured_once
from experiments.study import design
from experiments.study.tables import markdown, plus_minus
from jaxroute.types import InputError

PER_DAY, DAYS = 1000, {"a day": 1, "a week": 7, "a month": 30}
TABLE, SEEDS = "mmlu-pro", 5
RATED = {"stationary": "all", "tenth rated, late": "a tenth, a day late"}
POLICIES = ("no exploration", "uniform 0.02", "thompson, fading", "for evaluation, limited")


def measured(data: Path, out: Path, table: str, *, smoke: bool) -> pd.DataFrame:
    """Every policy under both kinds of feedback, one day longer than the last that is reported."""
    configs = {each.name: config for each, config in design.centres(data, smoke=smoke)}
    if table not in configs:
        raise InputError(f"--table is {table!r}; there are {', '.join(configs)}")
    config = dataclasses.replace(configs[table], seeds=2 if smoke else SEEDS, first_seed=FIRST_SEED)
    loop = problem.make(config, rounds=max(DAYS.values()) + 1, requests=100 if smoke else PER_DAY)
    cells, frames = Cells(out / "loop" / "cells"), []
    for scenario in RATED:
        for policy in POLICIES[:2] if smoke else POLICIES:
            frame = measured_once(cells, f"{table}-month", loop, scenario, policy)
            dollars = frame["dollars"] * PER_DAY / loop.requests
            frames.append(frame.assign(table=table, scenario=scenario, policy=policy, dollars=dollars))
    return pd.concat(frames, ignore_index=True)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A line per feedback, policy and time that has passed."""
    lines = []
    for (scenario, policy), part in found.groupby(["scenario", "policy"], sort=False):
        regret, excess, half_width, dollars = (
            part.pivot(index="seed", columns="round", values=name)
            for name in ("regret", "cumulative_excess", "half_width", "dollars")
        )
        for passed, day in DAYS.items():
            there = half_width[day][lambda width: width > 0]  # 0: no rating has come, the next router is this one
            lines.append(
                {
                    "rated": RATED[str(scenario)],
                    "after": passed,
                    "policy": policy,
                    "router's gain over the first, points": plus_minus(regret[1] - regret[day + 1]),
                    "router's regret, points": f"{regret[day + 1].mean():.2f}",
                    "excess so far, answers": f"{excess[day].mean():.0f}",
                    "half width of the day, points": f"{there.median():.1f}" if len(there) else "none",
                    "cost of 1,000": f"{dollars[day].mean():.4f}",
                }
            )
    return pd.DataFrame(lines).sort_values(["rated", "after"], key=_order, kind="stable")


def _order(column: pd.Series) -> pd.Series:
    return column.map({name: place for place, name in enumerate([*RATED.values(), *DAYS])})


def text(found: pd.DataFrame) -> str:
    """The page of results, in Markdown."""
    about = (
        f"`make loop MONTH=1`: {found['table'].iloc[0]}, {found['seed'].nunique()} seeds, start log of "
        f"{problem.START} rows, {PER_DAY:,} requests a day. The gain (and half of its 95% interval over seeds) is that "
        "of the router fitted to all rows so far over the one of the start log, on prompts that were never asked. "
        "Excess is cumulative regret above the same outcome model with every answer to other prompts. The half width "
        "is of the 95% interval that the day's own rows give for the next router's gain."
    )
    return "\n\n".join(["# A day, a week and a month of the loop", about, markdown(summary(found))]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("loop.month", __doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the folders of the tables")
    parser.add_argument("--table", help=f"name of the table; {TABLE}, with --smoke {design.SYNTHETIC}")
    options = parser.parse_args(arguments)

    def work() -> None:
        table = options.table or (design.SYNTHETIC if options.smoke else TABLE)
        found = measured(options.data, options.out, table, smoke=options.smoke)
        storage.write_frame(options.out / "loop" / "month.parquet", found)
        storage.write_text(options.out / "loop" / "month.md", text(found))
        print(text(found))

    return commands.exit_code(work)


if __name__ == "__main__":
    raise SystemExit(main())
