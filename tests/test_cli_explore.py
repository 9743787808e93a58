"""``jaxroute explore``: money first, an object of the schema, and no exploration that cannot prove what is asked."""

import dataclasses
import json

import numpy as np
import pytest
import router_kinds

from jaxroute import cli
from jaxroute.cli import explore, explored, output
from jaxroute.estimators import support, trusted_clip
from jaxroute.serving import kinds, portable
from jaxroute.types import Logs, Nuisances, Outcomes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    router_kinds.router("plug_in").save(folder / "router")
    other = kinds.in_32_bits(router_kinds.kind("plug_in", seed=5))
    dataclasses.replace(router_kinds.router("plug_in"), kind=other).save(folder / "next")
    router_kinds.router("plug_in", last_layer=None).save(folder / "certain")
    rng = np.random.default_rng(0)
    with (folder / "log.jsonl").open("w") as log:
        for i in range(120):
            row = {"features": rng.standard_normal(5).tolist(), "model": "abcd"[i % 4], "cost": 0.001 * (1 + i % 4)}
            log.write(json.dumps(row | {"quality": float(i % 3 > 0) if i % 2 else None}) + "\n")
    return folder


def run(folder, *more, router="router"):
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["explore", str(folder / "log.jsonl"), str(folder / router), *map(str, more)])
    return ended.value.code


def test_the_object_is_that_of_the_schema_and_a_floor_costs_and_proves_more(folder, capsys):
    found = []
    for floor in (0.02, 0.5):
        assert run(folder, "--candidate", folder / "next", "--floor", floor, "--json") == 0
        found.append(json.loads(capsys.readouterr().out))
        schema = output.schema("explore")
        assert found[-1].keys() == set(schema["required"])
        for name in ("settings", "models"):
            assert all(one.keys() == set(schema["properties"][name]["items"]["required"]) for one in found[-1][name])
    little, much = ({one["setting"].split()[2]: one for one in each["settings"]} for each in found)
    assert set(little) == {"uniform,", "thompson,", "contenders,", "evaluation,"}
    for policy in ("uniform,", "contenders,"):
        assert much[policy]["rows"] < (little[policy]["rows"] or np.inf)  # null: too rarely to prove anything
        assert much[policy]["least_probability"] > little[policy]["least_probability"]
    assert little["evaluation,"]["rows"] == min(one["rows"] or np.inf for one in little.values())
    assert little["uniform,"]["rows"] >= 200 / little["uniform,"]["least_probability"] - 1  # before, it is no evidence
    assert found[0]["feedback"] == 0.5
    for each in found:
        assert each["conclusion"][0].startswith("Exploring costs ")
        assert len(each["rates"]) >= 7 * len(each["settings"])
        drawn = {(one["policy"] + ",", one["floor"]): one["days"] for one in each["rates"]}
        for policy, one in {one["setting"].split()[2]: one for one in each["settings"]}.items():
            assert drawn[policy, 0.02 if each is found[0] else 0.5] == one["days"]


def test_the_page_has_the_conclusion_the_reasons_a_picture_and_the_tables_last(folder, capsys):
    assert run(folder, "--report", folder / "page", "--rated", 0.5) == 0
    printed = capsys.readouterr().out
    html = (folder / "page" / "report.html").read_text()
    said = printed.splitlines()[0]
    order = [said, "may be better than the router", "if all were, the proof would take", "<figure", "<table"]
    places = [html.replace("&#39;", "'").index(part) for part in order]
    assert places == sorted(places)
    assert "per 1,000 requests (" in said
    assert f"report: {folder / 'page' / 'report.html'}" in printed.replace("\n", "")


