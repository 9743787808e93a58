"""The main experiment, top to bottom: table, logs, nuisances, routers, evaluation, report.

    python -m experiments.run --config default
    python -m experiments.run --config real --data path/to/table

A repeated run of the same config, table and code skips finished methods. A method that was interrupted during training
continues from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments import commands, configs, evaluate, methods, source, storage
from experiments.cells import Cells, KeptFits, key
from experiments.methods.experiment import Experiment, Method
from experiments.problem import Problem, build, held_out
from experiments.problem.table import Data, prepare
from experiments.settings import IN_TABLE, Config, blank, dataset_name
from jaxroute import report, sweep
from jaxroute.data import ties
from jaxroute.estimators.evidence import Evidence
from jaxroute.system import stopping
from jaxroute.system.threads import one_blas_thread

FINISHED, PAGE = "finished", ("report.html", "results.parquet", "tables.md")
STEPS_PER_FIT = 200  # the fits of one seed on its log or on its table, in units of training steps, for the time left
AT_A_TIME = 2  # methods, where one CPU does all: one compiles or is measured while the other trains

EVERY = (build.one, evaluate.results)
"""What makes a method's results, beside the method itself."""


def folder_of(config: Config, out: Path) -> Path:
    """Where the run of a config is, or will be."""
    own = (method.run for method in methods.chosen(config))
    return storage.run_folder(out, config, (prepare, held_out.value, *EVERY, *own))


def run(config: Config, out: Path, *, fresh: bool = False, held_out_log: bool = True, page: bool = True) -> Path:
    """Run every method of the config; returns the folder of results.

    Args:
        fresh: forget what earlier runs left.
        held_out_log: also value one router from a log of the test prompts alone, beside the truth.
        page: also draw the figures and write the page; False: results.parquet alone.

    Raises:
        InputError: bad config or table, or another process at work in the folder.
        OSError: the disk is full, or not ours to write; what was saved before stays.
    """
    if not fresh and (done := finished(config, out, held_out_log)) is not None:
        _show(done)
        return done
    data = prepare(config)  # bad input stops us here, before anything is written
    folder = folder_of(config, out)
    with storage.only_run(folder):
        if fresh and folder.exists():
            shutil.rmtree(folder)
        storage.begin(folder, config)
        return _run(config, data, folder, Cells(out / "cells", fresh=fresh), held_out_log, page)


def finished(config: Config, out: Path, held_out_log: bool) -> Path | None:
    """The folder of a run of this config, table and code whose page is made; None if there is none.

    The folder's name stands for all that the results depend on, the mark in it for what made the page of them.
    """
    if config.data != "synthetic" and not Path(config.data).exists():
        return None
    folder = folder_of(config, out)
    try:
        whole = all((folder / name).is_file() for name in PAGE)
        mark = (folder / FINISHED).read_text() if whole else ""
    except OSError:
        return None
    return folder if mark in {_mark(True), _mark(held_out_log)} else None


def _mark(held_out_log: bool) -> str:
    return source.digest(_report, *([_valued] if held_out_log else []))


def _show(folder: Path) -> None:
    """What a finished run found, from its files."""
    results = methods.with_kinds(pd.read_parquet(folder / "results.parquet"))
    report.print_tables(results)
    report.print_scorecard(results)
    names = results["method"].nunique()
    print(f"\n{names} of {names} methods were finished before; --fresh makes everything again")
    print(f"report: {folder / 'report.html'}")


