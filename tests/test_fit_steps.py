"""``jr.fit`` and ``jaxroute fit`` are one pipeline: they fit alike, and refuse what is bad before any work."""

import json
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

import jaxroute as jr
from jaxroute import nuisance
from jaxroute.cli import reading
from jaxroute.cli.options import AS_IT_IS
from jaxroute.data import encoders, logs, synthetic, tables
from jaxroute.estimators import by_weight
from jaxroute.learn import fitting, sufficiency
from jaxroute.serving import comparison, evaluation, ranking
from jaxroute.system import wording
from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes

MODELS = ("fast", "good", "slow")
LATENCY = (0.5, 1.0, 9.0)


def rows_of(count=210, **more):
    """Requests of three models in turn, with times and latencies; more: functions of the row's number."""
    return [
        {"prompt": f"question {i} of {i % 11}", "model": MODELS[i % 3], "quality": (i * 7 % 10) / 10, "cost": 1 + i % 3,
         "latency": LATENCY[i % 3], "timestamp": 1e9 + 3600 * i, "request_id": f"r{i}",
         **{name: value(i) for name, value in more.items()}}
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture
def log(tmp_path):
    def written(name="log", **more):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(**more)))
        return path

    return written


@pytest.fixture
def sample(tmp_path):
    """60 prompts that all models answered, and one that the log does not have."""
    places = [(i, model) for i in range(60) for model in (*MODELS, "other")]
    answers = {"query_id": [f"q{i}" for i, _ in places], "model": [model for _, model in places]}
    answers |= {"quality": [(i * 3 % 7) / 7 for i, _ in places], "cost": 1.0}
    prompts = {"query_id": [f"q{i}" for i in range(60)], "prompt": [f"shadow {i}" for i in range(60)], "task": "t"}
    tables.write(tmp_path / "sample", pd.DataFrame(prompts), pd.DataFrame(answers))
    return tmp_path / "sample"


@pytest.fixture
def prior(tmp_path):
    path = tmp_path / "prior.csv"
    path.write_text("model,quality,sd\nfast,0.3,0.1\ngood,0.6,0.1\n")
    return path


