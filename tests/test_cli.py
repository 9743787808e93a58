"""The command line on a small demo log: each command, its exit codes, and what bad input says."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

import jaxroute
from jaxroute import cli
from jaxroute.data import encoders, tables
from jaxroute.learn.methods import METHODS
from jaxroute.serving import export, kinds
from jaxroute.serving.router import Router


def by_weight(out):
    """The rows of an object of --json."""
    return json.loads(out)["by_cost_weight"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A demo log, one later log, and two routers fitted from the first."""
    folder = tmp_path_factory.mktemp("cli")
    for name, seed, rows in (("log.jsonl", 0, 1200), ("later.jsonl", 1, 800)):
        with pytest.raises(SystemExit):
            cli.main(["demo-log", str(folder / name), "--rows", str(rows), "--seed", str(seed)])
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fit", str(folder / "log.jsonl"), "--out", str(folder / "router")])
    assert not exit_.value.code
    return folder


@pytest.fixture(scope="module", params=kinds.KINDS)
def any_kind(request, tmp_path_factory):
    """A random router of each kind, of hashed prompts and of the demo log's models and one more."""
    folder = tmp_path_factory.mktemp(request.param)
    names = ("large", "medium", "small", "retired")
    router_kinds.router(request.param, features=256, models=names, encoder="hashed").save(folder / "router")
    with pytest.raises(SystemExit):
        cli.main(["demo-log", str(folder / "later.jsonl"), "--rows", "400", "--seed", "1"])
    return folder


