"""Columns beside the text: read, encoded, asked for wherever a router decides, named where they drove the choice."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

import jaxroute as jr
from jaxroute import cli
from jaxroute.cli import doctor
from jaxroute.data import context as contexts
from jaxroute.data import logs as people
from jaxroute.data import shadow, tables
from jaxroute.gateway import rows
from jaxroute.gateway.gate import Gate
from jaxroute.gateway.recorder import Recorder
from jaxroute.gateway.settings import Rollout, Settings
from jaxroute.serving import comparison, evaluation, portable, ranking
from jaxroute.serving.exploring import Explorer
from jaxroute.serving.router import Router
from jaxroute.types import InputError

COLUMNS = [
    {"name": "tier", "kind": "category", "values": ["free", "gold"]},
    {"name": "length", "kind": "number", "mean": 10.0, "deviation": 4.0},
]
TEXT = 256  # features of the hashed encoder


def rows_of(count):
    """The logger gave gold the dear model; length said nothing to it."""
    rng = np.random.default_rng(0)
    gold, dear = rng.random(count) < 0.5, rng.random(count)
    return [
        {"prompt": f"{i}", "model": "ab"[int(u < (0.9 if g else 0.1))], "quality": int(g), "cost": 1.0, "tier": t,
         "length": int(i % 7) if i % 5 else None, "tools": [1] * (i % 3)}
        for i, (g, u, t) in enumerate(zip(gold, dear, np.where(gold, "Gold", "free"), strict=True))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def router():
    return router_kinds.router("plug_in", features=TEXT + 4, encoder="hashed", summary={"context": COLUMNS})


def test_columns_are_read_and_encoded():
    log = people.load(rows_of(60), context=("tier", "length", "tools"))
    columns = contexts.fit(log.context)
    assert [(one["name"], one["kind"]) for one in columns] == [
        ("tier", "category"),
        ("length", "number"),
        ("tools", "number"),
    ]
    assert columns[0]["values"] == ["free", "gold"]
    features = np.asarray(people.as_logs(log).features)
    assert features.shape == (60, TEXT + 2 + 2 + 2)
    tier, length = features[:, TEXT : TEXT + 2], features[:, TEXT + 2]
    np.testing.assert_array_equal(tier[:, 1], [row["tier"] == "Gold" for row in rows_of(60)])
    known = np.array([row["length"] for row in rows_of(60)], float)
    np.testing.assert_allclose(length, np.nan_to_num((known - np.nanmean(known)) / np.nanstd(known)), atol=1e-5)
    np.testing.assert_array_equal(features[:, TEXT + 3], np.isnan(known))
    np.testing.assert_array_equal(log.rows(np.arange(5, 9)).context["tools"], [2, 0, 1, 2])
    with pytest.raises(InputError, match="'plan' is missing"):
        people.load(rows_of(60), context=("plan",))
    with pytest.raises(InputError, match="one value alone"):
        contexts.fit({"length": np.full(9, 3)})


def test_the_rows_of_the_gateway_bring_their_columns():
    row = {"chosen": "a", "status": "answered", "by": "router", "attempts": 1, "prompt": "hi", "quality": 1, "cost": 1}
    rows = [row | {"request_id": f"{i}", "model": "ab"[i % 2], "tier": "free" if i % 4 else None} for i in range(8)]
    log = people.load(rows, context=("tier",))
    assert log.context["tier"].tolist() == [None, "free", "free", "free"] * 2


def test_every_way_to_decide_asks_for_the_columns(router, tmp_path):
    router.save(tmp_path / "router")
    prompts, context = ["one", "two"], {"tier": ["gold", "unheard"], "length": [18, None]}
    expected = np.zeros((2, 4), np.float32)
    expected[0] = 0, 1, 2, 0
    expected[1] = 0, 0, 0, 1
    np.testing.assert_array_equal(router.features(prompts, context)[:, TEXT:], expected)
    scores = [one.route(prompts, cost_weight=1.0, context=context).scores for one in
              (router, Router.load(tmp_path / "router"), portable.load(tmp_path / "router"))]  # fmt: skip
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_allclose(scores[0], scores[2], rtol=1e-5, atol=1e-6)
    frame = pd.DataFrame({"prompt": prompts, **context})
    np.testing.assert_array_equal(router.route(frame, cost_weight=1.0).scores, scores[0])
    each = [{"tier": "gold", "length": 18}, {"tier": "unheard", "length": None}]
    np.testing.assert_array_equal(router.route(prompts, cost_weight=1.0, context=each).scores, scores[0])
    for given, says in (
        (None, "context column 'tier'"),
        ({"tier": "gold"}, "context column 'length'"),
        ({"tier": ["gold"], "length": 1}, "has 1 values for 2 prompts"),
        ({"tier": "gold", "length": ["1", "x"]}, "row 0: '1' is not a number"),
    ):
        with pytest.raises(InputError, match=says):
            router.route(prompts, cost_weight=1.0, context=given)


def test_route_reads_them_from_its_file(router, tmp_path, capsys):
    router.save(tmp_path / "router")
    rows = [{"prompt": f"p{i}", "tier": ["gold", None][i % 2], "length": i} for i in range(5)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["route", str(tmp_path / "router"), "--cost-weight", "1", "--input", str(tmp_path / "in.jsonl")])
    assert not exit_.value.code
    printed = [json.loads(line)["model"] for line in capsys.readouterr().out.splitlines()]
    context = {name: [row[name] for row in rows] for name in ("tier", "length")}
    assert printed == router.route([row["prompt"] for row in rows], cost_weight=1.0, context=context).models
    (tmp_path / "in.jsonl").write_text('{"prompt": "p"}\n')
    with pytest.raises(SystemExit) as exit_:
        cli.main(["route", str(tmp_path / "router"), "--cost-weight", "1", "--input", str(tmp_path / "in.jsonl")])
    assert exit_.value.code == 2
    assert "context column 'tier', which is missing" in capsys.readouterr().err


def test_the_gateway_takes_them_from_a_requests_metadata_and_logs_them(router, tmp_path):
    router.save(tmp_path / "router")
    settings = Settings(router_kinds.MODELS, "a", router=str(tmp_path / "router"), cost_weight=1.0, epsilon=0.0)
    gate = Gate(settings)
    assert (gate.problem, gate.context) == (None, ("tier", "length"))
    recorder = Recorder(gate)
    for said in ({"tier": "gold", "length": 40}, {"tier": "free", "length": 1}, {}):
        known = {"tier": None, "length": None} | said
        body = {"messages": [{"role": "user", "content": "hello"}], "metadata": said}
        request = recorder.route("acompletion", body, "hello", None)
        wanted = router.route(["hello"], cost_weight=1.0, context=[known]).models[0]
        assert (request.choice.model, request.choice.by) == (wanted, "router")
        assert rows.row(request, "answered", texts=True).items() >= known.items()


def test_two_routers_at_once_read_columns_of_their_own(router, tmp_path):
    """A roll-out, and an exploration that is to value another router: each router gets its own columns."""
    tier = router_kinds.router("plug_in", features=TEXT + 2, encoder="hashed", summary={"context": COLUMNS[:1]})
    plain = router_kinds.router("affine", features=TEXT, encoder="hashed")
    folders = {}
    for name, one in (("old", router), ("new", tier), ("target", plain)):
        one.save(tmp_path / name)
        folders[name] = str(tmp_path / name)
    settings = Settings(
        router_kinds.MODELS, "a", router=folders["old"], cost_weight=1.0, seed=0,
        rollout=Rollout(folders["new"], 0.5, state=str(tmp_path / "rollout.json")),
        explore=Explorer("evaluation", floor=0.1, router=folders["target"]),
    )  # fmt: skip
    gate = Gate(settings)
    assert (gate.problem, gate.context) == (None, ("tier", "length"))
    arms = {}
    for i in range(40):
        known = {"tier": "gold", "length": 40 + i}
        choice = gate.choose(f"text {i}", context=known)
        decided, columns = (tier, ("tier",)) if choice.facts["rollout"] == "new" else (router, ("tier", "length"))
        given = {name: [known[name]] for name in columns}
        best = decided.route([f"text {i}"], cost_weight=1.0, context=given).models[0]
        assert choice.exploration == (choice.model != best)
        arms[choice.facts["rollout"]] = choice
    assert set(arms) == {"old", "new"}
    assert gate.choose("text", context={"length": "far"}).by == "default"  # no number: said, and the default answers
    plain.save(tmp_path / "new")
    plain.save(tmp_path / "old")
    assert Gate(settings).context == ()


def test_a_router_with_columns_is_judged_with_them(router, monkeypatch):
    rows = [row | {"model": "abcd"[i % 4]} for i, row in enumerate(rows_of(80))]
    log = people.load(rows, context=("tier", "length"))
    seen = {}

    def fit(key, logs, spec, **_):
        seen["features"] = np.asarray(logs.features)
        raise InterruptedError

    monkeypatch.setattr(evaluation.nuisance, "fit", fit)
    with pytest.raises(InterruptedError):
        evaluation.on_log(router, log)
    np.testing.assert_array_equal(seen["features"], router.features(log.prompt, log.context))
    with pytest.raises(InputError, match="context column 'tier'"):
        evaluation.on_log(router, dataclasses.replace(log, context={}))


@pytest.mark.parametrize("order", [("plain", "columns"), ("columns", "plain")])
def test_the_commands_read_the_columns_of_every_router(router, order, tmp_path, capsys, monkeypatch):
    """Also those that the first one lacks."""
    router.save(tmp_path / "columns")
    router_kinds.router("affine", features=TEXT, encoder="hashed").save(tmp_path / "plain")
    rows = [row | {"model": "abcd"[i % 4]} for i, row in enumerate(rows_of(80))]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders, logs = [tmp_path / name for name in order], []

    def read(*given, **_):
        logs.extend(one for one in given if isinstance(one, people.LogTable))
        raise InputError("read")

    monkeypatch.setattr(comparison, "compare", read)
    monkeypatch.setattr(ranking, "rank", read)
    for arguments in (["compare", *folders, tmp_path / "log.jsonl"], ["rank", tmp_path / "log.jsonl", *folders]):
        assert run(capsys, *arguments)[::2] == (2, "error: read\n")
    assert [list(log.context) for log in logs] == [["tier", "length"]] * 2


def a_table(folder, tier, **columns):
    """Prompts that both models answered, with further columns, as a folder."""
    count, rng = len(tier), np.random.default_rng(0)
    prompts = {"query_id": range(count), "prompt": [f"p{i}" for i in range(count)], "task": "t", "tier": tier}
    answers = {"query_id": [*range(count)] * 2, "model": ["a"] * count + ["b"] * count}
    answers |= {"quality": rng.random(2 * count), "cost": rng.random(2 * count)}
    tables.write(folder, pd.DataFrame({**prompts, **columns}), pd.DataFrame(answers))
    return tables.load(folder)


def test_a_table_judges_a_router_with_them(router, tmp_path):
    tier, length = ["gold", "free"] * 10, [10.0, 14.0, 16.0, 18.0] * 5
    table = a_table(tmp_path / "table", tier=tier, length=length)
    (row,) = evaluation.on_table(router, table, normalised_cost_weights=(0.5,)).to_frame().to_dict("records")
    scores = router.scores(list(table.prompt), row["cost_weight"], {"tier": tier, "length": length})
    places = [router.models.index(name) for name in table.models]
    chosen = scores[:, places].argmax(1)
    np.testing.assert_allclose(row["quality"], table.outcomes.quality[np.arange(20), chosen].mean(), rtol=1e-5)
    with pytest.raises(InputError, match="context column 'tier'"):
        evaluation.on_table(router, dataclasses.replace(table, context={}))


def test_a_shadow_sample_has_them_too(router, tmp_path, monkeypatch):
    tier, length = ["gold", None] * 10, [10, 14, np.nan, 18] * 5
    table = a_table(tmp_path / "table", tier=tier, length=length)
    tables.save(table, tmp_path / "again")
    assert tables.load(tmp_path / "again").context["tier"].tolist() == tier
    expected = router.features(list(table.prompt), {"tier": tier, "length": length})
    log = people.load(rows_of(80), context=("tier", "length"))
    found = shadow.examples(table, log.models, encoder="hashed", columns=COLUMNS)
    np.testing.assert_array_equal(found.features, expected)
    np.testing.assert_array_equal(table.rows(np.arange(3, 5)).context["length"], [18, 10])

    seen = {}

    def fit(key, logs, spec, shadow):
        seen["features"] = np.asarray(shadow.features)
        raise InterruptedError

    monkeypatch.setattr(evaluation.nuisance, "fit", fit)
    with pytest.raises(InterruptedError):
        evaluation.on_log(router, log, shadow=table)
    np.testing.assert_array_equal(seen["features"], expected)
    with pytest.raises(InputError, match=r"shadow sample lacks the context column 'length': .* queries\.parquet"):
        evaluation.on_log(router, log, shadow=a_table(tmp_path / "other", tier=tier))


@pytest.mark.slow
def test_a_router_is_fitted_and_judged_with_a_shadow_sample_and_columns(tmp_path):
    log = people.load(rows_of(400), context=("tier", "length"))
    table = a_table(tmp_path / "table", tier=["free", "gold"] * 40, length=[1, 2, 3, 4] * 20)
    made = jr.fit(log, shadow=table, outcome_models=["mean"], fingerprint=False)
    assert [one["name"] for one in made.context] == ["tier", "length"]
    assert made.summary["shadow_prompts"] == 80
    assert (jr.evaluate(made, log, shadow=table).to_frame()["shadow_share"] > 0).all()


def test_the_doctor_names_the_column_that_drove_the_choice():
    """Cramer's V of two binary columns is their correlation."""
    log = people.load(rows_of(400), context=("tier", "length"))
    first, second = contexts.drivers(log.context, log.action)
    gold = np.array([row["tier"] == "Gold" for row in rows_of(400)])
    np.testing.assert_allclose(first["strength"], abs(np.corrcoef(gold, log.action)[0, 1]), rtol=1e-6)
    assert (first["name"], first["drove"], second["name"], second["drove"]) == ("tier", True, "length", False)


