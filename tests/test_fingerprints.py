"""Which rows a router learned from: the marks, what is left out because of them, and what is held out."""

import dataclasses
import itertools
import os

import jax
import numpy as np
import pandas as pd
import pytest
import router_kinds

import jaxroute as jr
from jaxroute.data import fingerprints, simulate, synthetic
from jaxroute.data import logs as people
from jaxroute.serving import unseen
from jaxroute.serving import views as serving_views
from jaxroute.serving.router import Router
from jaxroute.types import InputError, NuisanceSpec, Table

STORED = {
    "conclusion": ["The conclusion of the fit."],
    "by_cost_weight": [
        {"normalised_cost_weight": 0.5, "cost_weight": 50.0, "value": 0.7, "interval": [0.6, 0.8], "label": "dr",
         "verdict": "ok", "reasons": [], "shadow_share": 0.0, "best_single": 2, "gain": 0.1, "gain_interval": None},
    ],
}  # fmt: skip


def rows_of(count, **changes):
    return [
        {"prompt": f"What is {i}?", "model": "abc"[i % 3], "quality": i % 2, "cost": 0.1, "timestamp": 1e9 + i}
        | changes
        for i in range(count)
    ]


def test_every_learned_row_is_found_and_new_ones_at_the_stated_chance():
    log = people.load(rows_of(60_000))
    marks = fingerprints.of_log(log.rows(np.arange(12_000)))
    seen = marks.rows_of(log)
    assert seen.rows[:12_000].all()
    assert seen.unknown == 0
    assert 1 / 20_000 < marks.chance < 1 / 10_000
    assert int(seen.rows[12_000:].sum()) < 48_000 * marks.chance + 5 * np.sqrt(48_000 * marks.chance)
    assert len(marks.bits) == 12_000 * fingerprints.BITS // 8
    few = [fingerprints.of_log(log.rows(np.arange(100))) for _ in range(20)]  # small filters are no worse
    wrong = sum(int(one.rows_of(log.rows(np.arange(100, 2100))).rows.sum()) for one in few)
    assert wrong < 40_000 * few[0].chance + 5 * np.sqrt(40_000 * few[0].chance)


def test_a_bounded_filter_says_how_often_it_is_wrong(monkeypatch):
    """1,500 marks in 4,096 bits, h = 2: (1 - exp(-2 x 1500 / 4096))^2 = 0.27."""
    monkeypatch.setattr(fingerprints, "MOST", 4096)
    log = people.load(rows_of(6000))
    marks = fingerprints.of_log(log.rows(np.arange(1500)))
    assert (len(marks.bits), marks.hashes) == (512, 2)
    np.testing.assert_allclose(marks.chance, (1 - np.exp(-2 * 1500 / 4096)) ** 2, rtol=0.06)
    wrong = marks.rows_of(log).rows[1500:].mean()
    np.testing.assert_allclose(wrong, marks.chance, atol=5 * np.sqrt(0.27 * 0.73 / 4500))


def test_a_row_is_its_request_id_whatever_else_it_shares():
    """The rows of the gateway: one conversation, the same prompt twice, texts that are not logged the next time."""
    gateway = {"chosen": "a", "status": "answered", "by": "router", "attempts": 1, "group": "talk", "prompt": "Go on"}
    rows = [gateway | {"request_id": f"call-{i}", "model": "ab"[i % 2], "quality": 1, "cost": 1.0} for i in range(6)]
    marks = fingerprints.of_log(people.load(rows[:3]))
    assert marks.counts == {"request_id": 3, "request_prompt": 3}
    assert marks.rows_of(people.load(rows)).rows.tolist() == [True] * 3 + [False] * 3
    unlogged = [row | {"prompt": None, "features": [0.5, float(i)]} for i, row in enumerate(rows)]
    assert marks.rows_of(people.load(unlogged)).rows.tolist() == [True] * 3 + [False] * 3
    without = [{name: value for name, value in row.items() if name != "request_id"} for row in rows]
    seen = marks.rows_of(people.load(without, form="plain"))
    assert (seen.count, seen.unknown) == (0, 6)
    assert seen.said() == [
        "Of 6 rows nobody can tell whether the router learned from them: what it learned from is known by its request "
        "ids, which they do not have. Make sure that it has not seen them."
    ]


def test_what_a_row_is_known_by_is_looked_up_where_the_log_has_it_beside_something_else():
    """A router that learned from texts, and a log that has features as well; a table is known by neither."""
    rows = rows_of(6)
    both = people.load([row | {"features": [0.5, float(i)]} for i, row in enumerate(rows)])
    marks = fingerprints.of_log(people.load(rows[:3]))
    seen = marks.rows_of(both)
    assert (seen.rows.tolist(), seen.unknown, seen.by) == ([True] * 3 + [False] * 3, 0, ("prompt",))
    assert fingerprints.of_log(both.rows(np.arange(2))).rows_of(both).rows.tolist() == [True] * 2 + [False] * 4
    table = synthetic.make(jax.random.key(0), num_prompts=5, num_models=3)
    assert marks.prompts_of(table, texts=True).said() == []
    said = fingerprints.of_log(both).prompts_of(table, texts=True).said("prompts")
    assert said[0].startswith("Of 5 prompts nobody can tell whether the router learned from them")
    assert "known by its features, which they do not have" in said[0]