def test_a_demo_log_is_json_lines_and_its_name_says_so(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo-log", str(tmp_path / "log.parquet")])
    assert exit_.value.code == 2
    assert "ends in .jsonl" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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


def test_help_teaches(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("doctor", "fit", "shadow", "evaluate", "compare", "route", "export", "demo-log"):
        assert command in out
    code, out, _ = run(capsys, "doctor", "--help")
    assert "jaxroute doctor requests.parquet" in out
    code, out, _ = run(capsys, "fit", "--help")
    assert code == 0
    assert all(f"\n{name} " in out for name in METHODS)
    assert "points of regret" in out
    assert run(capsys, "--version")[:2] == (0, f"jaxroute {jaxroute.__version__}\n")


HELP = """
import sys
from jaxroute import cli
for command in ([], *([name] for name in cli.COMMANDS if name != "fit")):  # whose help has the methods' table
    try:
        cli.main([*command, "--help"])
    except SystemExit as done:
        assert not done.code
heavy = {"jax", "jaxlib", "flax", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "rich"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_of_every_command_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") == len(cli.COMMANDS)


def test_every_command_has_its_help(capsys):
    """The functions' own docstrings are what a command's help shows, and a misspelt command is told the near ones."""
    for name in cli.COMMANDS:
        function = cli.imported(name).callback
        _, out, _ = run(capsys, name, "--help")
        assert function.__doc__.split()[:4] == out.split("\n\n")[1].split()[:4]
    _, _, err = run(capsys, "evaluat", "x")
    assert "No such command 'evaluat'" in err


@pytest.mark.slow
def test_doctor_says_what_is_there(capsys, folder):
    code, out, _ = run(capsys, "doctor", folder / "log.jsonl", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["verdict"] in ("ok", "caution")
    assert found["propensities"] == "known"
    assert {m["model"] for m in found["models"]} == {"small", "medium", "large"}
    assert sum(m["rows"] for m in found["models"]) == found["counts"]["rows"] == 1200
    code, out, _ = run(capsys, "doctor", folder / "log.jsonl")
    assert "verdict: " in out


@pytest.mark.slow
def test_doctor_refuses_a_deterministic_log_with_code_three(capsys, folder, tmp_path):
    log = pd.read_json(folder / "log.jsonl", lines=True).assign(propensity=1.0)
    log.to_parquet(tmp_path / "log.parquet")
    code, out, _ = run(capsys, "doctor", tmp_path / "log.parquet")
    assert code == 3
    assert "verdict: refuse" in out
    assert "random model" in out


@pytest.mark.slow
def test_doctor_says_what_a_shadow_sample_adds(capsys, folder, tmp_path):
    """A log of few answers of the large model; then one in which every choice was certain."""
    shadow = answered_by_all(folder, tmp_path / "shadow", rows=120)
    log = pd.read_json(folder / "log.jsonl", lines=True)
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
def test_fit_evaluate_compare(capsys, folder):
    router = Router.load(folder / "router")
    assert router.models == ("large", "medium", "small")
    assert router.encoder == "hashed"
    code, out, _ = run(capsys, "evaluate", folder / "router", folder / "later.jsonl", "--json")
    assert code == 0
    lines = by_weight(out)
    assert [line["normalised_cost_weight"] for line in lines] == [0.0, 0.1, 0.25, 0.5, 1.0, 2.0]
    assert all(0 < line["value"] < 1 for line in lines)
    assert {"flips_at", "gain_on_logging_policy", "gain_on_best_single_low", "verdict"} <= lines[0].keys()
    page = folder / "page"
    mixed = folder / "mixed.jsonl"
    learned = (folder / "log.jsonl").read_text().splitlines(keepends=True)[:50]
    mixed.write_text((folder / "later.jsonl").read_text() + "".join(learned))
    code, out, err = run(capsys, "evaluate", folder / "router", mixed, "--report", page)
    assert code == 0
    left_out, conclusion = out.splitlines()[:2]
    assert left_out.startswith("Left out: 50 of ")
    assert left_out in (page / "report.html").read_text()
    assert "better than always using" in conclusion
    assert str(page / "report.html") in (out + err).replace("\n", "")
    assert "Evidence from a log: router" in (page / "report.html").read_text()
    code, out, _ = run(capsys, "compare", folder / "router", folder / "router", folder / "later.jsonl", "--json")
    assert code == 0
    lines = by_weight(out)
    assert all(line["difference"] == 0 and line["verdict"] in ("undecided", "not supported") for line in lines)
    certain = folder / "certain.jsonl"
    pd.read_json(folder / "later.jsonl", lines=True).assign(propensity=1.0).to_json(
        certain, orient="records", lines=True
    )
    code, out, _ = run(capsys, "compare", folder / "router", folder / "router", certain, "--json")
    assert code == 3
    assert {(line["low"], line["verdict"]) for line in by_weight(out)} == {(None, "not supported")}


@pytest.mark.slow
def test_a_shadow_sample_joins_what_is_said_of_routers(capsys, folder, tmp_path):
    shadow = answered_by_all(folder, tmp_path / "shadow", rows=120)
    router, later = folder / "router", folder / "later.jsonl"
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
def test_a_log_of_features_alone_makes_the_same_router_of_texts(capsys, folder, tmp_path):
    """As a gateway writes it that may not log prompts."""
    for name in ("log", "later"):
        log = pd.read_json(folder / f"{name}.jsonl", lines=True)
        features = encoders.encode(log.prompt.tolist(), "hashed").tolist()
        log.drop(columns="prompt").assign(features=features).to_json(
            tmp_path / f"{name}.jsonl", orient="records", lines=True, double_precision=15
        )
    fit = ("fit", tmp_path / "log.jsonl", "--out", tmp_path / "router", "--features-by", "hashed")
    code, _, err = run(capsys, *fit)
    assert code == 0, err
    texts, same = Router.load(folder / "router"), Router.load(tmp_path / "router")
    assert same.encoder == "hashed"
    prompts = [f"A question about {t}, number {i}: please answer." for t in ("proofs", "smalltalk") for i in range(20)]
    expected, found = (router.route(prompts, normalised_cost_weight=0.5) for router in (texts, same))
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    values = [
        by_weight(run(capsys, "evaluate", router, log, "--json")[1])[0]["value"]
        for router, log in (
            (folder / "router", folder / "later.jsonl"),
            (tmp_path / "router", tmp_path / "later.jsonl"),
        )
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_features_by_another_encoder_are_refused(capsys, tmp_path):
    rows = [{"model": "ab"[i % 2], "quality": 1.0, "cost": 0.1, "features": [0.1, 0.2, 0.3]} for i in range(60)]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run(capsys, "fit", file, "--out", tmp_path / "router", "--features-by", "hashed")
    assert code == 2
    assert "makes 256 features per prompt and the log has 3" in err
    file.write_text("".join(json.dumps({**row, "prompt": "p"}).replace("features", "other") + "\n" for row in rows))
    code, _, err = run(capsys, "fit", file, "--out", tmp_path / "router", "--features-by", "hashed")
    assert code == 2
    assert "the log has no features" in err
    assert not (tmp_path / "router").exists()


def answered_by_all(folder, path, rows=60):
    """So many prompts of the later log as a full table in which the large model is best."""
    log = pd.read_json(folder / "later.jsonl", lines=True).head(rows)
    queries = pd.DataFrame({"query_id": log.request_id, "prompt": log.prompt, "task": "demo"})
    answers = [
        {"query_id": q, "model": m, "quality": quality, "cost": cost}
        for q in queries.query_id
        for m, quality, cost in (("small", 0.4, 0.001), ("medium", 0.6, 0.002), ("large", 0.9, 0.01))
    ]
    path.mkdir()
    queries.to_parquet(path / "queries.parquet")
    pd.DataFrame(answers).to_parquet(path / "outcomes.parquet")
    return path


@pytest.mark.slow
def test_fit_takes_a_shadow_sample(capsys, folder, tmp_path):
    shadow = answered_by_all(folder, tmp_path / "shadow")
    code, out, _ = run(capsys, "fit", folder / "log.jsonl", "--shadow", shadow, "--out", tmp_path / "router")
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
    code, _, err = run(capsys, "fit", folder / "log.jsonl", "--shadow", shadow, "--out", tmp_path / "other")
    assert code == 0
    assert "the shadow sample has no answer of small: it teaches, and is no evidence of values" in err
    summary = Router.load(tmp_path / "other").summary
    assert all(row["shadow_share"] == 0 for row in summary["by_cost_weight"])


@pytest.mark.slow
def test_shadow_prices_a_sample_and_draws_its_prompts(capsys, folder, tmp_path):
    pool, chosen = tmp_path / "pool.jsonl", tmp_path / "chosen.jsonl"
    pool.write_text("".join(json.dumps({"prompt": f"further prompt {i}"}) + "\n" for i in range(200)))
    command = ("shadow", folder / "log.jsonl", "--count", "60", "--pool", pool, "--out", chosen)
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


@pytest.mark.slow
def test_evaluate_on_a_full_table(capsys, folder, tmp_path):
    answered_by_all(folder, tmp_path / "table")
    assert len(tables.load(tmp_path / "table")) == 60
    code, out, _ = run(capsys, "evaluate", folder / "router", "--table", tmp_path / "table", "--json")
    first = by_weight(out)[0]
    assert code == 0
    assert first["value"] + first["regret"] == pytest.approx(0.9, abs=1e-5)
    assert first["best_single"] == "large"


@pytest.mark.slow
def test_route_streams_a_model_a_line(capsys, folder, tmp_path, monkeypatch):
    prompts = [{"prompt": f"A question about {t}, number 1: please answer."} for t in ("proofs", "smalltalk")] * 30
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps(p) + "\n" for p in prompts))
    command = ("route", folder / "router", "--normalised-cost-weight", "0.5", "--input")
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
def test_route_names_the_bad_row_and_writes_nothing(capsys, folder, tmp_path, content, says):
    (tmp_path / "in.jsonl").write_text(content)
    out = tmp_path / "out.jsonl"
    code, _, err = run(
        capsys, "route", folder / "router", "--cost-weight", "1", "--input", tmp_path / "in.jsonl", "--out", out
    )
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_log_that_fit_cannot_use_is_refused_before_it_is_encoded(capsys, tmp_path, monkeypatch):
    rows = [{"prompt": f"{i}", "model": "ab"[i % 2], "quality": i % 2, "cost": 1} for i in range(40)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(encoders, "encode", lambda *_, **__: pytest.fail("encoded"))
    code, _, err = run(capsys, "fit", tmp_path / "log.jsonl", "--out", tmp_path / "router")
    assert code in (2, 3)
    assert "40 rows are too few" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["doctor", "no/such.jsonl"], "no/such.jsonl"),
        (["fit", "no/such.jsonl", "--out", "x"], "no/such.jsonl"),
        (["fit", "no/such.jsonl", "--out", "/"], "mounted volume"),
        (["fit", "no/such.jsonl", "--out", "x", "--encoder", "hashd"], "unknown encoder 'hashd'"),
        (["fit", "no/such.jsonl", "--out", "x", "--encoder", "sentence:no/such"], "encoder"),
        (["fit", "no/such.jsonl", "--out", "x", "--normalised-cost-weights", "1,0"], "ascend"),
        (["fit", "no/such.jsonl", "--out", "x", "--method", "rm_soft"], "unknown method"),
        (["route", "no/router", "--cost-weight", "1"], "is not a router"),
        (["evaluate", "no/router", "x.jsonl"], "is not a router"),
        (["shadow", "x.jsonl", "--pool", "y.jsonl"], "must be given together"),
        (["shadow", "x.jsonl", "--pool", "y.jsonl", "--out", "z.jsonl"], "y.jsonl"),
        (["doctor", "x.jsonl", "--column", "quality"], "write FIELD=NAME"),
        (["doctor", "x.jsonl", "--quality-range", "five"], "write WORST,BEST"),
    ],
)
def test_bad_input_is_one_line_and_code_two(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_a_platform_that_is_not_there_is_one_line(monkeypatch, capsys):
    def started(arguments):
        raise RuntimeError("Unable to initialize backend 'tpu': no libtpu.so")  # as JAX says it

    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    monkeypatch.setattr(cli, "app", started)
    with pytest.raises(SystemExit) as done:
        cli.main(["doctor", "log.jsonl"])
    assert done.value.code == 2
    assert capsys.readouterr().err == "error: JAX_PLATFORMS=tpu: no such platform here; name another, or leave it out\n"