@pytest.mark.slow
def test_the_doctor_says_so():
    log = people.load(rows_of(400), context=("tier", "length"))
    found = doctor.examine(log, people.as_logs(log))
    assert found["context"][0]["name"] == "tier"
    assert any("The column tier drove the choice" in line for line in found["advice"])


def test_the_columns_of_a_csv_file_are_those_of_other_files(tmp_path, capsys):
    """Which hold numbers as numbers: a CSV file holds texts alone."""
    rows = [row | {"zip": f"0{i % 3}", "tools": len(row["tools"])} for i, row in enumerate(rows_of(60))]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_parquet(tmp_path / "log.parquet")
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "parts").mkdir()
    frame[:30].to_csv(tmp_path / "parts" / "log-1.csv.gz", index=False)
    frame[30:].to_parquet(tmp_path / "parts" / "log-2.parquet")
    context = "tier", "length", "tools", "zip"
    columns = [contexts.fit(people.load(tmp_path / name, context=context).context)
               for name in ("log.jsonl", "log.csv", "log.parquet", "parts")]  # fmt: skip
    assert [one["kind"] for one in columns[0]] == ["category", "number", "number", "category"]
    assert columns[1:] == [columns[0]] * 3
    features = [np.asarray(people.as_logs(people.load(tmp_path / f"log.{kind}", context=context)).features)
                for kind in ("jsonl", "csv")]  # fmt: skip
    np.testing.assert_array_equal(*features)

    router_kinds.router("plug_in", features=TEXT + 4, encoder="hashed", summary={"context": COLUMNS}).save(
        tmp_path / "router"
    )
    found = [run(capsys, "route", tmp_path / "router", "--cost-weight", "1", "--input", tmp_path / f"log.{kind}")
             for kind in ("jsonl", "csv", "parquet")]  # fmt: skip
    assert found[0][0] == 0
    assert found[1:] == found[:1] * 2
    (tmp_path / "odd.csv").write_text("prompt,tier,length\np,gold,3\np,gold,many\n")
    odd = run(capsys, "route", tmp_path / "router", "--cost-weight", "1", "--input", tmp_path / "odd.csv")
    assert odd[0] == 2
    assert "row 1: 'many' is not a number" in odd[2]


