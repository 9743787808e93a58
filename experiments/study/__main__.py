"""The study: when does learning the decision beat predicting first, and which router never loses?

    make study DATA=<folder of tables>        SMOKE=1 for seconds, FULL=1 for the whole factorial, HOURS=3 to stop then

Runs the cells of `experiments.study.cells`: table by table, or with HOURS the most telling first. Cells that are
finished are not run again, nor are those whose published results were made by the same config, table, libraries and
source (--known); an interrupted cell continues after its finished methods. Cells whose table is missing are listed. The
report shows what is finished so far.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import jax
import pandas as pd

from experiments import commands, run, source, storage
from experiments.study import cells as study_cells
from experiments.study import report as study_report
from experiments.study.cells import Cell
from jaxroute.system import stopping
from jaxroute.types import InputError

CELL = "cell"
MAPS = 32_000
KNOWN = source.ROOT / "experiments" / "results"
KEPT = ("regret", "regret_between", "mean_regret", "effective_sample_size")


class Progress(NamedTuple):
    """What is finished and what is not, with the reason."""

    results: pd.DataFrame
    missing: list[tuple[Cell, str]]
    seconds: float


def finished(cell: Cell, out: Path) -> Path | None:
    """The cell's results.parquet, if it was run with this config, table and code."""
    path = run.folder_of(cell.config, out) / "results.parquet"
    return path if path.exists() else None


def known(folder: Path) -> dict[str, pd.DataFrame]:
    """The published cells by their ``hyperparameters``, which hold their keys; those of an unfinished study first."""
    paths = [folder / name for name in (study_report.PUBLISHED, study_report.UNFINISHED)]
    frames = [pd.read_parquet(path) for path in paths if path.exists()]
    return {str(about): cell for frame in frames for about, cell in frame.groupby("hyperparameters", sort=False)}


def described(cell: Cell, out: Path) -> str:
    """What the cell is, with the key under which its folder is: a report's ``hyperparameters``."""
    return study_cells.describe(cell, run.folder_of(cell.config, out).name.rsplit("-", 1)[-1])


def read(cell: Cell, path: Path) -> pd.DataFrame:
    """The cell's regrets, with what the cell is in ``hyperparameters``."""
    frame = pd.read_parquet(path)
    frame = frame[frame["metric"].isin(KEPT)]
    return frame.assign(
        dataset=cell.table,
        hyperparameters=described(cell, path.parents[2]),
        value=frame["value"].astype("float32"),
        standard_error=frame["standard_error"].astype("float32"),
    )


