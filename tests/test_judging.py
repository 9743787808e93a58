"""What a log or a table says of routers that know other models than it, and of chats read by the router's rule."""

import dataclasses
import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

from jaxroute import counterfactual
from jaxroute.cli import options, reading
from jaxroute.data import logs, prompts
from jaxroute.engine import networks
from jaxroute.estimators import evidence
from jaxroute.estimators.accounts import PARTS
from jaxroute.learn import judging
from jaxroute.projection import Projection
from jaxroute.serving import comparison, evaluation, kinds, views
from jaxroute.serving.distil import Student
from jaxroute.serving.router import Router
from jaxroute.types import InputError, Nuisances, NuisanceSpec, Outcomes, Table

N = 240
QUALITY = {"a": 0.2, "b": 0.5, "c": 0.9}
COST = {"a": 0.001, "b": 0.002, "c": 0.004}


def router(**quality):
    """A router that predicts these qualities for every prompt, so that the best known model always answers."""
    axes = Projection(jnp.zeros(2), jnp.eye(2), jnp.ones(2))
    mlp = networks.router(2 * len(quality), ()).init(jax.random.key(0), 2)
    bias = jnp.array([*quality.values(), *[1.0] * len(quality)])
    student = Student(axes, jnp.zeros((2, 2 * len(quality))), bias, mlp, jnp.full(len(quality), 0.001))
    return Router(tuple(quality), kinds.PlugIn(student, ()), 0.003)


