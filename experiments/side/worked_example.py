"""Evidence from logs beside the truth: log -> router -> its value from a held-out log -> the full table.

    make worked-example DATA=<folder>            (SMOKE=1 for seconds; without DATA the synthetic problem)

A team has two logs of the same biased logging policy. A router learns from the first. Its value is estimated from the
second, with nuisances cross-fitted on the second log only. "hidden" gives bounds of the value if a hidden confounder
changes the odds of any choice by up to that factor, and "flips at" the factor at which the sign of the gain over the
logging policy is no longer certain, without sampling noise. The logs are simulated from a full table, so the truth is
shown beside the estimate: the same router on the same prompts, with every answer known.
"""

from __future__ import annotations

import dataclasses

import pandas as pd
from rich.console import Console
from rich.table import Table as Grid

from experiments import commands, configs, methods, storage
from experiments.methods.experiment import Experiment
from experiments.problem import build, held_out
from experiments.problem.table import prepare
from experiments.settings import Config
from jaxroute import sweep
from jaxroute.estimators.evidence import Evidence
from jaxroute.system import stopping


def run(config: Config, method: str) -> Evidence:
    """What a held-out log says of one router, and the truth."""
    chosen = [methods.get(name) for name in (method, "best_single")]
    config = dataclasses.replace(config, seeds=1, methods=(method, "best_single"), between=())
    data = prepare(config)
    problems = build.build(config, data, full=methods.full_learners(config))
    experiment = Experiment(config, problems, data.table.models, sweep.mesh())
    router, reference = (each.run(experiment)[0] for each in chosen)
    return held_out.value(config, data, router, {"best single": reference}, method)


def show(found: Evidence) -> None:
    """Values in points, estimates beside the truth."""
    grid = Grid(title=f"{found.router} valued from a held-out log of {found.rows} rows, in points")
    heads = ("cost weight", "value [95%]", "all weights at once", "truth", "gain on best single [95%]", "truth")
    for name in (*heads, f"hidden x{found.strength:g}", "on the logger", "flips at", "effective rows", "verdict"):
        grid.add_column(name, justify="right")
    values = found.values.set_index("cost_weight", drop=False)
    gains = found.gains[found.gains["against"] == "best single"].set_index("cost_weight")
    for weight in values.index:
        row, gain = values.loc[weight], 100 * gains.loc[weight].drop("against")
        points = 100 * row.drop(["label", "verdict", "reasons"]).astype(float)
        supported = row["verdict"] != "refuse"

        def between(of: pd.Series, low: str, high: str, form: str = ".1f") -> str:
            return "none" if pd.isna(of[low]) else f"[{of[low]:{form}}, {of[high]:{form}}]"

        grid.add_row(
            f"{weight:g}",
            f"{points['value']:.1f} {between(points, 'low', 'high')}",
            between(points, "band_low", "band_high"),
            f"{points['truth']:.1f}",
            f"{gain['gain']:+.1f} {between(gain, 'low', 'high', '+.1f')}",
            f"{gain['truth']:+.1f}",
            between(points, "hidden_low", "hidden_high"),
            f"{points['advantage']:+.1f}" if supported else "none",
            f"{row['flips_at']:.2f}" if supported else "none",
            f"{row['effective_sample_size']:.0f}" if supported else "none",
            str(row["verdict"]),
        )
    Console(width=190).print(grid)


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("side.worked_example", __doc__, config="default")
    parser.add_argument("--method", default="plug_in_stack", help="name of a method in experiments/methods")
    options = parser.parse_args(arguments)

    def work() -> None:
        config = configs.load(options.config, smoke=options.smoke, data=options.data)
        configs.check(dataclasses.replace(config, methods=(options.method,)), "--method")
        found = run(config, options.method)
        show(found)
        folder = options.out / "worked_example"
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_frame(folder / "values.parquet", found.values)
        storage.write_frame(folder / "gains.parquet", found.gains)

    return commands.exit_code(work)


if __name__ == "__main__":
    stopping.leave(main())
