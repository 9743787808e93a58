"""The command line with a shadow sample: what it adds to a log, its price, and which prompts to ask."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import answered_by_all, by_weight, run

from jaxroute.cli import shadow
from jaxroute.cli.shadow_pool import marked
from jaxroute.serving.router import Router


@pytest.mark.slow
def test_doctor_says_what_a_shadow_sample_adds(capsys, demo, tmp_path):
    """A log of few answers of the large model; then one in which every choice was certain."""
    shadow = answered_by_all(demo, tmp_path / "shadow", rows=120)
    log = pd.read_json(demo / "log.jsonl", lines=True)
    few = pd.concat([log[log.model != "large"], log[log.model == "large"].head(20)])
    few.to_parquet(tmp_path / "few.parquet")
    _, out, _ = run(capsys, "doctor", tmp_path / "few.parquet")
    assert "large: collect 80 more answers" in out
    assert "As an alternative to a longer log" in out
    code, out, _ = run(capsys, "doctor", tmp_path / "few.parquet", "--shadow", shadow)
    assert code == 0
    assert "shadow sample of 120 prompts" in out
    assert "more answers" not in out
    assert "As an alternative to a longer log" not in out
    assert "jaxroute fit LOG --shadow FOLDER" in out
    code, out, _ = run(capsys, "doctor", tmp_path / "few.parquet", "--shadow", shadow, "--json")
    found = json.loads(out)["shadow"]
    assert found["prompts"] == 120
    errors = {m["model"]: (m["answers"], m["error_log"], m["error_both"]) for m in found["models"]}
    assert set(errors) == {"small", "medium", "large"}
    assert all(answers == 120 and after < before for answers, before, after in errors.values())
    assert errors["large"][2] < 0.6 * errors["large"][1]

    log.assign(propensity=1.0).to_parquet(tmp_path / "certain.parquet")
    code, out, _ = run(capsys, "doctor", tmp_path / "certain.parquet", "--shadow", shadow)
    assert code == 0
    assert "The log alone would be refused" in out
    assert "fitted among large, medium, small" in out


@pytest.mark.slow
def test_a_shadow_sample_joins_what_is_said_of_routers(capsys, demo, tmp_path):
    shadow = answered_by_all(demo, tmp_path / "shadow", rows=120)
    router, later = demo / "router", demo / "later.jsonl"
    alone, both = (
        by_weight(run(capsys, "evaluate", router, later, *more, "--json")[1])
        for more in ((), ("--shadow", shadow, "--report", tmp_path / "page"))
    )
    for a, b in zip(alone, both, strict=True):
        assert 0 < b["shadow_share"] <= 1
        assert b["low"] < b["value"] < b["high"]
        if a["low"] is not None:
            assert b["high"] - b["low"] < a["high"] - a["low"]
            assert abs(a["value"] - b["value"]) < a["high"] - a["low"]
    assert "has 120 prompts that every model answered" in (tmp_path / "page" / "report.html").read_text()
    certain = tmp_path / "certain.jsonl"
    log = pd.read_json(later, lines=True).assign(propensity=1.0)
    log.to_json(certain, orient="records", lines=True)
    code, out, _ = run(capsys, "compare", router, router, certain, "--shadow", shadow, "--json")
    assert code == 0
    assert {(line["low"], line["high"]) for line in by_weight(out)} == {(0.0, 0.0)}
    features = np.random.default_rng(0).random((len(log), 5)).tolist()
    log.assign(features=features).to_json(certain, orient="records", lines=True)
    code, _, err = run(capsys, "evaluate", router, certain, "--shadow", shadow)
    assert code == 2
    assert "features" in err


@pytest.mark.slow
def test_fit_takes_a_shadow_sample(capsys, demo, tmp_path):
    shadow = answered_by_all(demo, tmp_path / "shadow")
    code, out, _ = run(capsys, "fit", demo / "log.jsonl", "--shadow", shadow, "--out", tmp_path / "router")
    assert code == 0
    assert "60 shadow prompts" in out
    assert "value on the log and its shadow sample" in out
    assert "shadow's share" in " ".join(out.split())
    summary = Router.load(tmp_path / "router").summary
    assert summary["shadow_prompts"] == 60
    assert all(0 < row["shadow_share"] < 1 for row in summary["by_cost_weight"])
    page = (tmp_path / "router" / "report.html").read_text()
    assert "<figure" in page
    assert "60 prompts that every model answered" in page
    answers = pd.read_parquet(shadow / "outcomes.parquet")
    answers[answers["model"] != "small"].to_parquet(shadow / "outcomes.parquet")
    code, _, err = run(capsys, "fit", demo / "log.jsonl", "--shadow", shadow, "--out", tmp_path / "other")
    assert code == 0
    assert "the shadow sample has no answer of small: it teaches, and is no evidence of values" in err
    summary = Router.load(tmp_path / "other").summary
    assert all(row["shadow_share"] == 0 for row in summary["by_cost_weight"])


@pytest.mark.slow
def test_shadow_prices_a_sample_and_draws_its_prompts(capsys, demo, tmp_path):
    pool, chosen = tmp_path / "pool.jsonl", tmp_path / "chosen.jsonl"
    pool.write_text("".join(json.dumps({"prompt": f"further prompt {i}"}) + "\n" for i in range(200)))
    command = ("shadow", demo / "log.jsonl", "--count", "60", "--pool", pool, "--out", chosen)
    code, out, _ = run(capsys, *command, "--json")
    assert code == 0
    found = json.loads(out)
    models = {m["model"]: m for m in found["models"]}
    assert models["large"]["cost_of_an_answer"] > 5 * models["medium"]["cost_of_an_answer"]
    assert all(m["error_then"] < m["error_now"] for m in found["models"] if m["asked"])
    size, ask = next(s for s in found["sizes"] if s["prompts"] == 60), found["ask"]
    assert size["answers"] == 180
    assert ask["price"] == pytest.approx(sum(m["price"] for m in found["models"]))
    assert 0.9 * size["price"] < ask["price"] <= size["price"]
    assert ask["answers"] == sum(m["prompts"] for m in found["models"])
    assert ask["value"] > ask["value_of_all"] > 0
    assert size["log_rows"] == round(size["price"] / found["price_of_a_row"])
    first = chosen.read_text().splitlines()
    drawn = [json.loads(line) for line in first]
    assert len({line["prompt"] for line in drawn}) == ask["prompts"] >= 60
    assert {line["prompt"] for line in drawn} <= {json.loads(line)["prompt"] for line in pool.read_text().splitlines()}
    asked = {name: sum(name in line["ask"] for line in drawn) for name in models}
    assert asked == {name: m["prompts"] for name, m in models.items()}
    assert set(ask["models"]) == {name for name, prompts in asked.items() if prompts}
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert chosen.read_text().splitlines() == first
    assert f"{ask['prompts']} prompts of" in out
    code, out, _ = run(capsys, *command, "--ask", "all")
    assert "Have 60 prompts answered by every model" in out
    every = [json.loads(line)["ask"] for line in chosen.read_text().splitlines()]
    assert every == [["large", "medium", "small"]] * 60
    code, out, _ = run(capsys, *command, "--rating-cost", "0.01", "--json")
    rated = {m["model"]: m for m in json.loads(out)["models"]}
    for name, m in models.items():
        assert rated[name]["cost_of_an_answer"] == pytest.approx(m["cost_of_an_answer"] + 0.01)
    assert rated["small"]["prompts"] < models["small"]["prompts"]  # its answers are no longer nearly free
    code, _, err = run(capsys, *command[:3], "300", *command[4:])
    assert code == 2
    assert "has 200 prompts, fewer than --count 300" in err


@pytest.mark.parametrize(
    ("line", "why"),
    [("prompt 3", "not JSON"), ("[1]", "is list, not an object"), ('{"prompt": "x", "ask": []}', "'ask' already")],
)
def test_a_pool_that_cannot_be_drawn_from_is_refused_first(capsys, tmp_path, line, why):
    pool = tmp_path / "pool.jsonl"
    pool.write_text(json.dumps({"prompt": "first"}) + "\n" + line + "\n")
    code, _, err = run(capsys, "shadow", "no.jsonl", "--pool", pool, "--out", tmp_path / "out.jsonl", "--count", "1")
    assert code == 2
    assert f"{pool}, row 1: " in err
    assert why in err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_log_without_a_rating_is_refused(capsys, tmp_path):
    rows = [{"prompt": f"p{i}", "model": "ab"[i % 2], "quality": None, "cost": 1.0} for i in range(60)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run(capsys, "shadow", tmp_path / "log.jsonl")
    assert code == 3
    assert "no row has a rating" in err


def test_what_a_plan_says():
    """Nothing worth asking; all alike; and some models more often than others."""

    def said(*prompts):
        models = [
            {"model": f"m{k}", "prompts": n, "rows": 9, "error_now": 0.2, "error_then": 0.1}
            | {"cost_of_an_answer": 1.0, "price": float(n)}
            for k, n in enumerate(prompts)
        ]
        ask = {"prompts": max(prompts), "answers": sum(prompts), "price": 9.0, "value": 0.02, "value_of_all": 0.01}
        return " ".join(shadow._shown({"ask": ask, "models": models, "count": 5, "currency": "", "sizes": []})[0])

    assert "No answer is expected to change a decision" in said(0, 0)
    assert "Have 5 prompts answered by every model: this costs 9" in said(5, 5)
    some = said(4, 10, 0)
    assert "have them answered: the first 10 by m1, the first 4 by m0. That makes 14 answers, costs 9" in some
    assert "None of these prompts would be answered by every model" in some
    assert "Only the first 4 of these prompts would be answered by every model" in said(4, 10)


def test_a_text_of_the_pool_that_is_no_utf_8_is_written_as_it_was_read():
    half = {"prompt": "half of a pair: \ud83d", "more": "é"}
    (line,) = marked([(0, half)], {"a": 1, "b": 0})
    assert json.loads(line) == half | {"ask": ["a"]}


@pytest.mark.parametrize("weights", ["-1", "nan", "0,inf"])
def test_cost_weights_that_cannot_be_are_refused(capsys, weights):
    code, _, err = run(capsys, "shadow", "log.jsonl", f"--normalised-cost-weights={weights}")
    assert code == 2
    assert "give finite numbers of at least 0" in err


def test_answers_of_a_model_that_was_never_rated_cost_what_the_log_says(capsys, tmp_path):
    """Not the mean of the other models, 0.002 for 0.5."""
    log = pd.DataFrame({"prompt": [f"question {i} of {i % 7}" for i in range(150)]})
    log["model"] = [("cheap", "fair", "dear")[i % 3] for i in range(150)]
    log["quality"] = [None if i % 3 == 2 else (i % 5) / 4 for i in range(150)]
    log["cost"] = [(0.001, 0.003, 0.5 + 0.1 * (i % 2))[i % 3] for i in range(150)]
    log.to_parquet(tmp_path / "log.parquet")
    code, out, err = run(capsys, "shadow", tmp_path / "log.parquet", "--ask", "all", "--count", 10, "--json")
    assert code == 0, err
    found = json.loads(out)
    costs = {one["model"]: one["cost_of_an_answer"] for one in found["models"]}
    assert costs == pytest.approx({"cheap": 0.001, "fair": 0.003, "dear": 0.55}, rel=1e-3)
    assert found["ask"]["price"] == pytest.approx(10 * sum(costs.values()))