def test_ids_that_begin_anew_name_other_requests():
    rows = [{"request_id": f"q{i}", "prompt": f"{i}", "model": "ab"[i % 2], "quality": 1, "cost": 1} for i in range(6)]
    later = people.load([row | {"prompt": f"later {row['prompt']}"} for row in rows[:4]] + rows[4:])
    seen = fingerprints.of_log(people.load(rows)).rows_of(later)
    assert seen.rows.tolist() == [False] * 4 + [True] * 2
    assert seen.reused == 4
    assert "4 rows have the request id of a row that the router learned from, and another prompt" in seen.said()[1]
    old = fingerprints.of_log(people.load(rows))
    old.counts.pop("request_prompt")  # an artefact of before, which has the marks of ids alone
    assert old.rows_of(later).rows.all()


def test_marks_have_a_salt_of_their_own_and_no_word_of_a_prompt(tmp_path):
    log = people.load(rows_of(30, prompt="a secret word that is asked again and again"))
    first, second = fingerprints.of_log(log), fingerprints.of_log(log)
    assert first.salt != second.salt
    assert (first.bits != second.bits).any()
    router = dataclasses.replace(router_kinds.router("plug_in"), fingerprint=first)
    router.save(tmp_path / "router")
    assert all(b"secret" not in file.read_bytes() for file in (tmp_path / "router").iterdir())
    loaded = Router.load(tmp_path / "router")
    assert loaded.fingerprint.rows_of(log).rows.all()
    assert (loaded.fingerprint.counts, loaded.fingerprint.hashes) == (first.counts, first.hashes)
    assert jr.serving.portable.load(tmp_path / "router").models == router.models


def test_what_was_learned_from_a_table_is_seen_in_tables_and_in_logs():
    table = synthetic.make(jax.random.key(0), num_prompts=60, num_models=3)
    log = people.load([{"prompt": str(p), "model": table.models[0], "quality": 1, "cost": 1} for p in table.prompt]
                      + [{"prompt": "another", "model": table.models[1], "quality": 1, "cost": 1}])  # fmt: skip
    marks = fingerprints.of_table(table.rows(np.arange(20)), texts=True)
    assert marks.prompts_of(table, texts=True).count == 20
    assert marks.rows_of(log).rows.tolist() == [True] * 20 + [False] * 41
    of_log = fingerprints.of_log(log.rows(np.arange(30)))
    assert of_log.prompts_of(table, texts=True).rows.tolist() == [True] * 30 + [False] * 30
    beside = fingerprints.of_log(log.rows(np.arange(30)), table.rows(np.arange(30, 40)))
    assert beside.prompts_of(table, texts=True).count == 40


@pytest.fixture(autouse=True)
def salts(monkeypatch):
    """The filter of the package, and salts of this test alone: which marks it takes for its own depends on them."""
    monkeypatch.setattr(fingerprints, "BITS", 20)
    number = itertools.count()
    monkeypatch.setattr(os, "urandom", lambda size: next(number).to_bytes(size, "little"))


@pytest.fixture(scope="module")
def log():
    """300 rows of the routers' four models, with features."""
    made = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4, num_features=router_kinds.D)
    made.outcomes.cost[:] *= router_kinds.SCALE / made.outcomes.cost.mean()
    table = Table(**{**vars(made), "models": router_kinds.MODELS})
    logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
    names = np.array(table.models)[np.asarray(logs.action)]
    columns = {name: np.asarray(getattr(logs, name)) for name in ("quality", "cost", "propensity")}
    frame = pd.DataFrame({"features": np.asarray(logs.features).tolist(), "model": names, **columns})
    return people.load(frame.assign(request_id=[f"r{i}" for i in range(300)]))


def test_rows_that_a_router_learned_from_are_no_evidence_about_it(log, monkeypatch):
    """What is judged is what is new to both routers; the estimates themselves are tested elsewhere."""
    plain, marks = router_kinds.router("plug_in", summary=STORED), fingerprints.of_log(log.rows(np.arange(120)))
    router = dataclasses.replace(plain, fingerprint=marks)
    judged = []

    def views(router, log, shadow):
        judged.append((log, shadow))
        raise InterruptedError

    monkeypatch.setattr(serving_views, "of", views)
    table = synthetic.make(jax.random.key(2), num_prompts=40, num_models=4, num_features=router_kinds.D)
    table = Table(**{**vars(table), "models": router_kinds.MODELS})
    known = dataclasses.replace(plain, fingerprint=fingerprints.of_log(log, table.rows(np.arange(30)), texts=False))
    for call in (
        lambda: jr.evaluate(router, log, shadow=table),
        lambda: jr.evaluate(plain, log),
        lambda: jr.compare(plain, router, log),
        lambda: jr.evaluate(known, people.load([{"features": [9.0] * 5, "model": m, "quality": 1, "cost": 1}
                                                for m in "abcd" * 20]), shadow=table),
    ):  # fmt: skip
        with pytest.raises(InterruptedError):
            call()
    assert [len(log) for log, _ in judged] == [180, 300, 180, 80]
    assert judged[0][0].request_id.tolist() == [f"r{i}" for i in range(120, 300)]
    assert [None if shadow is None else len(shadow) for _, shadow in judged] == [40, None, None, 10]


