"""What something new touches: one file, and one line beside its import. Tried on a copy of the tree.

Each case adds a made-up loss, estimator, outcome learner, loader, log format or study cell, and uses it through the
public functions and commands in a process of its own. A second list that had to know the newcomer would fail here.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Case(NamedTuple):
    """file: where the new code goes, and the code. line: the file with the list, the line after which the entry goes,
    and the entry. imported: what the list's file imports for it: its import line, and the same with the new module.
    use: a program that runs the newcomer."""

    file: tuple[str, str]
    line: tuple[str, str, str]
    imported: tuple[str, str] | None
    use: str


LOSS = '''

def made_up(scores, utility, *, temperature=1.0, where=None):
    """Ten times the regret of the softmax policy."""
    return 10.0 * softmax_regret(scores, utility, temperature=temperature, where=where)
'''
USE_LOSS = """
import jax, jaxroute as jr
from jaxroute.learn import methods
from jaxroute.types import NuisanceSpec, Spec
table = jr.data.synthetic.make(jax.random.key(0), num_prompts=120, num_models=3)
logs = jr.data.simulate.simulate(jax.random.key(1), table, jr.data.simulate.uniform())
spec, training = NuisanceSpec(("mean",), folds=2), Spec(hidden=(4,), batch_size=32, steps=4, chunk=2)
small = {"cost_weights": [0.0], "spec": spec, "training": training, "num_folds": 3}
fitted = jr.learn.fit(jax.random.key(2), logs, loss="made_up", **small)
assert fitted.decisions.shape == (1, 120, 3)
assert methods.named("made_up").decides                       # jaxroute fit --method made_up
from experiments import methods as compared
assert {"made_up", "made_up_full"} <= set(compared.METHODS)   # make baselines
"""

ESTIMATOR = '''"""The constant one half."""

import jax.numpy as jnp

from jaxroute.estimators.influence import Rows, estimate


def half(logs, target, cost_weight, nuisances=None, *, clip=0.0):
    rows = jnp.full(len(logs.action), 0.5)
    return estimate(Rows(rows, rows > 0, rows, logs.group))
'''
USE_ESTIMATOR = """
import sys, jax, numpy as np, jaxroute as jr
from jaxroute.estimators.influence import example
assert jr.estimators.ESTIMATORS["made up"](*example(), 0.5).value == 0.5
from experiments.ope import __main__ as ope
from experiments.ope import report
from jaxroute.types import NuisanceSpec
table = jr.data.synthetic.make(jax.random.key(0), num_prompts=200, num_models=3)
designs = (ope.Design("uniform", 60),)
for name in set(jr.estimators.ESTIMATORS) - {"made up", "sndr"}:
    del jr.estimators.ESTIMATORS[name]                        # to compile less
cells = ope.study(table, designs, NuisanceSpec(("mean",), folds=2), 4, judged=1)
names = tuple(jr.estimators.ESTIMATORS)
frame = report.tidy("tiny", cells, names, ope.POLICIES, ope.COST_WEIGHT)
assert "made up" in set(frame["estimator"])                   # make ope-study
"""

LEARNER = '''"""Seven tenths for everything."""

import jax.numpy as jnp

from jaxroute.types import Outcomes


def predict(params, x, level, axes, spec):
    return Outcomes(jnp.full_like(level.quality, 0.7)[None], jnp.ones_like(level.cost)[None])
'''
USE_LEARNER = """
import jax, numpy as np, jaxroute as jr
from jaxroute.learn import methods
from jaxroute.types import NuisanceSpec
table = jr.data.synthetic.make(jax.random.key(0), num_prompts=100, num_models=3)
logs = jr.data.simulate.simulate(jax.random.key(1), table, jr.data.simulate.uniform())
nuisances, model = jr.nuisance.fit(jax.random.key(2), logs, NuisanceSpec(("made_up",), folds=2))
np.testing.assert_allclose(jr.nuisance.predict(model, table.features).outcomes.quality, 0.7, rtol=1e-5)
assert methods.named("plug_in_made_up").learner == "made_up"  # jaxroute fit --method plug_in_made_up
"""

LOADER = '''"""A made-up benchmark: one line a prompt, "question<TAB>quality of a<TAB>quality of b"."""

import pandas as pd

from jaxroute.data.benchmarks import answers


def load(path, *, encoder="hashed"):
    rows = [line.split("\\t") for line in open(path).read().splitlines()]
    found = [
        {"query_id": str(i), "prompt": prompt, "task": "t", "model": model, "quality": float(quality), "cost": cost}
        for i, (prompt, *both) in enumerate(rows)
        for model, quality, cost in zip("ab", both, (1.0, 2.0))
    ]
    return answers.from_answers(pd.DataFrame(found), str(path), encoder)
'''
USE_LOADER = """
import pathlib, jaxroute as jr
from experiments.data import rebuild
from jaxroute.data import hub
pathlib.Path("made.tsv").write_text("2+2?\\t1\\t0\\n3+3?\\t0\\t1\\n")
hub.github = lambda repo, file, **_: pathlib.Path(file)
assert rebuild.main(["--only", "made_up", "--out", "data"]) == 0
assert jr.read_table("data/made_up").models == ("a", "b")     # make data N=made_up
"""

FORMAT = '''"""A made-up gateway's records."""

