"""Keywords with values that they cannot have are refused by their names, before anything is read or fitted."""

import dataclasses

import jax
import numpy as np
import pytest
import router_kinds
from commands import run
from sklearn.linear_model import Ridge

import jaxroute as jr
from jaxroute import nuisance
from jaxroute.data import simulate, synthetic
from jaxroute.learn import fitting, keywords
from jaxroute.types import Hyperparams, InputError, NuisanceSpec, Spec

NAN = float("nan")
SPEC = NuisanceSpec()
TABLE = synthetic.make(jax.random.key(0), num_prompts=60, num_models=3)
LOGS = simulate.simulate(jax.random.key(1), TABLE, simulate.uniform())
REFUSED = {
    "cost_weights": (["a"], "a", 5, [], [None], [NAN], [[0.0, 1.0]], [1, 0], [-1.0], [True]),
    "normalised_cost_weights": (["a"], [1, 0], [-1.0]),
    "members": (1.5, "a", 0, True, None),
    "seed": ("a", 1.5, None, 2**70),
    "hidden": ("a", 5, (0,), (1.5,), ("a",), None, [4]),
    "steps": (0, -1, "a", 1.5),
    "outcome_models": ([], "mean", 5),
    "holdout": ("a", 0, 1.5, True, NAN),
    "max_latency": ("a", -1, NAN),
    "recency": ("x", -1, [1], True),
    "encoder": (5,),
    "fingerprint": ("a", None),
    "clip": ("a", 2, NAN),
    "cost_scale": ("a", 0, -1, NAN, np.inf),
    "candidates": ("a", 5, [5]),
    "currency": (5, None),
    "revision": (5,),
    "mesh": ("a",),
    "on_stage": (5, None),
    "on_evidence": (5,),
    "estimator": ("x", 5),
    "spec": ("a", None),
    "training": ("a", (4,)),
    "hyperparams": ("a", (1.0,)),
}
PARTS = {
    "spec.outcome_models": (dataclasses.replace(SPEC, outcome_models=()),),
    "spec.propensity_models": tuple(dataclasses.replace(SPEC, propensity_models=x) for x in ((), ("x",), "x")),
    "spec.folds": tuple(dataclasses.replace(SPEC, folds=x) for x in (1, "a", 2.5)),
    "spec.combine": (dataclasses.replace(SPEC, combine="x"),),
    "spec.calibration": (dataclasses.replace(SPEC, calibration="x"),),
    "spec.propensity": (dataclasses.replace(SPEC, propensity=None),),
    "spec.penalties": tuple(dataclasses.replace(SPEC, penalties=x) for x in ((), [1.0], ("a",), (-1.0,))),
    "spec.pooled_penalties": (dataclasses.replace(SPEC, pooled_penalties=(1.0,)),),
    "spec.processes": (dataclasses.replace(SPEC, processes=((1.0, "a", 1.0),)),),
    "spec.neighbours": (dataclasses.replace(SPEC, neighbours=(0,)),),
    "spec.dimensions": (dataclasses.replace(SPEC, dimensions=0),),
    "spec.epochs": (dataclasses.replace(SPEC, epochs=0),),
    "spec.dropout": (dataclasses.replace(SPEC, dropout=1.0),),
    "spec.learning_rate": (dataclasses.replace(SPEC, learning_rate=NAN),),
    "training.hidden": (Spec("a"), Spec((0,)), Spec([4])),
    "training.batch_size": (Spec(batch_size=0),),
    "training.steps": (Spec(steps="a"),),
    "training.chunk": (Spec(chunk=0),),
    "training.dropout": (Spec(dropout=2.0),),
    "training.matmul_precision": (Spec(matmul_precision="x"),),
    "hyperparams.learning_rate": (Hyperparams(learning_rate="a"), Hyperparams(learning_rate=NAN)),
    "hyperparams.width": (Hyperparams(width=0),),
}
EVERY = [(name, value) for name, values in REFUSED.items() for value in values]
EVERY_PART = [(name, value) for name, values in PARTS.items() for value in values]


@pytest.mark.parametrize(("name", "value"), EVERY)
def test_a_keyword_that_means_nothing_is_refused_by_its_name_before_a_log_is_read(name, value):
    method = "rm_softmax" if name in ("estimator", "training", "hyperparams") else "recommended"
    with pytest.raises(InputError, match=rf"^{name} is "):
        jr.fit("no/such.jsonl", method, **{name: value})