def _run(config: Config, data: Data, folder: Path, cells: Cells, held_out_log: bool, page: bool) -> Path:
    console, started, stopped = Console(stderr=True), time.perf_counter(), threading.Event()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        full = methods.full_learners(config)
        before = STEPS_PER_FIT * config.seeds * (2 if full else 1)
        bar = progress.add_task("logs and nuisances", total=before)

        def advance(steps: int) -> None:
            if stopped.is_set():
                raise InterruptedError("what ran beside this failed, or the run was stopped")
            progress.advance(bar, steps)

        keep, together = KeptFits(cells, config, data), partial(side_by_side, stopped=stopped)
        problems = build.build(
            config, data, full=full, keep=keep, built=partial(advance, STEPS_PER_FIT), together=together
        )
        storage.log_line(folder, event="nuisances", seconds=round(time.perf_counter() - started, 3))

        def on_chunk(_: int) -> None:
            advance(config.training.chunk)

        experiment = Experiment(
            reduced(config), problems, data.table.models, sweep.mesh(), folder / "checkpoints", on_chunk, data.scale
        )
        chosen = methods.for_table(config, data.table.models, expected=data.table.expected is not None)
        keys = {method.name: _key(method, experiment, keep.keys) for method in chosen}
        todo = [method for method in chosen if not cells.has(cells.path(method.name, keys[method.name]))]
        steps = sum(method.trained for method in todo) * config.training.steps
        progress.update(bar, total=before + steps, description="methods")

        def frame(method: Method) -> pd.DataFrame:
            return cells.frame(method.name, keys[method.name], partial(_measured, method, experiment, folder))

        trained, rest = ([m for m in chosen if m.trained is kind] for kind in (True, False))

        def untrained() -> list[Any]:
            """In one thread: programs of two that solve batches of systems can wait for each other in JAX 0.10."""
            found: list[Any] = [_valued(config, data, experiment, chosen, keep) if held_out_log else None]
            for method in rest:
                advance(0)
                found.append(frame(method))
            return found

        (found, *made), *others = together([untrained, *(partial(frame, method) for method in trained)])
        by_name = dict(zip((method.name for method in (*rest, *trained)), (*made, *others), strict=True))
        frames = [by_name[method.name] for method in chosen]
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    seconds, results = time.perf_counter() - started, pd.concat(frames, ignore_index=True)
    report.write_results(folder, results)
    if not page:
        return folder
    _report(config, data, folder, results, problems, found, seconds, len(todo))
    storage.write_text(folder / FINISHED, _mark(held_out_log))
    return folder


def side_by_side(work: Sequence[Callable[[], Any]], stopped: threading.Event) -> list[Any]:
    """What each piece of work returns, in their order, AT_A_TIME of them in threads where one CPU device does all.

    Elsewhere one after another: programs on one accelerator would share its memory, and those of several processes
    must run in one order. No piece may need another's result. BLAS has one thread, because the pieces share the cores.

    Args:
        stopped: set when a piece fails or the run is interrupted; what still works should look at it and end.
    """
    alone = jax.device_count() > 1 or jax.default_backend() != "cpu"
    # Set around all pieces: each that sets it itself would else undo it for the others when it ends.
    with one_blas_thread(), ThreadPoolExecutor(1 if alone else AT_A_TIME) as pool:
        futures = [pool.submit(piece) for piece in work]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def reduced(config: Config) -> Config:
    """What a method sees of the config: the rest can be no part of its results."""
    own = blank(config, "name", "methods", "rivals", "axes", *IN_TABLE)
    return dataclasses.replace(own, data=dataset_name(config.data, config.tasks))


def _key(method: Method, experiment: Experiment, fits: dict[str, list[str]]) -> str:
    """Of a method's results: its source and settings, and the problem that it sees.

    fits: keys of the fits of every seed, on the log and on the full table.
    """
    seen = [fits["log"], fits.get("table", []) if method.full and method.outcome_model else []]
    return key(
        (method.run, *EVERY), method.name, seen, repr(experiment.config), experiment.models, experiment.cost_scale
    )


def _seen(method: Method, experiment: Experiment) -> Experiment:
    """What a method sees: of the predictions those that its record names, so that no other can be part of a result."""
    problems, model = experiment.problems, f"{method.outcome_model}_full" if method.full else method.outcome_model
    predicted = {name: outcomes for name, outcomes in problems.predicted.items() if name == model}
    seen = problems._replace(predicted=predicted, stack_full=problems.stack_full if method.full else None)
    checkpoints = None if experiment.checkpoints is None else experiment.checkpoints / method.name
    return experiment._replace(problems=seen, checkpoints=checkpoints)


