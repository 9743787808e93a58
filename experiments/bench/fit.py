"""What fitting, a first run, the command line and a decision take, side by side with an earlier commit and a peer.

    make bench-fit            (25 minutes; SMOKE=1: one round of the command line alone, two minutes)

The earlier commit is checked out into a temporary folder and runs in the same Python environment, in turns with this
tree, each with compile caches of its own: "empty" is a cache without a program, "full" the same command once more.
Numbers are medians over rounds. Seconds are on the clock, CPU seconds those of all threads of the process. ROWS=N,...
fits larger demo logs with this tree alone. Prints a table with the ratios and the aims, and writes
results/bench/fit.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as Grid

from experiments import source, storage
from jaxroute.system import parsing
from jaxroute.types import InputError

COMMIT = "9e2535f"
ROUNDS, MANY = 3, 1_000_000
PEER = "scikit-learn MLP, "
AIMS = {
    "nuisances, 2,400 rows, full cache": 1 / 5,
    "nuisances, 2,400 rows, empty cache": 1 / 3,
    "nuisances, 20,000 rows, full cache": 1 / 5,
    "nuisances, 2,400 rows, memory": 1,
    "nuisances, 20,000 rows, memory": 1,
    "experiment, empty cache": 1 / 4,
    "experiment again, finished": 10 / 136,
    "fit, empty cache": 1 / 4,
    "fit, full cache": 1 / 5,
    "fit, memory": 1 / 2,
    "evaluate, empty cache": 1 / 4,
    "evaluate, full cache": 1 / 4,
    "doctor, empty cache": 1 / 4,
    "doctor, full cache": 1 / 4,
    "route of one prompt": 1 / 6.3,
    "--help": 0.4 / 3.4,
    "one prompt": 1 / 2,
    "a million prompts": 1,
    "a million prompts, 32 cost weights": 1,
}
"""Largest ratio to the earlier commit that each is to have; of decisions, to scikit-learn's MLP."""

NUISANCES = """
import json, sys, time
import jax
from experiments.bench import serving
from jaxroute import nuisance
from jaxroute.types import NuisanceSpec
serving.MODELS = 10
logs = serving.log_of(serving.prompts_of(int(sys.argv[1]), 0))
for _ in range(2):
    begun = time.process_time()
    jax.block_until_ready(nuisance.fit(jax.random.key(0), logs, NuisanceSpec())[0])
    print(json.dumps(time.process_time() - begun))
"""
DECISIONS = """
import json, sys
from experiments.bench import serving
many, calls = int(sys.argv[1]), int(sys.argv[2])
log, prompts = serving.log_of(serving.prompts_of(2000, 0)), serving.prompts_of(many, 1)
found = serving.ours(serving.fitted(log), prompts, calls)
peers = serving.peers(log, prompts, calls) if len(sys.argv) > 3 else {}
print(json.dumps({name: median for name, (median, _) in (found | peers).items()}))
"""


class Spent(NamedTuple):
    """Of one process: seconds on the clock, CPU seconds, peak resident megabytes, and what it printed."""

    seconds: float
    cpu: float
    megabytes: float
    printed: str


class Found(NamedTuple):
    """One number of one tree: ``what`` is the row of the table."""

    what: str
    unit: str
    value: float


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A temporary folder with the tree of a commit.

    Raises:
        InputError: this is not a checkout with its history.
    """

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(source.ROOT), *words], capture_output=True, text=True, check=False)

    if git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise InputError(
            f"commit {commit} is not in the history of {source.ROOT.name}, so there is nothing to compare with: "
            "clone the whole repository (git fetch --unshallow), or name another commit with --commit"
        )
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        if (added := git("worktree", "add", "--detach", str(tree), commit)).returncode:
            raise InputError(f"commit {commit} could not be checked out: {added.stderr.strip().splitlines()[-1]}")
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


LAUNCH = """
import json, os, sys, time
begun = time.perf_counter()
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[2:]], os.environ)
_, status, used = os.wait4(child, 0)
seconds, code = time.perf_counter() - begun, os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w") as told:
    json.dump([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], told)
