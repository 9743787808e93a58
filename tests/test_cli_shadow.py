"""The command line with a shadow sample: what it adds to a log, its price, and which prompts to ask."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import answered_by_all, by_weight, run

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
    assert ask["price"] == pytest.approx(size["price"], rel=0.05)
    assert ask["value"] >= 0.95 * ask["value_of_all"] > 0
    assert size["log_rows"] == round(size["price"] / found["price_of_a_row"])
    first = chosen.read_text().splitlines()
    assert len(set(first)) == ask["prompts"] >= 60
    assert set(first) <= set(pool.read_text().splitlines())
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert chosen.read_text().splitlines() == first
    assert f"{ask['prompts']} prompts of" in out
    code, out, _ = run(capsys, *command, "--ask", "all")
    assert "Have 60 prompts answered by every model" in out
    assert len(chosen.read_text().splitlines()) == 60
    code, _, err = run(capsys, *command[:3], "300", *command[4:])
    assert code == 2
    assert "has 200 prompts, fewer than --count 300" in err