@pytest.fixture(scope="module")
def log():
    """Three models at equal propensities; the quality is the model's own, with noise."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(N):
        name = "abc"[rng.integers(3)]
        quality = float(rng.random() < QUALITY[name])
        features = rng.standard_normal(2).tolist()
        rows.append({"features": features, "model": name, "quality": quality, "cost": COST[name], "propensity": 1 / 3})
    return logs.load(rows)


def table():
    answers = Outcomes(*(np.tile([of[k] for k in "abc"], (4, 1)).astype(np.float32) for of in (QUALITY, COST)))
    return Table(
        np.array(list("wxyz"), object), np.array(list("wxyz"), object), np.array(["t"] * 4, object), np.arange(4),
        np.zeros((4, 2), np.float32), ("a", "b", "c"), answers, np.ones((4, 3), bool),
    )  # fmt: skip


def test_a_router_never_chooses_a_model_of_a_table_that_it_does_not_know():
    found = evaluation.on_table(router(a=0.1, b=0.2, new=0.9), table(), normalised_cost_weights=(0.0,))
    assert found.quality.item() == pytest.approx(0.5)  # b: new is not among the answers, c is unknown
    assert found.regret.item() == pytest.approx(0.4)
    with pytest.raises(InputError, match="the data hold a, b, c; the router knows only new, old"):
        evaluation.on_table(router(new=0.1, old=0.2), table())


@pytest.mark.slow
def test_routers_that_know_fewer_or_more_models_than_the_log(log, monkeypatch):
    """The difference of always-c and always-b, by NumPy, and the same with the other sign the other way round."""
    monkeypatch.setattr(views, "SPEC", NuisanceSpec(("mean",)))
    two, four = router(a=0.1, b=0.2), router(a=0, c=3, b=1, d=0.9)
    forth, back = (
        comparison.compare(*pair, log, normalised_cost_weights=(0.0,)) for pair in ((four, two), (two, four))
    )
    means = {k: log.quality[log.action == log.models.index(k)].mean() for k in "bc"}
    assert forth.difference.item() == pytest.approx(means["c"] - means["b"], abs=0.05)
    assert 0 < forth.low.item() < forth.difference.item() < forth.high.item()
    np.testing.assert_allclose(back.difference, -forth.difference, atol=1e-5)
    np.testing.assert_allclose(back.low, -forth.high, atol=1e-5)
    assert (forth.verdict, back.verdict) == (("better",), ("worse",))


CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"}, {"role": "user", "content": "second"}]  # fmt: skip
RULES = {
    "last": "second",
    "user": "first\n\nsecond",
    "user:8": "\n\nsecond",
    "all": "Be kind.\n\nfirst\n\nreply\n\nsecond",
}


@pytest.mark.parametrize("rule", RULES)
def test_chats_are_read_by_the_rule_that_the_router_keeps(tmp_path, capsys, rule):
    """In a log that judges it and in prompts to be routed; --chat with another rule is refused."""
    models = ("large", "medium", "small", "retired")
    router_kinds.router("plug_in", features=256, models=models, encoder="hashed", summary={"chat": rule}).save(
        tmp_path / "router"
    )
    kept = Router.load(tmp_path / "router")
    rows = [{"prompt": CHAT, "model": name, "quality": 1, "cost": 1} for name in ("small", "large")]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = str(tmp_path / "log.jsonl")
    assert reading.read(path, options.How(), kept).prompt.tolist() == [RULES[rule]] * 2
    assert reading.read(path, options.How()).prompt.tolist() == ["second"] * 2
    other = "last" if rule == "all" else "all"
    with pytest.raises(InputError, match=f"read with the rule {other} for chats, and the router decides by {rule}: "):
        reading.read(path, options.How(chat=other), kept)
    code, out, err = run(capsys, "route", tmp_path / "router", "--cost-weight", "30", "--input", path)
    assert code == 0, err
    routed = [list(json.loads(line)["scores"].values()) for line in out.splitlines()]
    np.testing.assert_allclose(routed, kept.route([RULES[rule]] * 2, cost_weight=30.0).scores, atol=1e-4)


def packed(text):
    return gzip.compress(text.encode())


FILES = {
    "blank.jsonl": b'{"prompt": "one"}\n\n{"prompt": "two"}\n',
    "packed.jsonl.gz": packed('{"prompt": "one"}\n{"prompt": "two"}'),
    "chats.jsonl": b'{"prompt": [{"role": "user", "content": "one"}]}\n{"prompt": "two"}',
    "messages.jsonl": b'{"messages": [{"role": "user", "content": "one"}]}\n{"messages": ["two"]}',
    "mark.csv": b"\xef\xbb\xbfprompt\none\ntwo\n",
    "array.json": b'[{"prompt": "one"}, {"prompt": "two"}]',
    "packed.csv.gz": packed("prompt,other\none,1\ntwo,2\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_prompts_to_be_routed_are_read_like_a_log(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    assert list(prompts.read(tmp_path / name)) == [["one", "two"]]


def test_requests_of_a_tool_are_routed_each():
    here = Path(__file__).parent / "data" / "logs"
    [read] = prompts.read(here / "litellm-1.108.7_batches.jsonl")
    batches = [json.loads(line) for line in (here / "litellm-1.108.7_batches.jsonl").read_text().splitlines()]
    assert read == [row["messages"][-1]["content"] for batch in batches for row in batch]
    [read] = prompts.read(here / "openlit-1.45.0.jsonl")
    assert len(read) == 9  # not the embedding, and not the failed request, whose prompt was not recorded
    [read] = prompts.read(here / "traffic" / "map.parquet")
    assert read == pd.read_parquet(here / "traffic" / "map.parquet")["prompt"].tolist()


def test_a_prompt_that_cannot_be_read_is_named_by_its_row(tmp_path):
    for name, content, says in (
        ("bytes.jsonl", b'{"prompt": "one"}\n{"prompt": "\xff"}\n', "row 1: not"),
        ("bytes.csv", b"prompt\none\n\xff\n", "row 1: not UTF-8"),
        ("empty.jsonl", b'{"prompt": "one"}\n\n{"prompt": ""}\n', "row 2, column 'prompt'"),
        ("cut.jsonl.gz", packed('{"prompt": "one"}')[:-9], "damaged or truncated"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}.*{says}"):
            list(prompts.read(tmp_path / name))


def test_a_value_that_is_not_finite_is_refused():
    columns = ["flips_at", "effective_sample_size", "label", "verdict", "reasons"]
    values = pd.DataFrame(
        [[0.0, 0.5, 0.4, 0.6], [1.0, np.nan, np.nan, np.nan]], columns=["cost_weight", "value", "low", "high"]
    )
    values[columns] = [[1.0, 9.0, "estimate", "ok", ""]] * 2
    gains = pd.DataFrame({"against": [o for o in evaluation.OPPONENTS for _ in range(2)]}).assign(
        gain=0.0, low=0.0, high=0.0
    )
    parts = [f"{part}{end}" for part in PARTS for end in ("", "_low", "_high")]
    frontier = pd.DataFrame({"kind": "router", "quality": [0.5, np.nan], "cost": [0.1, np.nan]})
    known = {"values": values, "gains": gains.assign(**dict.fromkeys(parts, 0.0)), "frontier": frontier}
    found = SimpleNamespace(**known, singles=(), models=(), shares=np.zeros((2, 0)))
    said = evaluation.LogEvaluation(found, 1.0, ()).to_frame()
    assert said["verdict"].tolist() == ["ok", "refuse"]


class GatheredError(Exception):
    """Raised in the place of evidence, with the opponents."""


def test_the_logging_policy_that_gains_are_over_made_every_choice_as_the_log_says(log, monkeypatch):
    """Where a row was scaled to one, choices that the features did not explain counted less: 3 points of quality."""
    rng = np.random.default_rng(0)
    known = rng.choice([0.04, 0.3, 0.9], N)
    informed = dataclasses.replace(log, propensity=known)

    def caught(*_, against, **__):
        raise GatheredError(against["logging policy"])

    monkeypatch.setattr(evidence, "gather", caught)
    arrays = logs.as_logs(informed)
    every = jnp.asarray(rng.dirichlet(np.ones(3), N), jnp.float32)
    every = every.at[jnp.arange(N), arrays.action].set(known)
    given = SimpleNamespace(
        logs=arrays, nuisances=Nuisances(every, Outcomes(every, every)), cost_weights=[0.0, 1.0], times=None,
        available=arrays.available,
    )  # fmt: skip
    learn = counterfactual.examples(arrays, given.nuisances)
    result = SimpleNamespace(policy=lambda weights: jnp.stack([every] * len(weights)))
    with pytest.raises(GatheredError) as of_fit:
        judging.gather(jax.random.key(0), "r", log.models, given, result, 0.05, learn, None)
    with pytest.raises(GatheredError) as of_evaluate:
        evaluation.on_log(router(a=0.1, b=0.2, c=0.3), informed, normalised_cost_weights=[0.0, 1.0])
    for found in (of_fit, of_evaluate):
        policy = np.asarray(found.value.args[0])
        assert policy.shape == (2, N, 3)
        np.testing.assert_allclose(policy.sum(-1), 1, atol=1e-5)
        chosen = policy[:, np.arange(N), np.asarray(log.action)]
        np.testing.assert_allclose(chosen, np.stack([np.maximum(known, 0.05)] * 2), rtol=1e-5)  # a weight of 1