"""
"""A small process that starts the measured one: on Linux, peak memory begins with that of the process it came from."""


def environment(tree: Path, cache: Path) -> dict[str, str]:
    """Of a process that imports a tree's modules and keeps its compiled programs in ``cache``."""
    kept = {"MIN_COMPILE_TIME_SECS": "0", "ENABLE_XLA_CACHES": "none"}
    found = os.environ | {f"JAX_PERSISTENT_CACHE_{name}": value for name, value in kept.items()}
    found |= {"JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONPATH": str(tree)}
    found.pop("PYTHONDONTWRITEBYTECODE", None)  # else every run compiles the tree's modules anew
    return found


def spent(tree: Path, cache: Path, *arguments: str, text: str = "") -> Spent:
    """Run Python with these arguments in a tree, and what that took.

    Raises:
        RuntimeError: it failed; the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        command = [sys.executable, "-c", LAUNCH, str(told), *arguments]
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment(tree, cache),
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        code, seconds, cpu, megabytes = json.loads(told.read_text())
    if code:
        raise RuntimeError(f"{' '.join(arguments)[:80]} failed: {done.stdout[-2000:]}")
    return Spent(seconds, cpu, megabytes, done.stdout)


def command_line(tree: Path, log: Path, later: Path) -> Iterator[Found]:
    """The commands on a demo log, each first with an empty compile cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        work, router = Path(folder), str(Path(folder) / "router")
        commands = {
            "fit": ("fit", str(log), "--out", router),
            "evaluate": ("evaluate", router, str(later)),
            "doctor": ("doctor", str(log)),
        }
        for name, arguments in commands.items():
            empty, full = (spent(tree, work / name, "-m", "jaxroute", *arguments) for _ in range(2))
            yield Found(f"{name}, empty cache", "s", empty.seconds)
            yield Found(f"{name}, empty cache, CPU", "CPU s", empty.cpu)
            yield Found(f"{name}, full cache", "s", full.seconds)
            yield Found(f"{name}, full cache, CPU", "CPU s", full.cpu)
            yield Found(f"{name}, memory", "MB", max(empty.megabytes, full.megabytes))
        route = ("-m", "jaxroute", "route", router, "--normalised-cost-weight", "0.5")
        prompt = json.dumps({"prompt": "What is 2 + 2?"}) + "\n"
        first, again = (spent(tree, work / "route", *route, text=prompt) for _ in range(2))
        yield Found("route of one prompt", "s", again.seconds)
        yield Found("route of one prompt, memory", "MB", max(first.megabytes, again.megabytes))
        yield Found("--help", "s", spent(tree, work, "-m", "jaxroute", "--help").seconds)


def nuisances(tree: Path, rows: int) -> Iterator[Found]:
    """Default nuisances of a log of ten models: CPU seconds of the first fit and of the second."""
    with tempfile.TemporaryDirectory() as cache:
        whole = spent(tree, Path(cache), "-c", NUISANCES, str(rows))
    empty, full = (float(line) for line in whole.printed.splitlines()[-2:])
    yield Found(f"nuisances, {rows:,} rows, empty cache", "CPU s", empty)
    yield Found(f"nuisances, {rows:,} rows, full cache", "CPU s", full)
    yield Found(f"nuisances, {rows:,} rows, memory", "MB", whole.megabytes)


def decisions(tree: Path, many: int, peer: bool) -> Iterator[Found]:
    """Decisions with given features, and those of scikit-learn's MLP beside them in the same process."""
    with tempfile.TemporaryDirectory() as cache:
        asked = (str(many), "2000", *(["peer"] if peer else []))
        found = json.loads(spent(tree, Path(cache), "-c", DECISIONS, *asked).printed.splitlines()[-1])
    at_once = f"{many:,} prompts at once, per prompt, nanoseconds"
    names = {"one prompt": ("one prompt", "us"), at_once: ("a million prompts", "ns each")}
    own = {**names, f"32 cost weights, {at_once}": ("a million prompts, 32 cost weights", "ns each")}
    for name, (what, unit) in own.items():
        yield Found(what, unit, found[name])
    for name, (what, unit) in names.items() if peer else ():
        yield Found(PEER + what, unit, found[PEER + name])