from jaxroute.data.logs.entries import Entry, Format, own

NAMES = {"said": "prompt", "by": "model", "stars": "quality", "dollars": "cost"}


def entries(record, asked):
    yield Entry({**{field: record.get(name) for name, field in NAMES.items()}, **own(record, asked)})


FORMAT = Format("made_up", "a made-up gateway", lambda names: "said" in names, lambda name: name in NAMES, entries)
'''
USE_FORMAT = """
import json, pathlib, jaxroute as jr
rows = [{"said": f"question {i}", "by": "ab"[i % 2], "stars": 0.5, "dollars": 0.1} for i in range(4)]
for form in ("auto", "made_up"):
    log = jr.read_log(rows, form=form)
    assert log.models == ("a", "b") and log.prompt[0] == "question 0" and set(log.quality) == {0.5}
pathlib.Path("log.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
assert len(jr.read_log("log.jsonl", form="made_up")) == 4     # jaxroute doctor log.jsonl --form made_up
"""

USE_CELL = """
import pathlib
from experiments.study import cells, design
found = [cell for cell in cells.cells(pathlib.Path("data")) if cell.factor == "made up"]
assert [cell.table for cell in found] == [table.name for table in design.TABLES]
assert all(cell.config.learning_clip == 0.3 for cell in found)   # make study
"""

CASES = {
    "loss": Case(
        ("jaxroute/losses.py", LOSS),
        ("jaxroute/learn/objectives.py", "LOSSES: dict[str, Loss] = {", '    "made_up": losses.made_up,'),
        None,
        USE_LOSS,
    ),
    "estimator": Case(
        ("jaxroute/estimators/made_up.py", ESTIMATOR),
        ("jaxroute/estimators/__init__.py", '    "direct": direct_method,', '    "made up": made_up.half,'),
        ("from functools import partial", "from functools import partial\n\nfrom jaxroute.estimators import made_up"),
        USE_ESTIMATOR,
    ),
    "outcome learner": Case(
        ("jaxroute/nuisance/made_up.py", LEARNER),
        (
            "jaxroute/nuisance/learners.py",
            "LEARNERS: dict[str, Learner] = {",
            '    "made_up": Learner(lambda t, spec: (), made_up.predict, lambda spec: 1),',
        ),
        ("from jaxroute.nuisance import complete, gp,", "from jaxroute.nuisance import complete, made_up, gp,"),
        USE_LEARNER,
    ),
    "loader": Case(
        ("jaxroute/data/benchmarks/made_up.py", LOADER),
        (
            "experiments/data/rebuild.py",
            "ORIGINS = {",
            '    "made_up": Origin("github", "a/b", ("made.tsv",), lambda copies, encoder: made_up.load(copies[0])),',
        ),
        ("from jaxroute.data.benchmarks import (", "from jaxroute.data.benchmarks import (\n    made_up,"),
        USE_LOADER,
    ),
    "log format": Case(
        ("jaxroute/data/logs/made_up.py", FORMAT),
        ("jaxroute/data/logs/formats.py", "FORMATS = (", "    made_up.FORMAT,"),
        ("from jaxroute.data.logs import (\n", "from jaxroute.data.logs import (\n    made_up,\n"),
        USE_FORMAT,
    ),
    "study cell": Case(
        ("experiments/study/cells.py", ""),
        (
            "experiments/study/cells.py",
            '    yield "control", "shuffled answers", USUAL, {"shuffled": True}',
            '    yield "made up", "clip 0.3", USUAL, {"learning_clip": 0.3}',
        ),
        None,
        USE_CELL,
    ),
}


@pytest.mark.study
@pytest.mark.parametrize("name", CASES)
def test_something_new_is_one_file_and_one_line(name, tmp_path):
    case = CASES[name]
    for folder in ("jaxroute", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    path, code = case.file
    with (tmp_path / path).open("a") as file:
        file.write(code)
    listed, after, entry = case.line
    text = (tmp_path / listed).read_text()
    assert text.count(f"{after}\n") == 1, f"{listed} has no line {after!r}"
    text = text.replace(f"{after}\n", f"{after}\n{entry}\n")
    if case.imported is not None:
        assert text.count(case.imported[0]) == 1
        text = text.replace(*case.imported)
    (tmp_path / listed).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", case.use],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
