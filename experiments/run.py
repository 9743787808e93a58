"""The main job, top to bottom: table -> logs -> nuisances -> routers -> measured policies -> report.

    python -m experiments.run --config default
    python -m experiments.run --config real --data path/to/table

Finished methods are skipped on a re-run of the same config, table and code; a method that was killed in
training goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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

from experiments import evaluate, problem, settings, storage
from experiments.methods import registry as baselines
from experiments.methods.arena import Arena
from experiments.side import held_out
from jaxroute import report, sweep
from jaxroute.data import splits, units
from jaxroute.engine import checkpoint
from jaxroute.estimators.evidence import Evidence
from jaxroute.types import InputError, Table

STEPS_PER_PROBLEM = 400  # building one seed's problem, in units of training steps, for the time left


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.run",
        description="Learn routers from simulated logs of a full-feedback table and measure them against it.",
        epilog="example: python -m experiments.run --config real --data tables/routerbench --smoke",
    )
    parser.add_argument("--config", default="default", help="name in experiments/configs, or a path to a .py")
    parser.add_argument("--data", help="folder (or wide file) of a full-feedback table; see README, Data")
    parser.add_argument("--out", type=Path, default=Path("results"), help="where results go")
    parser.add_argument("--smoke", action="store_true", help="shrink everything to seconds")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run of this config left")
    return parser.parse_args(arguments)


def run(config: settings.Config, out: Path, *, fresh: bool = False, held_out_log: bool = True) -> Path:
    """Run every method of the config; returns the folder of results.

    Args:
        fresh: forget what an earlier run left.
        held_out_log: also value one router from a log of the test prompts alone, beside the truth.

    Raises:
        InputError: bad config or table, or another process at work in the folder.
        OSError: the disk is full, or not ours to write; what was saved before stays.
    """
    table = problem.load_table(config)
    scale, reason = units.cost_scale(table)
    scale = config.cost_scale or scale
    table = problem.normalise(table, scale)
    rows = problem.split_rows(config, table)  # bad input has stopped us by now, before anything is written
    folder = storage.run_folder(out, config)
    with storage.only_run(folder):
        if fresh and folder.exists():
            shutil.rmtree(folder)
        storage.begin(folder, config)
        reason = reason if config.cost_scale is None else "fixed in the config"
        return _run(config, table, rows, folder, scale, reason, held_out_log)


def _run(
    config: settings.Config,
    table: Table,
    rows: list[list[np.ndarray]],
    folder: Path,
    scale: float,
    reason: str,
    held_out_log: bool,
) -> Path:
    console = Console(stderr=True)
    shared = splits.leakage(table, rows[0][:3])
    started = time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("logs and nuisances", total=STEPS_PER_PROBLEM * config.seeds)
        problems = []
        for seed in range(config.seeds):
            problems.append(jax.block_until_ready(problem.build(config, table, rows[seed], config.draws[seed])))
            progress.advance(bar, STEPS_PER_PROBLEM)
        stacked = problem.stack(problems)
        log_size = stacked.train_log.action.shape[1]
        storage.log_line(folder, event="nuisances", seconds=round(time.perf_counter() - started, 3))

        checkpoints = folder / "checkpoints"
        arena = Arena(config, stacked, table.models, sweep.mesh(), checkpoints, lambda _: None, scale)
        names = baselines.names_for(arena)
        todo = [name for name in names if not storage.cell(folder, name).exists()]
        trained = sum(baselines.is_trained(name) for name in todo)
        progress.update(bar, total=STEPS_PER_PROBLEM * config.seeds + trained * config.training.steps)
        for name in todo:
            begun = time.perf_counter()
            progress.update(bar, description=name)
            watched = arena._replace(on_chunk=lambda _: progress.advance(bar, config.training.chunk))
            probabilities = baselines.method(name)(watched)
            frame = evaluate.results(arena, name, probabilities, log_size, scale)
            storage.write_frame(storage.cell(folder, name), frame)
            storage.log_line(folder, event="method", name=name, seconds=round(time.perf_counter() - begun, 3))
            shutil.rmtree(folder / "checkpoints" / name, ignore_errors=True)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # what methods share
        progress.update(bar, description="a held-out log")
        found = _valued(arena, table, rows[0], names) if held_out_log else None

    results = pd.concat([pd.read_parquet(storage.cell(folder, name)) for name in names], ignore_index=True)
    seconds = time.perf_counter() - started
    meta = {
        "title": f"{config.name}: {evaluate.dataset_name(config.data, config.tasks)}",
        "dataset": evaluate.dataset_name(config.data, config.tasks),
        "num_prompts": len(table),
        "models": list(table.models),
        "seeds": config.seeds,
        "cost_scale": scale,
        "notes": [
            f"Logs of {log_size} rows were simulated from the table with a {config.logger} logging policy; "
            f"effective sample size of a uniform target: {float(jnp.mean(stacked.effective_sample_size)):.0f}.",
            f"Near-duplicate prompts in the first seed's splits: {shared.near_duplicates}, kept on one side; "
            f"test or validation rows that repeat another part: {shared.leaked_prompts} by text, "
            f"{shared.leaked_groups} by group.",
            f"Cost scale: {reason}.",
            f"{int((~table.available).sum())} of {table.available.size} answers are missing (masked, never 0).",
        ],
        "timing": {"seconds": round(seconds, 1), "methods finished by an earlier run": len(names) - len(todo)},
        "config": dataclasses.asdict(config),
        "environment": storage.environment(),
    }
    report.write_results(folder, results)
    drawings = report.draw_figures(results, meta)
    if found is not None:
        drawings += report.draw_evidence(found, cost_scale=scale)
    report.write_figures(folder, drawings)
    report.write_html(folder, results, meta, drawings, evidence=found)
    storage.write_text(folder / "tables.md", as_markdown(results, meta))
    report.print_tables(results)
    report.print_scorecard(results)
    print(f"\n{seconds:.0f} s; {len(names) - len(todo)} of {len(names)} methods were finished before")
    print(f"report: {folder / 'report.html'}")
    return folder


def as_markdown(results: pd.DataFrame, meta: Mapping[str, Any]) -> str:
    """The run's tables as a page of Markdown: regret, paired differences, and the scorecard."""
    said = "\n".join(f"- {note}" for note in meta["notes"])
    parts = [f"# {meta['title']}", f"{meta['seeds']} seeds, {meta['num_prompts']} prompts.", said]
    parts += [report.markdown_table(results), "## Along the whole curve", report.scorecard_markdown(results)]
    return "\n\n".join(parts)


def _valued(arena: Arena, table: Table, rows: list[np.ndarray], names: list[str]) -> Evidence | None:
    """The recommended router, or the first that needs no training, on a log of seed 0's test prompts."""
    routers = [name for name in ("recommended", *names) if name in names and report.kind(name) == "plug-in"]
    if not routers:
        return None
    config = arena.config
    first = arena._replace(
        config=dataclasses.replace(config, seeds=1, between=()), problems=jax.tree.map(lambda x: x[:1], arena.problems)
    )
    router, single = (baselines.method(name)(first)[0] for name in (routers[0], "best_single"))
    return held_out.value(config, table, rows, router, {"best_single": single}, routers[0])


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        config = settings.load(options.config, smoke=options.smoke, data=options.data)
        run(config, options.out, fresh=options.fresh)
    except (InputError, checkpoint.SaveError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk met outside a checkpoint
        print(f"error: {error}; what was finished before is intact: run the same command again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished methods and chunks are saved: the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