def test_a_whole_number_is_the_same_category_in_every_table():
    """A data frame with an empty cell turns the others into floats."""
    columns = contexts.fit({"plan": np.array(["1", "2", "none"] * 5, object)})
    encoded = [contexts.encode(columns, {"plan": cells}, 3).tolist() for cells in (["1", "2", None], [1, 2.0, np.nan])]
    assert encoded == [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]] * 2
    earlier = [{"name": "plan", "kind": "category", "values": ["1.0", "none"]}]  # of an earlier release
    assert contexts.encode(earlier, {"plan": [1.0]}, 1).tolist() == [[1.0, 0.0]]


def test_columns_stay_beside_their_prompts_where_records_are_no_requests(router, tmp_path, capsys, monkeypatch):
    """Failed requests without a text in the gateway's log are not routed, and neither are their columns."""
    row = {"chosen": "a", "model": "a", "by": "router", "attempts": 1, "quality": 1, "cost": 1, "status": "answered"}
    asked = [
        row | {"request_id": f"{i}", "prompt": f"p{i}", "tier": ["gold", "free"][i % 2], "length": 3 * i}
        for i in range(8)
    ]
    lost = row | {"request_id": "x", "status": "failed", "prompt": None, "tier": "gold", "length": 900}
    log = [lost, *asked[:3], lost, *asked[3:]]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in log))
    router.save(tmp_path / "router")
    monkeypatch.setattr("jaxroute.cli.route.ROWS", 4)  # two whole blocks, so that no length tells
    code, out, err = run(capsys, "route", tmp_path / "router", "--cost-weight", "1", "--input", tmp_path / "log.jsonl")
    assert (code, err) == (0, "")
    context = {name: [one[name] for one in asked] for name in ("tier", "length")}
    wanted = router.route([one["prompt"] for one in asked], cost_weight=1.0, context=context)
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["model"] for one in found] == wanted.models
    shown = [
        {name: round(float(score), 6) for name, score in zip(router.models, row, strict=True)} for row in wanted.scores
    ]
    for one, scores in zip(found, shown, strict=True):
        assert one["scores"] == pytest.approx(scores, abs=1e-5)


def test_a_candidate_of_an_exploration_has_columns_of_its_own(router, tmp_path, capsys):
    """Those that the router lacks are read too."""
    tier = {"context": COLUMNS[:1]}
    router.save(tmp_path / "both")
    router_kinds.router("plug_in", features=TEXT + 2, encoder="hashed", summary=tier).save(tmp_path / "tier")
    router_kinds.router("affine", features=TEXT, encoder="hashed").save(tmp_path / "plain")
    rows = [row | {"model": "abcd"[i % 4]} for i, row in enumerate(rows_of(80))]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for one, other in (("plain", "both"), ("tier", "both"), ("both", "plain")):
        asked = "explore", tmp_path / "log.jsonl", tmp_path / one, "--candidate", tmp_path / other
        code, out, err = run(capsys, *asked, "--policy", "evaluation", "--json", "--quiet")
        assert (code, err) == (0, "")
        assert json.loads(out)["settings"][0]["loss"] >= 0
