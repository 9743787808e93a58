"""Today's recipe beside an earlier commit's: what that commit is given, what is kept, the summary by hand."""

import argparse
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from levels_problem import small_log

from experiments import cells
from experiments.side import prior, since
from experiments.study import design
from jaxroute.types import NuisanceSpec

FAKE = {
    "types": """
        from dataclasses import dataclass
        from typing import NamedTuple
        class Logs(NamedTuple):
            features: object
            action: object
            quality: object
            cost: object
            propensity: object
            available: object
            group: object = None
        @dataclass
        class NuisanceSpec:
            folds: int = 5
            penalties: tuple = (1.0,)
        """,
    "recipe": """
        import types
        def fit(key, logs, spec):
            return None, types.SimpleNamespace(nuisances=types.SimpleNamespace(outcomes=(key, logs, spec)))
        def predict(model, features):
            key, logs, spec = model.nuisances.outcomes
            return logs.propensity[: len(features), None] + features, features + spec.folds + sum(spec.penalties)
        """,
    "nuisance": """
        import jax
        def predict_outcomes(outcomes, features):
            key, logs, spec = outcomes
            return features + logs.quality.sum(), features + jax.random.key_data(key).sum()
        """,
}
"""An earlier commit that tells what it was given."""


def test_an_earlier_commit_fits_the_arrays_of_todays_log(tmp_path):
    (tmp_path / "jaxroute").mkdir()
    for name, text in {"__init__": "", **FAKE}.items():
        lines = [line.removeprefix("        ") for line in text.splitlines()]
        (tmp_path / "jaxroute" / f"{name}.py").write_text("\n".join(lines))
    logs, _ = small_log()
    key, test = jax.random.key(3), np.array([[0.25, 0.5], [1.0, 2.0]], np.float32)
    with since.Earlier("abc", tmp_path) as earlier:
        earlier.predictions(key, logs, 2 * test, NuisanceSpec())
        process = earlier.process
        told = earlier.predictions(key, logs, test, NuisanceSpec(penalties=(300.0, 0.5)))
        assert earlier.process is process  # one for every log
    np.testing.assert_allclose(told[since.STACK].quality, test + np.sum(logs.quality), rtol=1e-6)
    np.testing.assert_array_equal(told[since.STACK].cost, test + 3)  # the key's data are 0 and 3
    np.testing.assert_array_equal(told[since.RECIPE].quality, np.asarray(logs.propensity)[:2, None] + test)
    np.testing.assert_array_equal(told[since.RECIPE].cost, test + 305.5)  # folds of its own default
    assert process.returncode is not None


def test_an_earlier_commit_that_fails_is_no_number(tmp_path):
    logs, _ = small_log()
    (tmp_path / "jaxroute").mkdir()
    (tmp_path / "jaxroute" / "__init__.py").write_text("raise SystemExit('no such API')")
    with since.Earlier("abc", tmp_path) as earlier, pytest.raises(RuntimeError, match="commit abc could not fit a log"):
        earlier.predictions(jax.random.key(0), logs, np.zeros((2, 1), np.float32), NuisanceSpec())


def test_the_place_of_a_checkout_is_in_no_key():
    def key(commit, tree):
        return cells.key((partial(since.former, since.Earlier(commit, Path(tree))),))

    assert key("abc", "here") == key("abc", "there") != key("abd", "here")


def test_the_logs_of_whole_tables_are_those_of_the_study(tmp_path):
    for table in design.TABLES:
        (tmp_path / table.folder).mkdir(exist_ok=True)
    every = list(since.cases(argparse.Namespace(data=tmp_path, smoke=False)))
    assert len(every) == len(design.TABLES) * len(since.LOGGERS) + len(prior.PAIRS) * len(since.OF_PRIOR)
    by = {(case.dataset, case.logger): case for case in every}
    for logger, policy in zip(since.OF_PRIOR, prior.LOGGERS.values(), strict=True):
        for table, dataset in (("bbh", "bbh from mmlu-pro"), ("mmlu-pro", "mmlu-pro from bbh")):
            assert by[dataset, logger].config == by[table, logger].config
            assert by[dataset, logger].config.logger == policy
    assert {seed for case in every for seed in case.config.draws} == set(range(500, 500 + since.SEEDS))


