"""Features and weights that arithmetic in 32 bits cannot use are refused or named where they enter."""

import json
import warnings

import jax
import numpy as np
import pytest
import router_kinds
from commands import run

from jaxroute.data import scale
from jaxroute.data.logs import as_logs, load
from jaxroute.learn import fitting, full_feedback, sufficiency
from jaxroute.serving import comparison, distil, evaluation
from jaxroute.types import Examples, InputError, NuisanceSpec, Outcomes, UnsupportedLogError

MEAN = NuisanceSpec(("mean",), folds=3)


def rows(count=150, **columns):
    """A random log of three models with features; ``columns`` are functions of the row's number and its record."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        k = int(rng.integers(3))
        record = {"features": rng.normal(size=4).tolist(), "model": "abc"[k], "quality": float(rng.random() < 0.5)}
        record |= {"cost": 0.001 * (k + 1) * float(rng.uniform(1, 2)), "propensity": 1 / 3, "request_id": f"r{i}"}
        found.append(record | {name: make(i, record) for name, make in columns.items()})
    return found


def times(factor, row=None):
    """Features times a number, in one row or in all."""

    def make(i, record):
        own = row is None or i == row
        return (np.array(record["features"]) * (factor if own else 1)).tolist()

    return make


def plus(offset):
    return lambda i, record: (np.array(record["features"]) + offset).tolist()


UNFIT = {
    "too large": (times(1e20), "squares overflow: scale the features down"),
    "one row too large": (times(1e20, 3), r"feature \d of row 3 is .*, and beyond 1e\+15 squares overflow"),
    "too small": (times(1e-18), "below 1e-15 their squares count as 0: scale them up"),
    "denormal": (times(1e-40), "below 1e-15 their squares count as 0: scale them up"),
    "one row hides the rest": (times(1e8, 7), r"feature \d of row 7 is .*, beside which all other rows look alike"),
    "far from 0": (plus(1e7), "which 32 bits cannot tell apart: subtract the mean"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_features_of_no_use_are_refused_with_the_reason_by_every_command(name):
    make, why = UNFIT[name]
    log = load(rows(features=make))
    assert sufficiency.refusal(load(rows())) == ""
    with pytest.raises(UnsupportedLogError, match=why):
        fitting.fit(jax.random.key(0), as_logs(log), log.models, spec=MEAN)
    quality = np.random.default_rng(0).random((len(log), 2))
    table = Examples(log.features, Outcomes(quality, quality), np.ones((len(log), 2), bool))
    with pytest.raises(UnsupportedLogError, match=why):
        full_feedback.fit(jax.random.key(0), table, ["a", "b"], spec=MEAN, method="plug_in_ridge")


def test_what_scale_leaves_to_be_learnt_is_not_refused():
    for factor in (1e-12, 1e-6, 1e6, 1e12):
        assert scale.unfit(load(rows(features=times(factor))).features) == ""
        assert load(rows(features=times(factor))).outliers == ()
    assert scale.unfit(load(rows(features=plus(100))).features) == ""
    assert scale.unfit(np.zeros((10, 2))) == ""
    assert scale.unfit(np.zeros((0, 2))) == scale.unfit(np.zeros((3, 0))) == ""
    assert scale.unfit(np.array([[0.0, np.nan], [1.0, 2.0]])) == "feature 1 of row 0 is nan, which is no finite number"


def test_features_that_count_for_nothing_beside_a_wide_one_are_named():
    def wide(i, record):
        return [record["features"][0] * 1e5, *record["features"][1:]]

    (said,) = load(rows(features=wide)).outliers
    assert said.startswith("features 1, 2, 3 vary less than 1/10000 as much as feature 0")
    dead = load(rows(features=lambda i, r: [*r["features"], 0.0, 1.0, float(i == 5)]))  # constant ones lose nothing
    assert dead.outliers == ()
    tier = load(rows(features=times(1e5), tier=lambda i, r: "free" if i % 2 else "gold"), context=["tier"])
    assert tier.outliers[0].startswith("the context columns vary less than 1/10000 as much as feature ")


@pytest.mark.slow
def test_the_doctor_and_evaluate_refuse_with_the_same_words(tmp_path, capsys):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    for path, found in ((good, rows()), (bad, rows(features=times(1e20, 3)))):
        path.write_text("".join(json.dumps(row) + "\n" for row in found))
    code, out, _ = run(capsys, "doctor", bad)
    assert code == 3
    assert "- A router cannot be fitted: feature " in out
    assert "rarely tried" not in out
    code, _, said = run(capsys, "shadow", bad)
    assert code == 3
    assert "squares overflow" in said
    log = load(rows())
    router = fitting.fit(jax.random.key(0), as_logs(log), log.models, spec=MEAN, method="plug_in_mean")
    with pytest.raises(UnsupportedLogError, match=r"feature \d of row 3"):
        evaluation.on_log(router, load(rows(features=times(1e20, 3), request_id=lambda i, _: f"later {i}")))


def heavy(weight, row=17):
    return lambda i, _: weight if i == row else 1


@pytest.mark.parametrize("weight", [300, 1e6, 1e30])
def test_a_row_that_outweighs_the_log_is_named_and_refused(weight):
    router = router_kinds.router("plug_in", features=4)
    log = load(rows(weight=heavy(weight)))
    assert log.outliers[0].startswith(f"weight is {weight:.3g}, so this row stands for ")
    assert "row 17, model " in log.outliers[0]
    why = r"150 rows count as \d+ by their weights: row 17 weighs .*, and half of them at most 1"
    with pytest.raises(UnsupportedLogError, match=why):
        fitting.fit(jax.random.key(0), as_logs(log), log.models, spec=MEAN)
    later = load(rows(weight=heavy(weight), request_id=lambda i, _: f"later {i}"))
    with pytest.raises(UnsupportedLogError, match=why):
        evaluation.on_log(router, later)
    with pytest.raises(UnsupportedLogError, match=why):
        comparison.compare(router, router, later)


def test_an_unrated_row_that_outweighs_the_log_counts_among_the_rows_alone():
    lost = load(rows(weight=heavy(1e6, 3), quality=lambda i, r: None if i == 3 else r["quality"]))
    assert sufficiency.refusal(lost).startswith("150 rows count as 1 by their weights: row 3 ")
    few = rows(400, weight=lambda i, _: 1000 if i < 4 else 1, quality=lambda i, _: None if 4 <= i < 300 else 1.0)
    many = [row | {"weight": 1000 if i < 4 or 4 <= i < 300 else 1} for i, row in enumerate(few)]
    assert sufficiency.refusal(load(many)).startswith("104 answers with a quality count as 4 by their weights")


def test_weights_of_ordinary_spread_are_neither_named_nor_refused():
    log = load(rows(weight=lambda i, _: [1, 4, 20][i % 3]))
    assert (log.outliers, sufficiency.refusal(log)) == ((), "")


@pytest.mark.parametrize(
    ("weight", "why"),
    [(1e39, "weight is not a finite number above 0"), (1e-40, "weight is below 1.18e-38, which counts as 0")],
)
def test_weights_that_are_infinite_or_0_in_32_bits_are_bad_rows(weight, why):
    with pytest.raises(InputError, match=why + ": 1 row"):
        load(rows(weight=heavy(weight)))


def test_costs_that_32_bits_cannot_hold_are_refused_without_a_warning_of_numpy():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"the cost of row \d+ is .*, and beyond 1e\+30 costs overflow"):
            as_logs(load(rows(cost=lambda i, r: r["cost"] * 1e42)))
        with pytest.raises(InputError, match=r"no cost is above .*: use a smaller unit"):
            as_logs(load(rows(cost=lambda i, r: r["cost"] * 1e-30)))
        assert as_logs(load(rows(cost=lambda i, r: 0))).cost.max() == 0
        assert load(rows(cost=lambda i, r: 1e39 if i == 4 else r["cost"])).outliers[0].startswith("cost is beyond all")


def test_hundreds_of_models_of_a_few_rows_are_refused_at_once(tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    found = rows(model=lambda i, _: f"m{i}", propensity=lambda i, _: None)
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    code, _, said = run(capsys, "doctor", path)
    assert code == 3
    assert "no model has 10 answers with a quality (the most are 1)" in said
    assert sufficiency.refusal(load(found)).startswith("no model has 10 answers with a quality")


def test_a_distilled_network_knows_costs_in_whatever_unit():
    x = jax.random.normal(jax.random.key(0), (200, 3))
    quality, cost = x[:, :2], 1.0 + 0.3 * x[:, 1:]

    def relative(unit):
        student = distil.fit(
            jax.random.key(1), x, Outcomes(quality, unit * cost), cost_scale=unit, hidden=(8,), steps=50
        )
        return np.asarray(distil.predict(student, x, (8,)).cost) / unit

    for unit in (2.0**-60, 2.0**60):
        np.testing.assert_allclose(relative(unit), relative(1.0), rtol=1e-4)