def _measured(method: Method, experiment: Experiment, folder: Path) -> pd.DataFrame:
    begun = time.perf_counter()
    probabilities = method.run(_seen(method, experiment))
    frame = evaluate.results(experiment, method.name, probabilities)
    storage.log_line(folder, event="method", name=method.name, seconds=round(time.perf_counter() - begun, 3))
    shutil.rmtree(folder / "checkpoints" / method.name, ignore_errors=True)
    return frame


def _valued(
    config: Config, data: Data, experiment: Experiment, chosen: list[Method], keep: KeptFits
) -> Evidence | None:
    """The recommended router, or the first that needs no training, on a log of the first seed's test prompts."""
    routers = [m for m in chosen if m.kind == methods.PLUG_IN and not m.trained]
    router = next((m for m in routers if m.name == "recommended"), next(iter(routers), None))
    if router is None:
        return None
    first = experiment._replace(
        config=dataclasses.replace(experiment.config, seeds=1, between=()),
        problems=build.part(experiment.problems, slice(1)),
    )
    policy, single = (method.run(first)[0] for method in (router, methods.get("best_single")))
    return held_out.value(config, data, policy, {"best single": single}, router.name, keep.held_out)


def _report(
    config: Config,
    data: Data,
    folder: Path,
    results: pd.DataFrame,
    problems: Problem,
    found: Evidence | None,
    seconds: float,
    run_now: int,
) -> None:
    """Figures, report.html and tables.md; tables on the console."""
    table, scale, log_size = data.table, data.scale, problems.train_log.action.shape[1]
    shared, names = ties.leakage(table, data.rows[0][:3]), results["method"].nunique()
    meta = {
        "title": f"{config.name}: {dataset_name(config.data, config.tasks)}",
        "dataset": dataset_name(config.data, config.tasks),
        "num_prompts": len(table),
        "models": list(table.models),
        "seeds": config.seeds,
        "cost_scale": scale,
        "notes": [
            f"Logs of {log_size} rows were simulated from the table with a {config.logger} logging policy; "
            f"effective sample size of a uniform target: {float(jnp.mean(problems.effective_sample_size)):.0f}.",
            f"Near-duplicate prompts in the first seed's splits: {shared.near_duplicates}, kept on one side; "
            f"test or validation rows that repeat another part: {shared.leaked_prompts} by text, "
            f"{shared.leaked_groups} by group.",
            f"Cost scale: {data.reason}.",
            f"{int((~table.available).sum())} of {table.available.size} answers are missing (masked, never 0).",
        ],
        "timing": {"seconds": round(seconds, 1), "methods finished by an earlier run": names - run_now},
        "config": dataclasses.asdict(config),
        "environment": storage.environment(),
    }
    results = methods.with_kinds(results)
    drawings = report.draw_figures(results, meta)
    if found is not None:
        drawings += report.draw_evidence(found, cost_scale=scale, money=scale)
    report.write_figures(folder, drawings)
    report.write_html(folder, results, meta, drawings, evidence=found)
    storage.write_text(folder / "tables.md", as_markdown(results, meta))
    report.print_tables(results)
    report.print_scorecard(results)
    print(f"\n{seconds:.0f} s; {names - run_now} of {names} methods were finished before")
    print(f"report: {folder / 'report.html'}")


def as_markdown(results: pd.DataFrame, meta: Mapping[str, Any]) -> str:
    """The run's tables as a page of Markdown: regret, paired differences, and the scorecard."""
    said = "\n".join(f"- {note}" for note in meta["notes"])
    parts = [f"# {meta['title']}", f"{meta['seeds']} seeds, {meta['num_prompts']} prompts.", said]
    parts += [report.markdown_table(results), "## Along the whole curve", report.scorecard_markdown(results)]
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser(
        "run",
        "Learn routers from simulated logs of a full-feedback table and measure them against it.",
        config="default",
        epilog="example: python -m experiments.run --config real --data tables/routerbench --smoke",
    )
    parser.add_argument("--fresh", action="store_true", help="discard what earlier runs of this config saved")
    options = parser.parse_args(arguments)

    def work() -> None:
        config = configs.load(options.config, smoke=options.smoke, data=options.data)
        run(config, options.out, fresh=options.fresh)

    return commands.exit_code(work)


if __name__ == "__main__":
    stopping.leave(main())
