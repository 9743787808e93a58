"""The command line on a demo log and a router fitted from it: doctor, fit, evaluate, compare and route."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import answered_by_all, by_weight, run

from jaxroute.data import encoders, tables
from jaxroute.serving.router import Router


@pytest.mark.slow
def test_doctor_says_what_is_there(capsys, demo):
    code, out, _ = run(capsys, "doctor", demo / "log.jsonl", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["verdict"] in ("ok", "caution")
    assert found["propensities"] == "known"
    assert {m["model"] for m in found["models"]} == {"small", "medium", "large"}
    assert sum(m["rows"] for m in found["models"]) == found["counts"]["rows"] == 1200
    code, out, _ = run(capsys, "doctor", demo / "log.jsonl")
    assert "verdict: " in out


@pytest.mark.slow
def test_doctor_refuses_a_deterministic_log_with_code_three(capsys, demo, tmp_path):
    log = pd.read_json(demo / "log.jsonl", lines=True).assign(propensity=1.0)
    log.to_parquet(tmp_path / "log.parquet")
    code, out, _ = run(capsys, "doctor", tmp_path / "log.parquet")
    assert code == 3
    assert "verdict: refuse" in out
    assert "random model" in out
    assert "leave the column out" in " ".join(out.split())  # drawn models that are logged as certain


@pytest.mark.slow
def test_fit_evaluate_compare(capsys, demo):
    router = Router.load(demo / "router")
    assert router.models == ("large", "medium", "small")
    assert router.encoder == "hashed"
    code, out, _ = run(capsys, "evaluate", demo / "router", demo / "later.jsonl", "--json")
    assert code == 0
    lines = by_weight(out)
    assert [line["normalised_cost_weight"] for line in lines] == [0.0, 0.1, 0.25, 0.5, 1.0, 2.0]
    assert all(0 < line["value"] < 1 for line in lines)
    assert {"flips_at", "gain_on_logging_policy", "gain_on_best_single_low", "verdict"} <= lines[0].keys()
    page = demo / "page"
    mixed = demo / "mixed.jsonl"
    learned = (demo / "log.jsonl").read_text().splitlines(keepends=True)[:50]
    mixed.write_text((demo / "later.jsonl").read_text() + "".join(learned))
    code, out, err = run(capsys, "evaluate", demo / "router", mixed, "--report", page)
    assert code == 0
    left_out, conclusion = out.splitlines()[:2]
    assert left_out.startswith("Left out: 50 of ")
    assert left_out in (page / "report.html").read_text()
    assert "better than always using" in conclusion
    assert str(page / "report.html") in (out + err).replace("\n", "")
    assert "Evidence from a log: router" in (page / "report.html").read_text()
    code, out, _ = run(capsys, "compare", demo / "router", demo / "router", demo / "later.jsonl", "--json")
    assert code == 0
    lines = by_weight(out)
    assert all(line["difference"] == 0 and line["verdict"] in ("undecided", "not supported") for line in lines)
    certain = demo / "certain.jsonl"
    pd.read_json(demo / "later.jsonl", lines=True).assign(propensity=1.0).to_json(certain, orient="records", lines=True)
    code, out, _ = run(capsys, "compare", demo / "router", demo / "router", certain, "--json")
    assert code == 3
    assert {(line["low"], line["verdict"]) for line in by_weight(out)} == {(None, "not supported")}


@pytest.mark.slow
def test_a_log_of_features_alone_makes_the_same_router_of_texts(capsys, demo, tmp_path):
    """As a gateway writes it that may not log prompts."""
    for name in ("log", "later"):
        log = pd.read_json(demo / f"{name}.jsonl", lines=True)
        features = encoders.encode(log.prompt.tolist(), "hashed").tolist()
        log.drop(columns="prompt").assign(features=features).to_json(
            tmp_path / f"{name}.jsonl", orient="records", lines=True, double_precision=15
        )
    fit = ("fit", tmp_path / "log.jsonl", "--out", tmp_path / "router", "--features-by", "hashed")
    code, _, err = run(capsys, *fit)
    assert code == 0, err
    texts, same = Router.load(demo / "router"), Router.load(tmp_path / "router")
    assert same.encoder == "hashed"
    prompts = [f"A question about {t}, number {i}: please answer." for t in ("proofs", "smalltalk") for i in range(20)]
    expected, found = (router.route(prompts, normalised_cost_weight=0.5) for router in (texts, same))
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    values = [
        by_weight(run(capsys, "evaluate", router, log, "--json")[1])[0]["value"]
        for router, log in (
            (demo / "router", demo / "later.jsonl"),
            (tmp_path / "router", tmp_path / "later.jsonl"),
        )
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-4)


@pytest.mark.slow
def test_evaluate_on_a_full_table(capsys, demo, tmp_path):
    answered_by_all(demo, tmp_path / "table")
    assert len(tables.load(tmp_path / "table")) == 60
    code, out, _ = run(capsys, "evaluate", demo / "router", "--table", tmp_path / "table", "--json")
    first = by_weight(out)[0]
    assert code == 0
    assert first["value"] + first["regret"] == pytest.approx(0.9, abs=1e-5)
    assert first["best_single"] == "large"


@pytest.mark.slow
def test_route_streams_a_model_a_line(capsys, demo, tmp_path, monkeypatch):
    prompts = [{"prompt": f"A question about {t}, number 1: please answer."} for t in ("proofs", "smalltalk")] * 30
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps(p) + "\n" for p in prompts))
    command = ("route", demo / "router", "--normalised-cost-weight", "0.5", "--input")
    code, out, _ = run(capsys, *command, source)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(lines) == 60
    assert lines[0]["model"] == "large"
    assert lines[1]["model"] != "large"
    assert set(lines[0]["scores"]) == {"small", "medium", "large"}
    assert "predicted quality" in lines[0]["reason"]
    monkeypatch.setattr("jaxroute.cli.route.ROWS", 7)
    pd.DataFrame(prompts).to_parquet(tmp_path / "prompts.parquet")
    code, _, _ = run(capsys, *command, tmp_path / "prompts.parquet", "--out", tmp_path / "out.jsonl")
    assert [json.loads(line)["model"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        line["model"] for line in lines
    ]
    code, out, _ = run(capsys, *command, source, "--without", "large")
    assert "large" not in {json.loads(line)["model"] for line in out.splitlines()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"prompt": "a"}\n{"prompt": 3}\n', "row 1, column 'prompt'"),
        ('{"prompt": "a"}\nnot json\n', "row 1: not JSON"),
    ],
)
def test_route_names_the_bad_row_and_writes_nothing(capsys, demo, tmp_path, content, says):
    (tmp_path / "in.jsonl").write_text(content)
    out = tmp_path / "out.jsonl"
    code, _, err = run(
        capsys, "route", demo / "router", "--cost-weight", "1", "--input", tmp_path / "in.jsonl", "--out", out
    )
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]