def work(
    cells: list[Cell],
    out: Path,
    *,
    hours: float = float("inf"),
    report_only: bool = False,
    before: dict[str, pd.DataFrame] | None = None,
) -> Progress:
    """Run what is not finished, in order; returns everything that is finished in the end.

    Several processes may work at once: each leaves out the cells that another has finished or is at. Compiled programs
    are kept from cell to cell of a table, whose shapes they share.

    Args:
        before: `known` cells, which need not be run.
    """
    started, ran = time.perf_counter(), ""
    frames, missing = [], []
    for number, cell in enumerate(cells, 1):
        name = f"cell {number} of {len(cells)}: {cell.table}, {cell.factor} {cell.level}".rstrip()
        if not _has_table(cell):
            missing.append((cell, f"no table at {Path(cell.config.data).name}/"))
            continue
        path = finished(cell, out)
        if path is None and before and (about := described(cell, out)) in before:
            frames.append(before[about])
            continue
        if path is None:
            if report_only or time.perf_counter() - started > 3600 * hours:
                missing.append((cell, "not run yet"))
                continue
            if ran != cell.table or _crowded():
                jax.clear_caches()
            ran = cell.table
            begun, used = time.perf_counter(), time.process_time()
            try:
                with storage.only_run(_claim(cell, out)), redirect_stdout(io.StringIO()):
                    folder = run.run(cell.config, out, held_out_log=False, page=False)
            except InputError as error:
                missing.append((cell, str(error)))
                if not isinstance(error, storage.BusyError):
                    print(f"{name}: {error}", flush=True)
                continue
            took, cpu = time.perf_counter() - begun, time.process_time() - used
            storage.log_line(folder, event=CELL, seconds=round(took, 1), cpu_seconds=round(cpu, 1))
            print(f"{name}: {took:.0f} s, {cpu:.0f} of them on a core", flush=True)
            path = folder / "results.parquet"
        frames.append(read(cell, path))
    results = study_cells.with_ceilings(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()
    return Progress(results, missing, time.perf_counter() - started)


def by_table(cells: list[Cell], worker: int, jobs: int) -> list[Cell]:
    """The cells table by table, each worker beginning at another; within a table the most telling first."""
    tables = list(dict.fromkeys(cell.table for cell in cells))
    first = worker * len(tables) // jobs
    order = tables[first:] + tables[:first]
    return sorted(cells, key=lambda cell: order.index(cell.table))


def _has_table(cell: Cell) -> bool:
    return cell.config.data == "synthetic" or Path(cell.config.data).exists()


def _crowded() -> bool:
    """Whether half of the maps of memory that Linux allows a process are taken: every compiled program has some."""
    maps = Path("/proc/self/maps")
    return maps.exists() and len(maps.read_bytes().splitlines()) > MAPS


def _claim(cell: Cell, out: Path) -> Path:
    """Held by the process that is at the cell, so that others need not prepare its table to learn it."""
    folder = run.folder_of(cell.config, out)
    return folder.with_name(f"{folder.name}.{CELL}")


def core_minutes(cells: list[Cell], out: Path) -> float:
    """CPU minutes that the finished cells took, those of their interrupted runs left out."""
    folders = {path.parent for cell in cells if _has_table(cell) and (path := finished(cell, out)) is not None}
    lines = [json.loads(line) for folder in folders for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sum(line["cpu_seconds"] for line in lines if line["event"] == CELL) / 60


def together(arguments: list[str], jobs: int) -> None:
    """Run the cells in ``jobs`` processes, each on its own cores: on two cores, twice one core is faster than both.

    Two programs that share cores wait for each other's threads: a fit of a third of a second then takes ten.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    workers = []
    for worker in range(jobs):
        command = [sys.executable, "-m", "experiments.study", *arguments, "--worker", str(worker)]
        workers.append(subprocess.Popen(command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}))
        if cores[worker::jobs]:
            os.sched_setaffinity(workers[-1].pid, cores[worker::jobs])
    try:
        for process in workers:
            process.wait()
    except KeyboardInterrupt:  # they have had the same signal
        for process in workers:
            process.wait()
        raise


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("study", __doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the folders of the tables")
    parser.add_argument("--full", action="store_true", help="run the whole factorial (days on 2 cores)")
    parser.add_argument("--hours", type=float, default=float("inf"), help="start no more cells after this many hours")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes, each with its own cores")
    parser.add_argument("--worker", type=int, help="run what no other process is at, without a report")
    parser.add_argument("--report-only", action="store_true", help="run nothing and report what is finished")
    parser.add_argument(
        "--known", type=Path, default=KNOWN, help="folder of published results, whose cells are not run again"
    )
    parser.add_argument("--publish", type=Path, help="write results, tables and words into the pages of this checkout")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    return commands.exit_code(lambda: study(options, given))


def study(options: argparse.Namespace, given: list[str]) -> None:
    """Run what is not finished and report; ``given``: the command's arguments, for its parts."""
    cells = study_cells.cells(options.data, smoke=options.smoke, full=options.full)
    before = known(options.known)
    if options.worker is not None:
        ordered = cells if math.isfinite(options.hours) else by_table(cells, options.worker, options.jobs)
        work(ordered, options.out, hours=options.hours, before=before)
        return
    if options.jobs > 1 and not options.report_only:
        together(given, options.jobs)
    report_only = options.report_only or options.jobs > 1
    done = work(cells, options.out, hours=options.hours, report_only=report_only, before=before)
    if done.results.empty:
        reasons = sorted({reason for _, reason in done.missing})
        raise InputError(f"no cell is finished ({'; '.join(reasons)}); see README, Data")
    folder = options.out / ("study-report-smoke" if options.smoke else "study-report")
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_frame(folder / "study.parquet", done.results)
    missing = [(cell.table, cell.factor, cell.level, reason) for cell, reason in done.missing]
    print(study_report.write(folder, done.results, missing))
    if options.publish:
        print(study_report.publish(options.publish, folder, done.results, whole=not missing))
    said = f"{len(cells) - len(missing)} of {len(cells)} cells finished"
    print(f"{said}, {core_minutes(cells, options.out):.0f} CPU minutes; report: {folder / 'report.html'}")


if __name__ == "__main__":
    stopping.leave(main())