def test_what_is_said_of_both_routers_is_said_once(log):
    """Both know their rows by request ids, which the prompts of a shadow sample do not have."""
    made = synthetic.make(jax.random.key(2), num_prompts=40, num_models=4, num_features=router_kinds.D)
    table = Table(**{**vars(made), "models": router_kinds.MODELS})
    first, second = (
        router_kinds.router("plug_in", fingerprint=fingerprints.of_log(log.rows(rows)))
        for rows in (np.arange(50), np.arange(20, 80))
    )
    said = jr.compare(first, second, log, shadow=table, normalised_cost_weights=[0.0]).left_out
    assert len(set(said)) == len(said)
    assert [line for line in said if "40 prompts of the shadow sample nobody can tell" in line]


def test_where_nothing_is_new_the_stored_value_stands_and_says_so_first(log):
    marks = fingerprints.of_log(log.rows(np.arange(260)))
    router = router_kinds.router("plug_in", summary=STORED, fingerprint=marks)
    found = jr.evaluate(router, log)
    assert found.conclusion()[0].startswith("No test on new data: the router learned from 260 of the 300 rows")
    assert "40 others are too few" in found.conclusion()[0]
    assert found.conclusion()[1:] == STORED["conclusion"]
    frame = found.to_frame()
    assert frame[["value", "low", "high", "gain_on_best_single"]].to_numpy().tolist() == [[0.7, 0.6, 0.8, 0.1]]
    assert frame[["gain_on_logging_policy", "gain_on_best_single_low", "flips_at"]].isna().all(axis=None)
    assert "cost_per_1000" not in frame  # which an artefact of an earlier release does not keep
    spent = dict.fromkeys(unseen.ACCOUNTS, 0.25) | {"saved_on_best_single_low": None, "shares": {"a": 1.0}}
    kept = {**STORED, "by_cost_weight": [STORED["by_cost_weight"][0] | spent]}
    (row,) = (
        jr.evaluate(router_kinds.router("plug_in", summary=kept, fingerprint=marks), log).to_frame().to_dict("records")
    )
    assert np.isnan(row["saved_on_best_single_low"])
    assert {name: row[name] for name in unseen.ACCOUNTS if name != "saved_on_best_single_low"} == {
        name: value for name, value in spent.items() if value is not None
    }
    other = {**STORED, "by_cost_weight": [STORED["by_cost_weight"][0] | {"value": 0.5}]}
    two = jr.compare(router, router_kinds.router("per_weight", summary=other), log)
    np.testing.assert_allclose(two.difference, [0.2])
    assert two.conclusion()[0].startswith("No test on new data")
    assert (np.isnan(two.low).all(), two.verdict) == (True, ("not supported",))
    with pytest.raises(InputError, match="learned from 260 of the 300 rows of this log: give other data"):
        jr.evaluate(router_kinds.router("plug_in", fingerprint=marks), log)


def test_a_time_or_a_share_is_held_out_with_whole_groups():
    rows = [row | {"group": f"user{i // 2}"} for i, row in enumerate(rows_of(400))]
    log = people.load(rows)
    before, after = people.hold_out(0, log, moment=1e9 + 301)
    assert (len(before), len(after)) == (300, 99)  # row 300 shares its user with row 301
    fitted, held = people.hold_out(0, log, share=0.25)
    assert (len(fitted), len(held)) == (300, 100)
    assert not set(fitted.group) & set(held.group)
    with pytest.raises(InputError, match="name another moment"):
        people.hold_out(0, log, moment=2e9)
    with pytest.raises(InputError, match="needs a timestamp in every row"):
        people.hold_out(0, dataclasses.replace(log, timestamp=None), moment=1e9)
    with pytest.raises(InputError, match="above 0 and below 1"):
        people.hold_out(0, log, share=1.5)


@pytest.mark.slow
def test_a_fit_keeps_its_marks_and_judges_what_it_held_out(tmp_path):
    log = people.load([row | {"prompt": f"{row['prompt']} {i % 7}"} for i, row in enumerate(rows_of(400))])
    small = {"spec": NuisanceSpec(("mean",)), "method": "plug_in_mean", "hidden": (4,), "steps": 10}
    router = jr.fit(log, split_time=1e9 + 300, **small)
    assert router.summary["held_out"]["rows"] == 100
    router.save(tmp_path / "router")
    held = Router.load(tmp_path / "router").summary["held_out"]
    found = jr.evaluate(tmp_path / "router", log)
    assert found.left_out[0].startswith("Left out: 300 of 400 rows")
    np.testing.assert_allclose([row["value"] for row in held["by_cost_weight"]], found.to_frame()["value"], rtol=1e-5)
    assert jr.fit(log, fingerprint=False, **small).fingerprint is None