def test_a_candidate_that_decides_alike_leaves_nothing_to_prove(folder, capsys):
    assert run(folder, "--candidate", folder / "router", "--report", folder / "alike", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert "chooses as the router does on every prompt" in found["conclusion"][0]
    assert found["settings"][0]["rows"] is None
    assert "<figure" not in (folder / "alike" / "report.html").read_text()


@pytest.mark.parametrize(
    ("router", "more", "says"),
    [
        ("router", ["--policy", "contenders", "--floor", "0", "--candidate", "next"], "cannot be valued; --floor "),
        ("router", ["--policy", "evaluation", "--floor", "0", "--candidate", "next"], "give a floor"),
        ("router", ["--policy", "evaluation"], "--candidate"),
        ("router", ["--policy", "greedy"], "must be one of uniform"),
        ("certain", [], "no posterior"),
    ],
)
def test_what_proves_nothing_is_refused(folder, capsys, monkeypatch, router, more, says):
    monkeypatch.chdir(folder)
    assert run(folder, *more, router=router) == 2
    assert says in capsys.readouterr().err


def test_shares_near_one_and_above_are_said_in_full():
    """99.7% is 100% in two figures, not 1e+02%, and a cost of thirteen times the spend is 1,250%."""
    asked = explore.Asked(0.02, 0.01, 1000.0, 1.0, None, "")
    best = {"setting": "S", "rows": 100.0, "days": 3.0, "loss": 1.0, "extra_cost_per_1000": 12.5}
    model = {"model": "m", "may_be_better": 0.997, "share": 0.996, "share_of_router": 0.0003, "days": 3.0}
    said = " ".join(explore._said(best, [model], asked, 1.0, True))
    for part in (
        "on 100% of the prompts",
        "get 100% of",
        "instead of 0.03%",
        "(1,250% of the spend",
        "loses 100 points",
    ):
        assert part in said
    assert "e+" not in said


def test_models_that_could_not_answer_are_neither_chosen_nor_tried(tmp_path, folder, capsys):
    """Half of the prompts could go to a and b alone; d is removed from the router."""
    router_kinds.router("plug_in").without("d").save(tmp_path / "router")
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        if i % 4 < 2:
            row["available"] = ["a", "b"]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path, "--policy", "uniform", "--epsilon", 1, "--floor", 0, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    shares = {one["model"]: one["share"] for one in found["models"]}
    assert shares == pytest.approx({"a": 5 / 12, "b": 5 / 12, "c": 1 / 6, "d": 0.0})
    (setting,) = found["settings"]
    assert setting["least_probability"] == pytest.approx(1 / 3)
    router = portable.load(tmp_path / "router")
    x = np.array([row["features"] for row in rows], np.float32)
    could = np.array([[True, True, "available" not in row, False] for row in rows])
    chosen = np.where(could, router.scores(x, found["cost_weight"]), -np.inf).argmax(1)
    extra = router.predict(x)[1] * (could / could.sum(1, keepdims=True) - np.eye(4)[chosen])
    assert setting["extra_cost_per_1000"] == pytest.approx(1000 * extra.sum(1).mean(), rel=1e-4)


def test_a_row_counts_as_often_as_it_stands_for_requests(tmp_path, folder, capsys):
    """Of two prompts, one stands for nine times as many requests, and only it was rated."""
    router_kinds.router("plug_in").save(tmp_path / "router")
    router, x = portable.load(tmp_path / "router"), np.eye(5)[:2] * 3
    rows = [
        {"features": x[i % 2].tolist(), "model": "abcd"[i % 4], "cost": 0.002, "weight": [9, 1][i % 2]}
        | ({} if i % 2 else {"quality": 1})
        for i in range(400)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path, "--policy", "uniform", "--epsilon", 1, "--floor", 0, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["feedback"] == pytest.approx(0.9)
    x = x.astype(np.float32)
    cost = router.predict(x)[1]
    extra = cost.mean(1) - cost[[0, 1], router.scores(x, found["cost_weight"]).argmax(1)]
    apart = 1000 * float(abs(extra[0] - extra[1]))
    assert found["settings"][0]["extra_cost_per_1000"] == pytest.approx(
        float(1000 * extra @ [0.9, 0.1]), abs=0.03 * apart
    )
    assert apart > 0.1


@pytest.mark.parametrize("kind", ["per_weight", "interval"])
def test_a_router_that_predicts_no_cost_does_not_know_what_exploring_costs(tmp_path, folder, capsys, kind):
    router_kinds.router(kind).save(tmp_path / "router")
    (tmp_path / "log.jsonl").write_bytes((folder / "log.jsonl").read_bytes())
    assert run(tmp_path, "--report", tmp_path / "page", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["conclusion"][0].startswith("Exploring costs an unknown amount")
    assert {one["extra_cost_per_1000"] for one in (*found["settings"], *found["rates"])} == {None}


def test_costs_are_in_the_unit_of_the_router_and_not_of_the_log(tmp_path, folder, capsys):
    """They are the router's expectations: dollars beside a router of cents would be a hundred times too many."""
    rows = [json.loads(row) | {"currency": "USD"} for row in (folder / "log.jsonl").read_text().splitlines()]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for currency, says in (("", "the unit of the log that the router learned from"), ("USD", "US dollars")):
        router_kinds.router("plug_in", summary={"currency": currency}).save(tmp_path / "router")
        assert run(tmp_path, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["currency"] == currency
        assert found["conclusion"][-1] == f"Costs are in {says}. Expectations are the router's own."
        assert ("$" in found["conclusion"][0]) == (currency == "USD")


def test_a_log_of_other_models_is_refused(tmp_path, folder, capsys):
    """What the router expects of its own models says nothing of the gateway that wrote such a log."""
    rows = [json.loads(row) for row in (folder / "log.jsonl").read_text().splitlines()]
    for other, code in (("", 0), ("-2", 2)):
        told = (json.dumps(row | {"model": row["model"] + other}) + "\n" for row in rows)
        (tmp_path / "log.jsonl").write_text("".join(told))
        assert run(tmp_path, router=folder / "router") == code
    assert "the data hold a-2, b-2, c-2, d-2; the router knows only a, b, c, d: give data of" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--loss=nan", "--loss=-1", "--per-day=inf", "--gain=nan"])
def test_numbers_that_cannot_be_are_refused(folder, capsys, option):
    assert run(folder, option) == 2
    assert f"{option.split('=')[0]} is {option.split('=')[1]}; it must be" in capsys.readouterr().err


def test_a_models_gain_is_proven_of_the_prompts_where_it_may_be_better():
    """On 10 of 200 prompts: a gain of 2 points of all of them would be one of 40 points of these."""
    count, there, error, chance = 200, 10, 0.4, 0.1
    greedy = np.tile([1.0, 0.0], (count, 1))
    beats = np.zeros((count, 2))
    beats[:there, 1] = 0.5
    flat = np.full((count, 2), 0.5)
    found = explored.Requests(greedy, flat, flat, np.full((count, 2), error), flat, beats, greedy, flat, flat > 0)
    tried = np.tile([1 - chance, chance], (count, 1))
    one = explored.of_models(("a", "b"), found, tried, explored.Proof(0.02, 50.0))[1]
    part = there / count
    variance = part * error**2 * (1 / chance + 1 / (1 - chance))
    rows = variance * ((1.959964 + 0.841621) / (0.02 * part)) ** 2
    assert one["may_be_better"] == part
    assert one["rows"] == pytest.approx(rows, abs=1)
    assert one["days"] == one["rows"] / 50
    asked = explore.Asked(0.02, 0.01, 50.0, 1.0, None, "")
    best = {"setting": "S", "rows": 100.0, "days": 2.0, "loss": 0.0, "extra_cost_per_1000": 0.0}
    (line,) = (line for line in explore._said(best, [one], asked, 1.0, True) if "may be better" in line)
    assert "proves a gain of 2 points there after" in line


@pytest.mark.parametrize(("chance", "differ"), [(0.04, 0.5), (0.02, 0.5), (0.04, 0.03), (0.12, 0.5)])
def test_a_proof_takes_the_rows_from_which_evaluate_counts_the_choices(chance, differ):
    """Three models and logged propensities; those of the models not chosen are fitted, with errors of up to a half."""
    count = 400
    greedy = np.tile([1.0, 0.0, 0.0], (count, 1))
    target = np.where(np.arange(count)[:, None] < differ * count, [0.0, 1.0, 0.0], greedy)
    tried = np.tile([1 - 2 * chance, chance, chance], (count, 1))
    least = explored.rows_that_count(target, tried)
    assert least == (200 / chance if chance < 0.1 and differ > 0.05 else 0)
    flat, error = np.full((count, 3), 0.5), np.full((count, 3), 0.01)
    found = explored.Requests(greedy, flat, flat, error, flat, flat, target, flat, flat > 0)
    assert explored.Proof(0.02, 1000.0).of(found, tried, target)["rows"] >= least
    rng = np.random.default_rng(0)
    for rows, counted in ((0.4 * least, least == 0), (1.01 * max(least, 2000), True)):
        place = np.arange(int(rows) or 2000) % count
        action = (tried[place].cumsum(1) > rng.random((len(place), 1))).argmax(1)
        fitted = np.where(np.eye(3)[action] > 0, tried[place], tried[place] * rng.uniform(0.5, 1.5, (len(place), 3)))
        ones = np.ones(len(place))
        logged = tried[place, action]
        logs = Logs(ones[:, None], action, ones, ones, logged, np.ones((len(place), 3), bool))
        clip = trusted_clip(logs, target[place])
        report = support(logs, target[place], Nuisances(fitted, Outcomes(flat[place], flat[place])), clip=clip)
        assert (report.numbers["unsupported_mass"] <= 0.05) == counted


def test_a_gain_beyond_the_prompts_that_can_bring_it_is_out_of_reach():
    count = 400
    greedy = np.tile([1.0, 0.0], (count, 1))
    target = np.where(np.arange(count)[:, None] < 0.01 * count, [0.0, 1.0], greedy)
    flat = np.full((count, 2), 0.5)
    found = explored.Requests(greedy, flat, flat, flat, flat, flat, target, flat, flat > 0)
    for gain, proven in ((0.02, False), (0.01, True)):
        assert np.isfinite(explored.Proof(gain, 1000.0).of(found, flat, target)["rows"]) == proven
    assert explore._out_of_reach(0.01, explored.parting(target, greedy)) == []
    (line,) = explore._out_of_reach(0.02, explored.parting(target, greedy))
    assert "differ from the router's on 1% of the prompts" in line


def test_a_plan_of_rare_choices_says_from_when_they_are_evidence(capsys):
    for new, said in ((0.02, True), (0.1, False)):
        with pytest.raises(SystemExit):
            cli.main(["sample-size", "--gain", "0.2", "--new", str(new), "--old", "0.9", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert any("Before 10,000 rated rows" in line for line in found["conclusion"]) == said
        assert (found["by_gain"][0]["rows_once"] >= 10_000) == said