def test_the_summary_pairs_by_seed_and_corrects_by_column():
    def rows(dataset, has_prior, added):
        means = {"former stack": 5.0, "former recipe": 4.0}
        now = {"stack": (0.0, "former stack"), "recipe": (1.0, "former recipe")}
        if has_prior:
            now |= {"with prior": (-1.0, "former recipe"), "prior shuffled": (0.0, "former recipe")}
        for seed, more in enumerate(added):
            for variant, mean in means.items():
                yield "a", dataset, has_prior, variant, seed, mean + seed
            for variant, (times, base) in now.items():
                yield "a", dataset, has_prior, variant, seed, means[base] + seed + times * more

    unsure = (0.7, 1.0, 1.3)  # t = 1 / (0.3 / sqrt 3) = 5.77, p = 0.029 with two degrees of freedom
    found = pd.DataFrame(
        [*rows("x", False, unsure), *rows("synthetic", False, (0.0, 0.0, 0.0)), *rows("y", True, unsure)],
        columns=["logger", "dataset", "has_prior", "variant", "seed", "regret"],
    )
    table = since.summary(found).set_index("dataset")
    assert list(table.index) == ["x", "synthetic", since.OF_STUDY, "y", since.OF_TASKS, prior.LARGE]
    assert table.loc["x", "former recipe"] == "5.00"
    assert table.loc["x", "stack"] == "+0.00 [+0.00, +0.00]"
    half = 4.303 * 0.3 / np.sqrt(3)
    gap = f"[{1 - half:+.2f}, {1 + half:+.2f}]"
    assert table.loc["x", "recipe"] == f"+1.00 {gap}"  # two cells: twice 0.029
    assert table.loc["y", "recipe"] == f"+1.00 {gap}*"  # one cell
    assert table.loc["y", "with prior"].startswith("-1.00 [")
    assert table.loc["x", "with prior"] == "-"
    assert table.loc[since.OF_STUDY, "recipe"] == f"+1.00 {gap}"  # the synthetic problem is not in it


def test_the_summary_pools_loggers_with_and_without_short_logs():
    added = {"a": -1.0, "b": -2.0, "a, 500 rows": -6.0}
    rows = [
        (logger, "x", False, variant, seed, 5.0 + (gap + seed if variant in since.AGAINST else 0.0))
        for logger, gap in added.items()
        for variant in ("former stack", "former recipe", "stack", "recipe")
        for seed in range(2)
    ]
    found = pd.DataFrame(rows, columns=["logger", "dataset", "has_prior", "variant", "seed", "regret"])
    table = since.summary(found).set_index(["logger", "dataset"])["recipe"]
    assert table[since.EVERY, since.OF_STUDY].startswith("-2.50 [")  # (-1 - 2 - 6) / 3, and half a point for the seeds
    assert table[since.LONG, since.OF_STUDY].startswith("-1.00 [")
    assert table["b", since.OF_STUDY].startswith("-1.50 [")


@pytest.mark.study
def test_the_smoke_run_compares_with_the_earlier_commit(tmp_path, capsys, monkeypatch):
    assert since.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "since" / "since.parquet")
    of_study, with_prior = found[~found["has_prior"]], found[found["has_prior"]]
    assert set(of_study["variant"]) == {"former stack", "former recipe", "stack", "recipe"}
    assert set(with_prior["variant"]) == set(of_study["variant"]) | {"with prior", "prior shuffled"}
    assert found["regret"].between(0, 100).all()
    wide = of_study.pivot(index="seed", columns="variant", values="regret")
    assert wide["former stack"].std() > 0
    assert "| weak router 2 | synthetic |" in capsys.readouterr().out
    monkeypatch.setattr(since, "PREDICT", None)  # nothing is fitted again
    assert since.main(["--smoke", "--out", str(tmp_path)]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "since" / "since.parquet"), found)