def first_run(tree: Path) -> Iterator[Found]:
    """The main experiment as it is, and the same command again."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run = ("-m", "experiments.run", "--out", str(work / "results"))
        first, again = (spent(tree, work / "cache", *run) for _ in range(2))
    yield Found("experiment, empty cache", "s", first.seconds)
    yield Found("experiment again, finished", "s", again.seconds)


def larger(tree: Path, rows: int) -> Iterator[Found]:
    """``fit`` of a larger demo log, with a full compile cache."""
    with tempfile.TemporaryDirectory() as folder:
        log, out = str(Path(folder) / "log.jsonl"), str(Path(folder) / "router")
        spent(tree, Path(folder), "-m", "jaxroute", "demo-log", log, "--rows", str(rows))
        one = spent(tree, Path(folder) / "cache", "-m", "jaxroute", "fit", log, "--out", out)
    yield Found(f"fit, {rows:,} rows, empty cache", "s", one.seconds)
    yield Found(f"fit, {rows:,} rows, memory", "MB", one.megabytes)


def table(measured: dict[str, dict[str, float | str]], commit: str) -> Grid:
    """The rows with their ratios and aims."""
    grid = Grid(title=f"beside commit {commit}; decisions beside scikit-learn's MLP")
    for column in ("what", "unit", commit, "scikit-learn", "now", "ratio", "aim"):
        grid.add_column(column, justify="left" if column in ("what", "unit") else "right")
    for what, row in measured.items():
        numbers = (row.get(name) for name in ("old", "peer", "now", "ratio", "aim"))
        grid.add_row(what, str(row["unit"]), *("-" if x is None else f"{x:.3g}" for x in numbers))
    return grid


def summary(found: dict[str, list[Found]]) -> dict[str, dict[str, float | str]]:
    """Medians of every row by tree, with the ratio to what its aim compares it with."""
    measured: dict[str, dict[str, float | str]] = {}
    for tree, numbers in found.items():
        for what in dict.fromkeys(one.what for one in numbers):
            same = [one for one in numbers if one.what == what]
            side, name = ("peer", what.removeprefix(PEER)) if what.startswith(PEER) else (tree, what)
            row = measured.setdefault(name, {"unit": same[0].unit})
            row[side] = statistics.median(one.value for one in same)
    for name, row in measured.items():
        peer = "a million prompts" if name.startswith("a million") else name
        base = measured.get(peer, {}).get("peer", row.get("old"))
        if base is not None and "now" in row:
            row["ratio"] = float(row["now"]) / float(base)
        if name in AIMS:
            row["aim"] = AIMS[name]
    return measured


def main(arguments: list[str] | None = None) -> int:
    parser = parsing.Parser(prog="python -m experiments.bench.fit", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one round of the command line alone")
    parser.add_argument("--commit", default=COMMIT, help="the earlier commit to compare with")
    parser.add_argument("--rows", default="", help="rows of larger demo logs to fit with this tree, with commas")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    rounds = 1 if options.smoke else ROUNDS
    found: dict[str, list[Found]] = {"old": [], "now": []}
    with checkout(options.commit) as old, tempfile.TemporaryDirectory() as folder:
        log, later = Path(folder) / "log.jsonl", Path(folder) / "later.jsonl"
        for path, rows, seed in ((log, 3000, 0), (later, 2000, 1)):
            written = ("-m", "jaxroute", "demo-log", str(path), "--rows", str(rows), "--seed", str(seed))
            spent(source.ROOT, Path(folder), *written)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for tree, path in (("old", old), ("now", source.ROOT)):
                found[tree] += command_line(path, log, later)
                if not options.smoke:
                    found[tree] += [*nuisances(path, 2400), *nuisances(path, 20_000)]
                    found[tree] += decisions(path, MANY, tree == "now")
                if not options.smoke and number == 0:
                    found[tree] += first_run(path)
    for rows in filter(None, options.rows.split(",")):
        found["now"] += larger(source.ROOT, int(float(rows)))
    measured = summary(found)
    Console().print(table(measured, options.commit))
    if options.smoke:
        print("not measured: nuisances, the main experiment and decisions (leave out SMOKE=1)")
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"commit": options.commit, "rounds": rounds, "measured": measured, "environment": storage.environment()}
    storage.write_text(options.out / "fit.json", json.dumps(record, indent=1))
    print(f"written: {options.out / 'fit.json'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