@pytest.fixture
def fits(monkeypatch):
    """What fits were asked for; none is run."""
    asked = []

    def fit(key, logs, models, **options):
        asked.append((jax.random.key_data(key), logs, models, options))
        raise InputError("reached the fit")

    monkeypatch.setattr(fitting, "fit", fit)
    return asked


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ([], {}),
        (["--seed", "3", "--members", "2", "--method", "plug_in_stack"],
         {"seed": 3, "members": 2, "method": "plug_in_stack"}),
        (["--normalised-cost-weights", "0,1", "--encoder", "hashed+marks"],
         {"normalised_cost_weights": [0, 1], "encoder": "hashed+marks"}),
        (["--shadow", "{sample}", "--prior", "{prior}"], {"shadow": "{sample}", "prior": "{prior}"}),
        (["--max-latency", "3", "--recency", "2.5"], {"max_latency": 3, "recency": 2.5}),
        (["--holdout", "0.2", "--shadow", "{sample}", "--recency", "4"],
         {"holdout": 0.2, "shadow": "{sample}", "recency": 4}),
        (["--split-time", "2001-09-15"], {"split_time": "2001-09-15"}),
    ],
)  # fmt: skip
def test_the_command_and_the_function_ask_for_the_same_fit(
    options, keywords, log, sample, prior, fits, capsys, tmp_path
):
    def filled(value):
        return value.format(sample=sample, prior=prior) if isinstance(value, str) else value

    path = log()
    code, _, err = run(capsys, "fit", path, "--out", tmp_path / "router", *map(filled, options))
    assert (code, "reached the fit" in err) == (2, True), err
    with pytest.raises(InputError, match="reached the fit"):
        jr.fit(path, **{name: filled(value) for name, value in keywords.items()})
    arrays, rest = [], []
    for *given, options_of_fit in fits:
        own = {name: value for name, value in options_of_fit.items() if value is not None and name[:3] != "on_"}
        arrays.append(jax.tree.leaves([*given[:2], own.pop("shadow", None), own.pop("prior", None)]))
        rest.append((given[2], own))
    assert rest[0] == rest[1]
    for ours, theirs in zip(*arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("given", ["file", "pairs"])
def test_the_command_and_the_function_price_a_log_and_say_what_made_its_features_alike(
    given, log, prior, fits, capsys, tmp_path
):
    """Prices are for rows without a cost, and for a model that the prior alone names."""
    made = encoders.encode([f"question {i}" for i in range(210)], "hashed").tolist()
    tokens = {"input_tokens": lambda i: 100 + i, "output_tokens": lambda i: 9}
    path = log(features=lambda i: made[i], cost=lambda i: None, **tokens)
    prior.write_text(prior.read_text() + "new,0.7,0.1\n")
    pairs = {**dict.fromkeys(MODELS, (1.0, 2.0)), "new": (4.0, 8.0)}
    prices = tmp_path / "prices.csv"
    prices.write_text("model,input,output\n" + "".join(f"{name},{a},{b}\n" for name, (a, b) in pairs.items()))
    options = ("--features-by", "hashed", "--prices", prices, "--prior", prior)
    assert "reached the fit" in run(capsys, "fit", path, "--out", tmp_path / "router", *options)[2]
    with pytest.raises(InputError, match="reached the fit"):
        jr.fit(path, features_by="hashed", prices=prices if given == "file" else pairs, prior=prior)
    (_, ours, _, asked), (_, theirs, _, same) = fits
    np.testing.assert_array_equal(ours.cost, theirs.cost)
    np.testing.assert_allclose(np.sort(ours.cost)[[0, -1]], [118e-6, 327e-6], rtol=1e-5)
    assert asked["encoder"] == same["encoder"] == "hashed"


def test_features_by_and_prices_are_refused_where_they_mean_nothing(fits):
    rows = rows_of(features=lambda i: [0.1, 0.2])
    table = synthetic.make(jax.random.key(0), num_prompts=60, num_models=3)
    arrays = Logs(*(np.ones(3) for _ in Logs._fields))
    priced = {"a": (1, 2)}
    for call, says in (
        (
            lambda: jr.fit(rows, features_by="hashed"),
            "features_by hashed: this encoder makes 256 features per prompt and",
        ),
        (lambda: jr.fit(rows_of(), features_by="hashed"), "features_by: the log has no features; use encoder="),
        (lambda: jr.fit(rows, features_by="hashd"), "unknown encoder 'hashd'"),
        (lambda: jr.fit(rows, features_by=3), "3"),
        (lambda: jr.fit(table, features_by="hashed"), "makes 256 features per prompt and the table has"),
        (lambda: jr.fit(table, prices=priced), "prices= belong to a log; give those of a table to read_table"),
        (lambda: jr.fit(arrays, models=["a", "b"], prices=priced), "prices= and features_by= need a log of rows"),
        (
            lambda: jr.fit(arrays, models=["a", "b"], features_by="hashed"),
            "prices= and features_by= need a log of rows",
        ),
        (lambda: jr.fit(rows, prices=[1]), "prices is"),
        (
            lambda: jr.fit(jr.read_log(rows_of()), prices=priced),
            "prices= would change nothing",
        ),
        (lambda: jr.read_log(jr.read_log(rows_of()), quality_range=(1, 5)), "quality_range= would change nothing"),
        (lambda: jr.read_table(table, encoder="hashed"), "encoder= would change nothing"),
    ):
        with pytest.raises(InputError, match=says):
            call()
    assert not fits


def test_a_table_of_features_that_an_encoder_made_makes_a_router_of_texts():
    made = synthetic.make(jax.random.key(0), num_prompts=120, num_models=3)
    table = replace(made, features=encoders.encode(made.prompt, "hashed"))
    small = {"outcome_models": ["mean"], "hidden": (4,), "steps": 10}
    router = jr.fit(table, "plug_in_mean", features_by="hashed", holdout=0.2, **small)
    same = jr.fit(made, "plug_in_mean", encoder="hashed", holdout=0.2, **small)
    assert router.encoder == "hashed"
    np.testing.assert_array_equal(*(one.route(["a text"], cost_weight=0.0).scores for one in (router, same)))


def test_a_log_without_costs_is_priced_before_a_router_is_judged(monkeypatch):
    """By evaluate, compare and rank, as their commands have --prices."""
    seen = []

    def stop(*arguments, **_):
        (log,) = (one for one in arguments if isinstance(one, logs.LogTable))
        seen.append(log.cost.tolist())
        raise InterruptedError

    for module, name in ((evaluation, "on_log"), (comparison, "compare"), (ranking, "rank")):
        monkeypatch.setattr(module, name, stop)
    router = router_kinds.router("plug_in", models=(*MODELS, "other"), encoder="hashed", features=256)
    rows = [row | {"cost": None, "input_tokens": 1000, "output_tokens": 100} for row in rows_of(6)]
    prices = dict.fromkeys(MODELS, (1.0, 10.0))
    table = synthetic.make(jax.random.key(0), num_prompts=60, num_models=3)
    for call in (
        lambda source, **more: jr.evaluate(router, source, **more),
        lambda source, **more: jr.compare(router, router, source, **more),
        lambda source, **more: jr.rank([router, router], source, **more),
    ):
        with pytest.raises(InputError, match="cost"):
            call(rows)
        with pytest.raises(InterruptedError):
            call(rows, prices=prices)
        with pytest.raises(InputError, match="prices= would change nothing"):
            call(jr.read_log(rows, prices=prices), prices=prices)
    np.testing.assert_allclose(seen, 0.002)
    with pytest.raises(InputError, match="prices= belong to a log"):
        jr.evaluate(router, table, prices=prices)


def test_recency_counts_the_answers_of_a_shadow_sample_as_a_fit_without_it_does(log, sample, fits, capsys, tmp_path):
    path = log(quality=lambda i: i % 2 if i < 33 else None)
    for options in ([], ["--recency", "20"]):
        given = ["--shadow", sample, "--method", "plug_in_mean", *options]
        assert "reached the fit" in run(capsys, "fit", path, "--out", tmp_path / "router", *given)[2]


def test_a_few_ratings_by_people_do_not_forbid_a_shadow_sample(log, sample):
    """They correct nothing, so that there is one scale; thirty do."""

    def table(people):
        rows = reading.read(str(log(human_quality=lambda i: 1.0 if i < people else None)), AS_IT_IS)
        return reading.shadow_table(sample, rows, AS_IT_IS)

    assert len(table(29)) == 60
    said = "the values of this log are corrected by people's ratings"
    with wording.as_options(), pytest.raises(InputError, match=f"^--shadow: {said}"):
        table(30)
    with pytest.raises(InputError, match=f"^shadow: {said}"):
        table(30)


def test_ratings_and_a_shadow_sample_are_refused_before_a_router_is_judged(log, sample, monkeypatch, capsys, tmp_path):
    """By the same words as before a fit, wherever they come from."""
    router = router_kinds.router("plug_in", 256, (*MODELS, "other"), encoder="hashed")
    router.save(tmp_path / "router")
    rated = log("rated", human_quality=lambda i: 1.0)
    monkeypatch.setattr(nuisance, "fit", never)
    said = "the values of this log are corrected by people's ratings"
    for judged in (
        lambda: jr.evaluate(router, rated, shadow=sample),
        lambda: jr.compare(router, router, rated, shadow=sample),
    ):
        with pytest.raises(InputError, match=f"^shadow: {said}"):
            judged()
    code, _, err = run(capsys, "evaluate", tmp_path / "router", rated, "--shadow", sample)
    assert (code, err.startswith(f"error: --shadow: {said}")) == (2, True), err
    rows, half = jr.data.logs.as_logs(jr.read_log(rated), "hashed"), np.full((210, 3), 1 / 3)
    policy, answers = np.broadcast_to(half, (1, 210, 3)), Outcomes(half[:1], half[:1])
    beside = Examples(np.zeros((1, 2)), answers, np.ones((1, 3), bool))
    with pytest.raises(InputError, match=f"^shadow: {said}"):
        by_weight.gains(rows, Nuisances(half, Outcomes(half, half)), policy, policy, [0.0], shadow=beside)


def never(*_, **__):
    raise AssertionError("something was fitted or encoded")


def test_ratings_by_people_and_a_shadow_sample_are_refused_before_anything_is_fitted(log, sample, monkeypatch):
    monkeypatch.setattr(nuisance, "fit", never)
    with pytest.raises(InputError, match=r"^shadow: the values of this log are corrected by people's ratings"):
        jr.fit(log(human_quality=lambda i: 1.0), shadow=sample)
    rows = jr.read_log(rows_of(human_quality=lambda i: 1.0))
    ones, every = np.ones((60, 3)), np.ones((60, 3), bool)
    arrays = jr.types.Logs(
        np.random.default_rng(0).normal(size=(210, 2)), rows.action, rows.quality, rows.cost, rows.propensity,
        rows.available, human_quality=rows.human_quality,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"^shadow: the values of this log are corrected by people's ratings"):
        jr.fit(arrays, models=MODELS, shadow=Examples(np.zeros((60, 2)), Outcomes(ones, ones), every))


@pytest.mark.parametrize(
    ("more", "keywords", "says"),
    [
        ({}, {"prior": {"model": ["fast"], "quality": [0.5], "sd": [0.1]}}, "a prior needs at least two"),
        ({}, {"max_latency": 3, "method": "rm_softmax"}, "learns the decision among all models"),
        ({}, {"max_latency": 0.7}, "1 model"),
        ({}, {"candidates": ["good", "slow"], "max_latency": 3}, "1 model"),
        ({"weight": lambda i: 1 + i % 2}, {"method": "knn_guarded"}, "counts every row once"),
    ],
)
def test_python_refuses_before_it_encodes(more, keywords, says, log, sample, monkeypatch):
    shadow = jr.read_table(sample)
    monkeypatch.setattr(encoders, "encode", never)
    with pytest.raises(InputError, match=says):
        jr.fit(log(**more), shadow=shadow, **keywords)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"method": "rm_sofmax"}, "unknown method 'rm_sofmax'"),
        ({"cost_weights": [2, 1]}, "ascend"),
        ({"cost_weights": [1], "normalised_cost_weights": [1]}, "not both"),
        ({"encoder": None}, "name an encoder"),
        ({"encoder": "hashd"}, "unknown encoder 'hashd'"),
        ({"models": MODELS}, "names its models itself"),
    ],
)
def test_python_refuses_arguments_before_it_reads(keywords, says):
    with pytest.raises(InputError, match=says):
        jr.fit("no/such.jsonl", **keywords)