@pytest.mark.parametrize(("name", "value"), EVERY_PART)
def test_a_part_of_a_setting_is_refused_by_its_name(name, value):
    with pytest.raises(InputError, match=rf"^{name} is "):
        jr.fit("no/such.jsonl", "rm_softmax", **{name.split(".")[0]: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [one for one in EVERY if one[0] in ("members", "hidden", "steps", "cost_scale", "mesh", "on_stage", "hyperparams")],
)
def test_so_it_is_for_arrays_and_for_tables(name, value, monkeypatch):
    monkeypatch.setattr(nuisance, "fit", lambda *_, **__: pytest.fail("nuisances were fitted"))
    monkeypatch.setattr(nuisance, "fit_outcomes", lambda *_, **__: pytest.fail("outcome models were fitted"))
    key, method = jax.random.key(0), "rm_softmax" if name == "hyperparams" else "plug_in_mean"
    for call in (
        lambda given: jr.fit(LOGS, method, models=TABLE.models, **given),
        lambda given: jr.fit(TABLE, method, encoder=None, **given),
        lambda given: fitting.fit(key, LOGS, TABLE.models, method=method, **given),
    ):
        with pytest.raises(InputError, match=rf"^{name} is "):
            call({name: value})


def test_learn_fit_refuses_its_own():
    for name, values in {**PARTS, "seeds": (5, ["a"], [0.5]), "num_folds": ("a", 2.5)}.items():
        if name.startswith(("training", "hyperparams", "seeds", "num_folds")):
            for value in values:
                with pytest.raises(InputError, match=rf"^{name} is "):
                    jr.learn.fit(jax.random.key(0), LOGS, **{name.split(".")[0]: value})


def test_what_may_be_given_passes():
    keywords.check(
        {
            "members": np.int64(2), "seed": np.int32(-1), "hidden": (), "steps": 1, "cost_scale": np.float32(0.5),
            "outcome_models": ["mean", Ridge()], "holdout": 0.2, "max_latency": 3, "recency": "auto", "mesh": None,
            "spec": NuisanceSpec(["mean"], folds=2), "training": Spec((), steps=0), "hyperparams": Hyperparams(),
            "candidates": ("a", "b"), "estimator": lambda logs, nuisances: nuisances.outcomes, "clip": None,
            "something": "else",
        }
    )  # fmt: skip
    keywords.check({"recency": "2.5", "seed": 2**40, "estimator": "dr", "encoder": None})


def test_a_keyword_that_no_fit_has_and_one_of_other_data():
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'step'; did you mean 'steps'\?"):
        jr.fit("no/such.jsonl", step=100)
    with pytest.raises(InputError, match="clip= means nothing for such data"):
        jr.fit(TABLE, encoder=None, clip=0.1)


def test_candidates_are_models_of_the_log():
    with pytest.raises(InputError, match="candidates names 'other', and the models are"):
        jr.fit(LOGS, models=TABLE.models, candidates=[TABLE.models[0], "other"])
    rows = [{"prompt": f"{i % 7}", "model": "ab"[i % 2], "quality": i % 3 / 2, "cost": 1 + i % 2} for i in range(80)]
    with pytest.raises(InputError, match="candidates names 'other', and the models are a, b"):
        jr.fit(rows, candidates=["a", "b", "other"])


def test_rows_are_held_out_by_a_seed_of_at_least_0():
    for data in (TABLE, [{"prompt": f"{i}", "model": "ab"[i % 2], "quality": 1, "cost": 1} for i in range(60)]):
        encoder = None if data is TABLE else "hashed"
        with pytest.raises(InputError, match="seed is -1; it must be a whole number of at least 0"):
            jr.fit(data, seed=-1, holdout=0.2, encoder=encoder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--normalised-cost-weights", "nan"], "--normalised-cost-weights 'nan': give finite numbers of at least 0"),
        (["--normalised-cost-weights", "1,0"], "--normalised-cost-weights is [1.0, 0.0]; cost weights have to ascend"),
        (["--holdout", "1.5"], "--holdout is 1.5; it must be a share above 0 and below 1"),
        (["--max-latency", "nan"], "--max-latency is nan; it must be seconds above 0"),
        (["--recency", "soon"], "--recency is 'soon'; give days above 0, or auto"),
    ],
)
def test_the_command_names_the_option_before_a_log_is_read(capsys, tmp_path, options, says):
    code, _, err = run(capsys, "fit", "no/such.jsonl", "--out", tmp_path / "router", *options)
    assert (code, err.count("\n")) == (2, 1), err
    assert says in err


