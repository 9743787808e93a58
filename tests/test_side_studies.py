"""What the smaller studies share: regret by a loop, logs that equal the main job's, frames that are kept."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import problem
from experiments.side import common as side_studies
from experiments.study import design as study_design
from jaxroute.types import InputError, Outcomes


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    centre = study_design.centre(study_design.TABLES[0], tmp_path_factory.mktemp("data"), smoke=True)
    return dataclasses.replace(centre, methods=("recommended",))


def test_regret_is_a_loop_over_weights_and_prompts(smoke):
    table = side_studies.normalised(smoke).rows(np.arange(40))
    available = np.ones(table.available.shape, bool)
    available[3, :4] = False
    table = dataclasses.replace(table, available=available)
    predicted = np.random.default_rng(0).random((2, *available.shape)).astype(np.float32)
    lost = []
    for weight in (0.0, 0.7):
        for i in range(40):
            seen = [k for k in range(available.shape[1]) if available[i, k]]
            utility = {k: table.outcomes.quality[i, k] - weight * table.outcomes.cost[i, k] for k in seen}
            chosen = max(seen, key=lambda k: predicted[0, i, k] - weight * predicted[1, i, k])
            lost.append(max(utility.values()) - utility[chosen])
    found = side_studies.regret(Outcomes(*map(jnp.asarray, predicted)), table, (0.0, 0.7))
    np.testing.assert_allclose(found, 100 * np.mean(lost), rtol=1e-5)


def test_logs_are_those_of_the_main_job(smoke):
    table = side_studies.normalised(smoke)
    rows = problem.split_rows(smoke, table)[1]
    logs, key = side_studies.simulated_log(smoke, 1, table.rows(rows[0]), table.rows(rows[3]))
    built = problem.build(smoke, table, rows, 1)
    for ours, theirs in zip(logs, built.train_log, strict=True):
        np.testing.assert_array_equal(np.float32(ours), np.float32(theirs))
    fitted, _ = problem.nuisance.fit(key, logs, smoke.nuisance)
    np.testing.assert_allclose(fitted.outcomes.quality, built.nuisances.outcomes.quality, atol=1e-6)


def test_a_log_is_measured_once(smoke, tmp_path):
    table, seen = side_studies.normalised(smoke), []

    def measure(config, given, seed, rows):
        if seed == 1 and len(seen) < 2:
            seen.append("stopped")
            raise KeyboardInterrupt
        seen.append(seed)
        return pd.DataFrame({"seed": [seed], "rows": [len(rows[0])]})

    with pytest.raises(KeyboardInterrupt):
        side_studies.each_log(smoke, table, tmp_path, measure)
    found = side_studies.each_log(smoke, table, tmp_path, measure)
    assert seen == [0, "stopped", 1]
    assert found["seed"].tolist() == [0, 1]
    pd.testing.assert_frame_equal(side_studies.each_log(smoke, table, tmp_path, measure), found)
    other = dataclasses.replace(smoke, logger="uniform")
    side_studies.each_log(other, table, tmp_path, measure)
    assert seen[3:] == [0, 1]


def test_a_study_says_how_it_ended(tmp_path, capsys):
    def run(measured):
        return side_studies.command("any", "About it.", measured, lambda f: f"{len(f)} rows", ["--out", str(tmp_path)])

    def stopped(error):
        yield pd.DataFrame({"a": [1]})
        raise error

    assert run(lambda _: stopped(InputError("no such table"))) == 2
    assert capsys.readouterr().err == "error: no such table\n"
    assert run(lambda _: stopped(OSError(28, "No space left on device", "x.parquet"))) == 2
    assert "error: [Errno 28] No space left on device: 'x.parquet'" in capsys.readouterr().err
    assert run(lambda _: stopped(KeyboardInterrupt())) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert not (tmp_path / "any").exists()
    assert run(lambda _: iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2, 3]})])) == 0
    assert capsys.readouterr().out == "3 rows\n"
    assert pd.read_parquet(tmp_path / "any" / "any.parquet")["a"].tolist() == [1, 2, 3]