def test_python_refuses_the_answers_of_all_models_as_a_log(capsys, tmp_path, fits):
    """As the command does: the rows of one prompt are no draws of their own."""
    rows = [
        {"prompt": f"p{i}", "model": model, "quality": i % 3 / 2, "cost": 1.0} for i in range(40) for model in MODELS
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = "the same prompts were answered by 3 models, so this is a table of evaluation results, not a log"
    for source in (rows, jr.read_log(rows), tmp_path / "log.jsonl"):
        with pytest.raises(InputError, match=words):
            jr.fit(source)
    assert words in run(capsys, "fit", tmp_path / "log.jsonl", "--out", tmp_path / "router")[2]
    assert not fits


def test_names_that_no_router_can_have_are_refused_before_anything_is_fitted(monkeypatch):
    """The doctor says so too, where it said that a router can be fitted."""
    monkeypatch.setattr(nuisance, "fit", lambda *_, **__: pytest.fail("nuisances were fitted"))
    rows = [
        {"prompt": f"{i % 7}", "model": ("a", "b\n")[i % 2], "quality": i % 3 / 2, "cost": 1 + i % 2, "propensity": 0.5}
        for i in range(200)
    ]
    with pytest.raises(InputError, match="without control characters"):
        jr.fit(rows)
    assert "without control characters" in sufficiency.refusal(logs.load(rows))


def test_a_model_that_was_never_rated_is_named_and_costs_what_its_answers_cost():
    """The log says nothing of its quality, and what it costs."""
    small = {"outcome_models": ["mean"], "hidden": (4,), "steps": 20}
    rows = [row | ({"quality": None, "cost": 50.0} if row["model"] == "slow" else {}) for row in rows_of()]
    read = logs.load(rows)
    router = jr.fit(read, "plug_in_mean", **small)
    (line,) = (one for one in router.summary["conclusion"] if one.startswith("None of the 70 answers of slow"))
    assert "expects the other models' mean quality of it" in line
    _, cost = router.predict([row["prompt"] for row in rows])
    np.testing.assert_allclose(cost.mean(0), [1, 2, 50], rtol=0.05)
    assert line.endswith("leave it out with router.without('slow').")
    rows[2]["quality"] = 0.5
    few = jr.fit(rows, "plug_in_mean", **small)
    out = jr.fit(read, "plug_in_mean", candidates=["fast", "good"], **small)
    assert not any("has a rating" in one for made in (few, out) for one in made.summary["conclusion"])