ROUTER = router_kinds.router("plug_in")
WEIGHTS = (["a"], "a", 5, [], [None], [NAN], [-1.0], [[0.0]], None)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_cost_weights_to_judge_at_are_refused_by_their_name(weights):
    log = jr.read_log([{"features": [0.0, float(i)], "model": "ab"[i % 2], "quality": 1, "cost": 1} for i in range(60)])
    for call in (
        lambda: jr.evaluate(ROUTER, log, normalised_cost_weights=weights),
        lambda: jr.evaluate(ROUTER, TABLE, normalised_cost_weights=weights),
        lambda: jr.compare(ROUTER, ROUTER, log, normalised_cost_weights=weights),
        lambda: jr.rank([ROUTER, ROUTER], log, normalised_cost_weights=weights),
    ):
        with pytest.raises(InputError, match=r"^normalised_cost_weights is "):
            call()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: jr.evaluate(5, "no.jsonl"), "router is 5; it must be a Router, or the folder of one"),
        (lambda: jr.compare(ROUTER, None, "no.jsonl"), "second is None; it must be a Router"),
        (lambda: jr.rank([ROUTER, 5], "no.jsonl"), r"routers\[1\] is 5; it must be a Router"),
        (lambda: jr.rank(ROUTER, "no.jsonl"), "routers is .*; it must be a list of routers"),
        (lambda: jr.rank([ROUTER, ROUTER], "no.jsonl", names=["a", "a"]), "names is .*; .* a list of different names"),
        (lambda: jr.rank([ROUTER, ROUTER], "no.jsonl", names=5), "names is 5; it must be a list of names"),
        (lambda: jr.evaluate(ROUTER, TABLE, shadow=TABLE), "shadow= belongs to a log"),
        (lambda: jr.Router.load(5), "path is 5; it must be the folder of a router"),
        (lambda: ROUTER.save(5), "path is 5; it must be the folder of a router"),
        (lambda: ROUTER.within("fast"), "max_latency is 'fast'; it must be seconds above 0"),
        (lambda: jr.read_log([], columns=5), "columns is 5; it must be a dictionary of fields"),
        (lambda: jr.read_log([], columns={"cost": 5}), "columns is .*; it must be a dictionary of fields"),
        (lambda: jr.read_log([], context="tier"), "context is 'tier'; it must be a list of names of columns"),
        (lambda: jr.read_log([], chat=5), "chat rule 5: write one of"),
        (lambda: jr.read_log([], prices=5), "prices is 5; it must be a price table"),
        (lambda: jr.read_log([], prices={"a": 1}), r"prices\['a'\] is 1; it must be a list of \(input, output\)"),
        (lambda: jr.read_log([], prices={"a": ("x", 2)}), r"prices\['a'\] is \('x', 2\); it must be \(input, output\)"),
        (lambda: jr.read_log([], failures=5), "failures is 5; it must be one of drop, zero"),
        (
            lambda: jr.read_table([{"query_id": "a"}], quality_range=5),
            r"quality_range is 5; it must be \(worst, best\)",
        ),
        (lambda: jr.read_table("no/such", quality_range=(1, 1)), r"quality_range is \(1, 1\); it must be"),
    ],
)
def test_what_a_function_cannot_use_is_refused_by_its_name(call, says):
    with pytest.raises(InputError, match=says):
        call()


@pytest.mark.parametrize("value", ["a", 5, (1,), ("a", "b"), None, (1, 1), (0, NAN), (0, np.inf)])
def test_a_scale_of_qualities_has_two_ends(value):
    with pytest.raises(InputError, match=r"^quality_range is .*; it must be \(worst, best\), two different numbers$"):
        jr.read_log([{"prompt": "hi", "model": "a", "quality": 1, "cost": 1}], quality_range=value)
