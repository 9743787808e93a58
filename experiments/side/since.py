"""How much better are today's recipe and stacked plug-in than those of an earlier commit, on the same logs?

    make since DATA=<folder of tables>        SMOKE=1 for a minute or two

The earlier commit is checked out into a temporary folder and runs in the same Python environment, as a process beside.
It gets the arrays of a log that today's code simulated, the key of its nuisances and the features of the test prompts,
and nothing else; what its stack and its recipe predict is decided on and measured here, as today's is. Every table of
the study under four logging policies, and the logs of `side.prior` (one task each), where today's recipe also has the
prior of other tasks, and the same prior shuffled over the models. Seeds 500 to 505, which no choice has used. Writes
results/since/since.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from experiments.bench import fit
from experiments.problem.table import Data, Rows, prepare
from experiments.settings import Config
from experiments.side import caution, common, prior
from experiments.study import design
from experiments.study.significance import holm, two_sided
from experiments.study.tables import interval
from jaxroute import nuisance, recipe
from jaxroute.data import priors
from jaxroute.report.summary import student_interval
from jaxroute.system import stopping
from jaxroute.types import Key, Logs, NuisanceSpec, Outcomes, Table

FIRST_SEED, SEEDS = 500, 6
LOGGERS = ("weak router 2", "weak router 6", "cost-biased 2", "weak router 2, 500 rows")
OF_PRIOR = ("weak router 2", "cost-biased 2")
"""The logging policies of `side.prior`."""
FORMER = "former "
STACK, RECIPE, WITH_PRIOR, SHUFFLED = "stack", "recipe", "with prior", "prior shuffled"
AGAINST = {STACK: FORMER + STACK, RECIPE: FORMER + RECIPE, WITH_PRIOR: FORMER + RECIPE, SHUFFLED: FORMER + RECIPE}
"""What each of today's is compared with."""
OF_STUDY, OF_TASKS = "real tables", "tasks with a prior"
EVERY, LONG = "all", "all but 500 rows"

PREDICT = """
import ast, sys
import jax
import numpy as np
from jaxroute import nuisance, recipe
from jaxroute.types import Logs, NuisanceSpec
for line in sys.stdin:
    given, told, changes = ast.literal_eval(line)
    arrays = dict(np.load(given))
    key, features = jax.random.wrap_key_data(arrays.pop("key")), jax.numpy.asarray(arrays.pop("test"))
    logs = Logs(**jax.tree.map(jax.numpy.asarray, arrays))
    _, model = recipe.fit(key, logs, NuisanceSpec(**changes))
    stack, own = nuisance.predict_outcomes(model.nuisances.outcomes, features), recipe.predict(model, features)
    np.savez(told, stack=np.stack(stack), recipe=np.stack(own))
    print(told, flush=True)
"""
"""What the earlier commit runs, in its own terms: a log after the other, each as one line."""


