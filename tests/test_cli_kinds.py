"""The command line on random routers of every kind: routing, exporting, evaluating and comparing."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import answered_by_all, by_weight, run

from jaxroute import cli
from jaxroute.data import encoders, tables
from jaxroute.serving import export, kinds
from jaxroute.serving.router import Router


@pytest.fixture(scope="module", params=kinds.KINDS)
def any_kind(request, tmp_path_factory):
    """A random router of each kind, of hashed prompts and of the demo log's models and one more."""
    folder = tmp_path_factory.mktemp(request.param)
    names = ("large", "medium", "small", "retired")
    router_kinds.router(request.param, features=256, models=names, encoder="hashed").save(folder / "router")
    with pytest.raises(SystemExit):
        cli.main(["demo-log", str(folder / "later.jsonl"), "--rows", "400", "--seed", "1"])
    return folder


def test_every_kind_routes_and_exports(capsys, any_kind):
    router = Router.load(any_kind / "router")
    prompts = pd.read_json(any_kind / "later.jsonl", lines=True).prompt.head(20).tolist()
    source = any_kind / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    budget = float(router.curve.cost.mean())
    ways = {"cost_weight": 30.0, "normalised_cost_weight": 0.5, "budget": budget, "quality_target": 0.45}
    for way, value in ways.items():
        option = f"--{way.replace('_', '-')}"
        code, out, err = run(capsys, "route", any_kind / "router", option, value, "--input", source)
        assert code == 0, err
        lines = [json.loads(line) for line in out.splitlines()]
        decision = router.route(prompts, **{way: value})
        assert [line["model"] for line in lines] == decision.models
        known = np.isfinite(decision.quality).all()
        assert all(line["reason"].startswith("predicted quality" if known else "score ") for line in lines)
        assert "nan" not in out
        if known:  # a lead is one of utility, whatever the scale of the scores
            ordered = np.sort(decision.scores / router.per_utility)
            leads = [float(re.search(r"([\d.]+) of utility ahead", line["reason"]).group(1)) for line in lines]
            assert leads == pytest.approx(ordered[:, -1] - ordered[:, -2], abs=6e-4)
    code, _, _ = run(capsys, "export", any_kind / "router", "--out", any_kind / "exported")
    assert code == 0
    said = json.loads((any_kind / "exported" / "export.json").read_text())
    assert (said["inputs"][0]["shape"], said["models"]) == (["N", 256], list(router.models))
    scores = export.call((any_kind / "exported" / "router-any.jax").read_bytes())(
        encoders.encode(prompts, "hashed"), np.float32(30.0)
    )
    assert [router.models[k] for k in np.argmax(scores, 1)] == router.route(prompts, cost_weight=30.0).models
    code, out, _ = run(capsys, "verify", any_kind / "exported")
    assert (code, out.count("90 decisions are equal")) == (0, 2)


def test_every_kind_is_evaluated_on_a_table(capsys, any_kind, tmp_path):
    """Against NumPy: what the router's own choices are worth, without the models that are removed."""
    table, qualities = (
        answered_by_all(any_kind, tmp_path / "table", rows=30),
        {"small": 0.4, "medium": 0.6, "large": 0.9},
    )
    router = Router.load(any_kind / "router").without("retired")
    prompts = tables.load(table).prompt.tolist()
    names = router.route(prompts, cost_weight=0.0).models
    favourite = max(set(names), key=names.count)
    for of in (router, router.without(favourite)):
        of.save(tmp_path / "router")
        code, out, err = run(capsys, "evaluate", tmp_path / "router", "--table", table, "--json")
        assert code == 0, err
        chosen = of.route(prompts, cost_weight=0.0).models
        assert (favourite in chosen) == (of is router)
        assert by_weight(out)[0]["value"] == pytest.approx(np.mean([qualities[name] for name in chosen]), abs=1e-5)
    answers = pd.read_parquet(table / "outcomes.parquet")
    only = answers.query_id == answers.query_id[0]
    answers[~only | (answers["model"] == favourite)].to_parquet(table / "outcomes.parquet")
    code, _, err = run(capsys, "evaluate", tmp_path / "router", "--table", table)
    assert code == 2
    assert "row 0: all models that could be chosen are removed from the router" in err


@pytest.mark.slow
def test_routers_of_two_kinds_are_compared(capsys, tmp_path):
    for name in ("per_weight", "affine"):
        names = ("large", "medium", "small", "retired")
        router_kinds.router(name, features=256, models=names, encoder="hashed").save(tmp_path / name)
    later = tmp_path / "later.jsonl"
    run(capsys, "demo-log", later, "--rows", "400", "--seed", "1")
    code, out, err = run(capsys, "compare", tmp_path / "per_weight", tmp_path / "affine", later, "--json")
    assert code == 0, err
    assert any(line["difference"] != 0 for line in by_weight(out))
    code, out, err = run(capsys, "evaluate", tmp_path / "per_weight", later, "--json")
    assert code == 0, err
    assert all(0 < line["value"] < 1 for line in by_weight(out))