@dataclass
class Earlier:
    """An earlier commit, checked out; where it lies is no part of a cell's key. Its process starts with the first log,
    and ends with the block."""

    commit: str
    tree: Path = field(repr=False)
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __enter__(self) -> Earlier:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def predictions(
        self, key: Key, logs: Logs, features: Float[Array, "M D"], spec: NuisanceSpec
    ) -> dict[str, Outcomes]:
        """What its stack and its recipe, fitted on the log, predict for other prompts.

        Args:
            spec: today's; what it changes of today's default is changed of the commit's default.

        Returns:
            Outcomes [M, K] by STACK and RECIPE.

        Raises:
            RuntimeError: it failed, and has said why.
        """
        changes = {name: value for name, value in vars(spec).items() if value != getattr(NuisanceSpec, name)}
        arrays: dict[str, Any] = {name: np.asarray(y) for name, y in logs._asdict().items() if y is not None}
        with tempfile.TemporaryDirectory() as folder:
            given, told = Path(folder) / "given.npz", Path(folder) / "told.npz"
            np.savez(given, key=jax.random.key_data(key), test=np.asarray(features), **arrays)
            if not self._done((str(given), str(told), changes)):
                raise RuntimeError(f"commit {self.commit} could not fit a log; its last words are above")
            with np.load(told) as found:
                return {name: Outcomes(*map(jnp.asarray, found[name])) for name in (STACK, RECIPE)}

    def _done(self, asked: tuple[str, str, dict[str, Any]]) -> bool:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PREDICT],
                cwd=self.tree,
                env=fit.environment(self.tree, self.tree / ".cache" / "jax"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for this process alone
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(repr(asked), file=self.process.stdin, flush=True)
        return self.process.stdout.readline() == f"{asked[1]}\n"


def former(earlier: Earlier, config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """Regret in points of the earlier commit's stack and recipe on one seed's log."""
    test = table.rows(rows.test)
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    predicted = earlier.predictions(key, logs, jnp.asarray(test.features), config.nuisance)
    return regrets(test, config, seed, {FORMER + name: y for name, y in predicted.items()})


def today(config: Config, table: Table, seed: int, rows: Rows) -> pd.DataFrame:
    """The same of this tree's."""
    test = table.rows(rows.test)
    logs, key = common.simulated_log(config, seed, table.rows(rows.train), table.rows(rows.earlier))
    nuisances, model = nuisance.fit(key, logs, config.nuisance)
    predicted = nuisance.predict_outcomes(model.outcomes, jnp.asarray(test.features))
    own = recipe.apply(recipe.recommend(logs, nuisances, model), predicted)
    return regrets(test, config, seed, {STACK: predicted, RECIPE: own})


def regrets(test: Table, config: Config, seed: int, predicted: dict[str, Outcomes]) -> pd.DataFrame:
    """A row per variant: regret in points on the test prompts, over the config's cost weights."""
    lost = ((name, common.regret(y, test, config.cost_weights)) for name, y in predicted.items())
    return pd.DataFrame(lost, columns=["variant", "regret"]).assign(seed=seed)


class Case(NamedTuple):
    """A table's logs under one logging policy; known: the prior of today's recipe, where it gets one."""

    dataset: str
    logger: str
    config: Config
    known: Callable[[Data], recipe.Prior] | None = None


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """The study's tables, then the tasks of `side.prior`; a log that is in both is measured once."""

    def changed(centre: Config, logger: str) -> Config:
        seeds: dict[str, Any] = {} if options.smoke else {"first_seed": FIRST_SEED, "seeds": SEEDS}
        return dataclasses.replace(
            centre, name=centre.name.replace("study", "since"), **seeds, **caution.LOGGERS[logger]
        )

    loggers = LOGGERS[: 1 if options.smoke else None]
    for table, centre in design.centres(options.data, smoke=options.smoke):
        for logger in loggers:
            yield Case(table.name, logger, changed(centre, logger))
            if options.smoke:
                yield Case(f"{table.name}, earlier prompts", logger, changed(centre, logger), of_earlier)
    for pair in () if options.smoke else prior.PAIRS:
        if (options.data / pair.folder).exists():
            centre = design.centre(design.Table(pair.name, pair.folder, pair.tasks, 0, 0), options.data)
            for logger in OF_PRIOR:
                yield Case(pair.name, logger, changed(centre, logger), partial(elsewhere, options.data, pair))


def elsewhere(folder: Path, pair: prior.Pair, data: Data) -> recipe.Prior:
    """The prior of a pair's log."""
    return prior.levels_elsewhere(folder, pair, data.table.models)


def of_earlier(data: Data) -> recipe.Prior:
    """A prior for a smoke run: of prompts that no log has."""
    known = priors.load(data.table.rows(data.rows[0].earlier), data.table.models).prior
    assert known is not None
    return known


def measured(options: argparse.Namespace) -> Iterator[pd.DataFrame]:
    with fit.checkout(options.commit) as tree:
        for case in cases(options):
            data = prepare(case.config)
            with Earlier(options.commit, tree) as earlier:
                every = [common.each_log(case.config, data, options.out, partial(former, earlier))]
            every.append(common.each_log(case.config, data, options.out, today))
            if case.known is not None:
                found = common.each_log(case.config, data, options.out, prior.measure, case.known(data))
                names = {"prior": WITH_PRIOR, "shuffled": SHUFFLED}  # the recipe without one is measured above
                found = found[found["variant"].isin(names)].replace({"variant": names})
                every.append(found[["variant", "regret", "seed"]])
            together = pd.concat(every, ignore_index=True)
            yield together.assign(dataset=case.dataset, logger=case.logger, has_prior=case.known is not None)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per logger and dataset, over the real tables, the tasks with a prior and several loggers: the earlier commit's
    mean regret in points, and what today's adds to it, with the 95% Student-t interval of the difference paired by
    seed; below 0 today's is better. * significant at 5% after Holm's correction over the loggers and datasets of one
    column, the study's and those with a prior apart."""
    lines = []
    for has_prior, part in found.groupby("has_prior"):
        of = part.pivot(index=["logger", "dataset", "seed"], columns="variant", values="regret")
        gaps = pd.DataFrame({mine: of[mine] - of[other] for mine, other in AGAINST.items() if mine in of})
        each = gaps.groupby(level=["logger", "dataset"], sort=False)
        raised = each.agg(two_sided).apply(lambda p: holm(p.to_numpy()))
        loggers, datasets = part["logger"].unique(), part["dataset"].unique()
        among = {logger: [logger] for logger in loggers}
        if len(loggers) > 1:
            among |= {EVERY: list(loggers), LONG: [logger for logger in loggers if "500 rows" not in logger]}
        pools = {OF_STUDY: [name for name in datasets if name != design.SYNTHETIC]}
        if has_prior:
            pools = {OF_TASKS: list(datasets), prior.LARGE: [name for name in datasets if not name.startswith("mbpp")]}
        for logger, taken in among.items():
            here = part[part["logger"].isin(taken)]
            for dataset in datasets if logger in loggers else ():
                sure = raised.loc[(logger, dataset)] < 0.05
                lines.append({"logger": logger, "dataset": dataset, **line(here[here["dataset"] == dataset], sure)})
            for name, pooled in pools.items():
                rows = here[here["dataset"].isin(pooled)]
                if not rows.empty and (logger != LONG or len(taken) < len(loggers)):
                    lines.append({"logger": logger, "dataset": name, **line(rows)})
    return pd.DataFrame(lines)


def line(rows: pd.DataFrame, sure: pd.Series | None = None) -> dict[str, str]:
    """Means of the earlier commit's and differences of today's, as text; over more than one dataset seed by seed.

    sure: which differences get a star.
    """
    wide = rows.groupby(["seed", "variant"])["regret"].mean().unstack()
    found = {other: f"{wide[other].mean():.2f}" for other in dict.fromkeys(AGAINST.values())}
    for mine, other in AGAINST.items():
        found[mine] = "-"
        if mine in wide:
            found[mine] = interval(*student_interval((wide[mine] - wide[other]).to_numpy()))
            found[mine] += "*" * bool(sure is not None and sure[mine])
    return found


def main(arguments: list[str] | None = None) -> int:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--commit", default=fit.COMMIT, help="hash of an earlier commit that can run PREDICT")

    return common.command("since", __doc__, measured, summary, arguments, add)


if __name__ == "__main__":
    stopping.leave(main())
