"""Logs of comparisons: what of a record is a verdict, and qualities whose mean is the chance to win."""

import json
import re
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from jaxroute import estimators
from jaxroute.data import comparisons, harness, logs, priors, standings
from jaxroute.data.logs import comparisons as reader
from jaxroute.serving import alike
from jaxroute.types import InputError, Logs, Nuisances, Outcomes


def record(i=0, winner="model_a", a="x", b="y", **more):
    chat = [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": "an answer"}]
    tokens = {"sum_user_tokens": 10, "sum_assistant_a_tokens": 100, "sum_assistant_b_tokens": 200, "turns": 1}
    return {
        "question_id": f"q{i}", "model_a": a, "model_b": b, "winner": winner, "conversation_a": chat,
        "conversation_b": chat, "conv_metadata": tokens, "tstamp": 1.7e9 + i, "judge_hash": f"u{i}", "anony": True,
    } | more  # fmt: skip


PRICES = {"x": (1.0, 10.0), "y": (2.0, 20.0), "z": (1.0, 1.0)}


def round_robin(**more):
    """Every pair of x, y and z ten times, the first one winning."""
    pairs = [("x", "y"), ("y", "z"), ("x", "z")] * 10
    return [record(i, a=a, b=b, **more) for i, (a, b) in enumerate(pairs)]


def test_a_comparison_is_two_rows_with_their_own_tokens():
    log = logs.load(round_robin(), prices=PRICES)
    assert len(log) == 60
    assert log.models == ("x", "y", "z")
    assert log.prompt[:2].tolist() == ["question 0", "question 0"]
    assert log.request_id[:2].tolist() == ["q0_a", "q0_b"]
    assert log.timestamp[:2].tolist() == [1.7e9, 1.7e9]
    np.testing.assert_allclose(log.cost[:2], [(10 + 100 * 10) / 1e6, (10 * 2 + 200 * 20) / 1e6])
    assert log.weight is None  # every pair met as often: 1 for all
    # x wins against both, and every model ties with itself: 1/6 + 2/3, 1/6 + 1/3, 1/6.
    means = [log.quality[log.action == k].mean() for k in range(3)]
    np.testing.assert_allclose(means, [5 / 6, 1 / 2, 1 / 6], atol=1e-6)
    np.testing.assert_array_equal(log.group[::2], log.group[1::2])
    assert len(set(log.group.tolist())) == 30
    assert log.counts["qualities that are wins over another model's answer"] == 60
    assert log.read_as["score"] == "wins over the log's other models"


@pytest.mark.parametrize(
    ("winner", "won"),
    [("model_a", 1), ("model_b", 0), ("tie", 0.5), ("tie (bothbad)", 0.5), ("both_bad", 0.5), ("A", 1), ("y", 0),
     (None, None), ("", None)],
)  # fmt: skip
def test_verdicts(winner, won):
    assert reader.verdict(record(winner=winner)) == won
    log = logs.load([record(winner=winner), *round_robin()], prices=PRICES)
    assert np.isnan(log.quality[:2]).tolist() == [won is None] * 2
    assert np.isfinite(log.quality[2:]).all()


def test_a_winner_that_is_none_is_refused_by_its_row():
    for winner in ("model_c", 1, "2"):  # a number may be the first or the second
        said = re.escape(repr(f"the winner {winner!r}"))
        with pytest.raises(InputError, match=rf"(?s)quality is not a number: 2 row.*row 1, column 'quality': {said}"):
            logs.load([record(0), record(1, winner=winner)], prices=PRICES)


def test_what_no_vote_is_made_of_is_left_out_and_counted():
    rows = [record(100, anony=False), record(101, b="x"), *round_robin(),
            record(102, conv_metadata=record()["conv_metadata"] | {"turns": 2})]  # fmt: skip
    log = logs.load(rows, prices=PRICES)
    assert len(log) == 60
    assert log.left_out == {
        "answers in comparisons whose voter saw the models' names": {"x": 1, "y": 1},
        "answers in comparisons of a model with itself": {"x": 2},
        "answers in comparisons of several turns, whose tokens are not counted by request": {"x": 1, "y": 1},
    }


def test_sets_of_models_that_never_met_are_not_compared(tmp_path):
    """The chances of one against the other would be a prior's."""
    rows = round_robin() + [record(200 + i, a="v", b="w") for i in range(5)]
    prices = PRICES | {"v": (1, 1), "w": (1, 1)}
    with pytest.raises(InputError, match=r"model was never compared with most others, .*: 10 row\(s\) \(v 5, w 5\)"):
        logs.load(rows, prices=prices)
    log = logs.load(rows, prices=prices, drop_bad=True)
    assert log.left_out == {reader.UNLINKED: {"v": 5, "w": 5}}
    np.testing.assert_array_equal(log.quality, logs.load(round_robin(), prices=PRICES).quality)
    assert len(logs.load([*rows, record(300, a="z", b="v")], prices=prices)) == 72
    with pytest.raises(InputError, match=r"not even through a third one: v, w; leave out the comparisons of these"):
        standings.load(rows)


def test_a_win_against_nobody_knows_whom_is_no_quality():
    log = logs.load([*round_robin(), record(90, b=None)], prices=PRICES, drop_bad=True)
    assert log.left_out == {"model is empty": {"no model": 1}}
    assert np.flatnonzero(np.isnan(log.quality)).tolist() == [60]


def test_models_are_held_against_the_same_opponents_by_the_answers_that_are_kept():
    """z's answers against y are left out: what is left of z, its rows against x, is not all of its wins."""
    rows = round_robin(cost_a=1.0, cost_b=1.0)
    for row in rows:
        if row["model_b"] == "z":
            row["winner"] = "model_b" if row["model_a"] == "y" else "model_a"
            row["cost_b"] = None if row["model_a"] == "y" else 1.0
    log = logs.load([{k: v for k, v in row.items() if k != "conv_metadata"} for row in rows], drop_bad=True)
    weight = np.ones(len(log)) if log.weight is None else log.weight
    y, z = (np.average(log.quality[log.action == k], weights=weight[log.action == k]) for k in (1, 2))
    assert log.left_out == {"cost is empty, infinite or negative": {"z": 10}}
    assert log.counts[reader.MODELLED] == 1
    assert y == pytest.approx((20 / 50) / 2, abs=1e-6)  # it never won
    # Shares 0.4, 0.4, 0.2: beaten by x, of which a row counts at most twice; the model knows that it beats y.
    assert z > 0.2 / 2 + 0.3 * 0.4


def test_rows_that_stand_for_more_requests_count_as_opponents_as_often():
    """As if every verdict on z had been there three times."""
    rows = round_robin()
    for i, row in enumerate(rows):
        row["winner"] = "model_a" if i % 7 else "model_b"
    often = rows + [
        row | {"question_id": f"{t} {i}"} for t in (1, 2) for i, row in enumerate(rows) if row["model_b"] == "z"
    ]
    heavy = [row | {"weight": 3 if row["model_b"] == "z" else 1} for row in rows]
    means = []
    for log in (logs.load(heavy, prices=PRICES), logs.load(often, prices=PRICES)):
        weight = np.ones(len(log)) if log.weight is None else log.weight
        means.append([np.average(log.quality[log.action == k], weights=weight[log.action == k]) for k in range(3)])
    np.testing.assert_allclose(*means, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"quality_range": (1, 0)}, "no quality_range other than 0,1"), ({"quality_range": (-1, 1)}, "no quality_range"),
     ({"feedback": [{"request_id": "q0_a", "quality": 1}]}, r"no ratings \(feedback\)"),
     ({"columns": {"human_quality": "rated"}}, "no human_quality")],
)  # fmt: skip
def test_a_win_has_no_scale_and_no_rating(given, said):
    with pytest.raises(InputError, match=f"the quality of a comparison is its verdict, so that it has {said}"):
        logs.load(round_robin(rated=1), prices=PRICES, **given)


@pytest.mark.parametrize("columns", [(1, 1, 0), (0.7, 0.3, 0), (0, 0, 2)])
def test_columns_of_winners_that_contradict_each_other_are_no_verdict(columns):
    assert reader.verdict(dict(zip(reader.COLUMNS, columns, strict=True))).startswith("the winners ")
    assert reader.verdict({"winner_model_a": 0, "winner_model_b": 0}) is None


def test_a_record_is_shown_once_and_what_costs_are_is_said():
    rows = [{k: v for k, v in row.items() if k != "conv_metadata"} for row in round_robin()]
    with pytest.raises(InputError, match="in comparisons cost_a and cost_b") as said:
        logs.load(rows, prices=PRICES)
    lines = str(said.value).splitlines()
    assert len(set(lines)) == len(lines) == 2 * 11


def test_what_was_said_before_in_the_same_session_is_billed():
    """Of the 140k: sum_user_tokens are of the turn, context_a_tokens of all that was sent."""
    told = record()["conv_metadata"] | {"context_a_tokens": 500, "context_b_tokens": 10}
    log = logs.load([record(70, conv_metadata=told), *round_robin()], prices=PRICES)
    np.testing.assert_allclose(log.cost[:2], [(500 + 100 * 10) / 1e6, (10 * 2 + 200 * 20) / 1e6])


def test_every_request_of_a_chat_is_billed_for_what_was_said_before():
    chat = [{"role": role, "content": text, "num_tokens": count} for role, text, count in
            (("user", "one", 10), ("assistant", "1", 30), ("user", "two", 5), ("assistant", "2", 40))]  # fmt: skip
    log = logs.load([record(50, conversation_a=chat, conversation_b=chat), *round_robin()], prices=PRICES)
    assert log.prompt[0] == "two"
    np.testing.assert_allclose(log.cost[0], ((10 + 10 + 30 + 5) * 1 + (30 + 40) * 10) / 1e6)


def test_columns_of_winners_texts_in_lists_and_costs_of_ones_own():
    """The layout of the 55k battles, which has no tokens, with columns for costs."""
    rows = pd.DataFrame(
        {
            "id": range(30), "model_a": ["x", "y", "x"] * 10, "model_b": ["y", "z", "z"] * 10,
            "prompt": [json.dumps(["hello", f"question {i}"]) for i in range(30)],
            "response_a": '["an answer"]', "response_b": '["another"]',
            "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0, "paid_a": 0.5, "paid_b": 0.0,
        }
    )  # fmt: skip
    log = logs.load(rows, columns={"cost": "paid"})
    assert log.prompt[0] == "question 0"
    assert log.cost[:2].tolist() == [0.5, 0.0]  # one's own 0 is free
    assert log.currency == ""
    assert log.quality[log.action == 0].mean() == pytest.approx(5 / 6, abs=1e-6)
    with pytest.raises(InputError, match=r"cost is empty.*x 20, y 20, z 20"):
        logs.load(rows)
    with pytest.raises(InputError, match="quality of a comparison is its verdict"):
        logs.load(rows, columns={"quality": "winner_model_a", "cost": "paid"})


def test_a_few_voters_are_no_groups_but_comparisons_are():
    log = logs.load(round_robin(judge_hash="expert"), prices=PRICES)
    assert len(set(log.group.tolist())) == 30
    np.testing.assert_array_equal(log.group[::2], log.group[1::2])


def test_versions_of_a_model_are_different_models():
    prices = {"gpt-4-0314": (1, 1), "gpt-4-0613": (1, 1)}
    log = logs.load([record(i, a="gpt-4-0314", b="gpt-4-0613") for i in range(20)], prices=prices)
    assert log.models == ("gpt-4-0314", "gpt-4-0613")
    assert not logs.is_table(log)  # though every prompt has an answer of both


def test_wins_and_ratings_are_not_averaged(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, round_robin())))
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "hi", "model": "x", "quality": 1, "cost": 1}))
    with pytest.raises(InputError, match="some rows are comparisons of two answers, and others ratings of one"):
        logs.load(tmp_path, prices=PRICES)


def test_what_wins_are_is_said_and_a_router_of_ratings_is_told():
    votes = logs.load(round_robin(), prices=PRICES)
    assert logs.rating(votes).startswith("Qualities are chances to win against")
    rows = [{"prompt": f"{i}", "model": "xy"[i % 2], "quality": 1, "cost": 1} for i in range(20)]
    ratings = logs.load(rows)
    for log, other, learned in ((votes, ratings, "ratings of one"), (ratings, votes, "comparisons of two answers")):
        router = SimpleNamespace(summary={"read_as": dict(other.read_as)})
        (line,) = alike._quality(router, log, "the router")
        assert line.endswith(f"the router learned from {learned}.")
        assert alike._quality(SimpleNamespace(summary={"read_as": dict(log.read_as)}), log, "the router") == []


def test_a_shadow_sample_beside_comparisons_is_refused(tmp_path):
    votes = logs.load(round_robin(), prices=PRICES)
    with pytest.raises(InputError, match="are rated, and those of this log are compared"):
        logs.check_shadow(votes, tmp_path)
    logs.check_shadow(votes, None)
    (tmp_path / "votes.jsonl").write_text("\n".join(map(json.dumps, round_robin())))
    with pytest.raises(InputError, match="comparisons of two answers: which of two is better"):
        harness.read(tmp_path / "votes.jsonl")


def drawn(rng, rows, near, theta):
    """Comparisons whose pairs are drawn by ``near``: prompts of two kinds, pairs, who won, chances [2, K, K]."""
    chance = np.stack([expit(t[:, None] - t) for t in theta])
    kind, pair = rng.integers(0, 2, rows), rng.choice(near.size, rows, p=near.ravel() / near.sum())
    pair = np.stack(np.divmod(pair, len(near)), 1)
    return kind, pair, (rng.random(rows) < chance[kind, pair[:, 0], pair[:, 1]]) * 1.0, chance


@pytest.mark.slow
def test_intervals_of_values_hold_the_chance_to_win_though_the_strong_meet_the_strong():
    """Of 120 simulated logs; wins as they are favour models that met weak ones."""
    base, more = np.array([1.0, 0.8, 0.3, 0.0, -0.3, -0.8]), np.array([0.8, -0.8, 0.5, -0.5, 0.0, 0.3])
    popular = np.array([1.0, 1, 2, 1, 1, 2])
    near = np.exp(-1.5 * np.abs(base[:, None] - base)) * np.outer(popular, popular) * (1 - np.eye(6))
    policy = np.array([[0.1, 0.6, 0.1, 0.1, 0.05, 0.05], [0.6, 0.1, 0.2, 0.05, 0.0, 0.05]])
    share = (near.sum(0) + near.sum(1)) / 2 / near.sum()
    found = {"held": [], "as they are": []}
    for seed in range(120):
        kind, pair, won, chance = drawn(np.random.default_rng(seed), 2000, near, np.stack([base - more, base + more]))
        held, y = comparisons.hold(pair, won, 6), np.stack([won, 1 - won], 1)
        of = {"held": (held.least[pair] + held.scale[pair] * y, held.weight), "as they are": (y, np.ones_like(y))}
        action, x = pair.ravel(), np.repeat(kind, 2)
        for name, (quality, weight) in of.items():
            quality, weight = quality.ravel(), weight.ravel()
            means = np.stack([[np.average(quality[own], weights=weight[own]) for k in range(6)
                               if (own := (x == at) & (action == k)).any()] for at in (0, 1)])  # fmt: skip
            rate = np.tile(np.bincount(action, weight) / weight.sum(), (len(x), 1))
            log = Logs(
                jnp.array(x[:, None], float), jnp.array(action), jnp.array(quality), jnp.ones(len(x)),
                jnp.array(rate[np.arange(len(x)), action]), jnp.ones(rate.shape, bool),
                jnp.repeat(jnp.arange(len(kind)), 2), jnp.array(weight),
            )  # fmt: skip
            nuisances = Nuisances(jnp.array(rate), Outcomes(jnp.array(means[x]), jnp.ones(rate.shape)))
            (value,) = estimators.evaluate(log, jnp.array(policy[x]), 0.0, nuisances)
            found[name].append(value.interval)
    truth = 0.5 * (policy * (chance * share).sum(2)).sum()
    covered = {name: np.mean([low <= truth <= high for low, high in lines]) for name, lines in found.items()}
    assert covered["held"] >= 0.90
    assert covered["as they are"] < 0.85


def test_weights_and_qualities_against_a_loop():
    """The formula, model by model; a pair that never met is taken from the model of Bradley and Terry."""
    near = np.exp(-np.abs(np.arange(5)[:, None] - np.arange(5)) / 1.0) * (1 - np.eye(5))
    near[0, 4] = near[4, 0] = 0
    _, pair, won, _ = drawn(np.random.default_rng(0), 900, near, np.tile(np.linspace(1, -1, 5), (2, 1)))
    held, chance = comparisons.hold(pair, won, 5), comparisons.odds(pair, won, 5)
    rows = [(a, b, y) for (a, b), y in zip(pair, won, strict=True)]
    rows += [(b, a, 1 - y) for a, b, y in rows]
    share = np.bincount([a for a, _, _ in rows]) / len(rows)
    both = [*map(tuple, pair), *map(tuple, pair[:, ::-1])]
    weight = dict(zip(both, held.weight.T.ravel(), strict=True))
    filled = set()
    for k in range(5):
        own = [(b, y) for a, b, y in rows if a == k]
        value = share[k] / 2
        for c in set(range(5)) - {k}:
            wins = [y for b, y in own if b == c]
            part = min(share[c], 2 * len(wins) / len(own))
            value += part * np.mean(wins or [0]) + (share[c] - part) * chance[k, c]
            filled |= {frozenset((k, c))} if part < share[c] else set()
        ours = np.average([held.least[k] + held.scale[k] * y for _, y in own], weights=[weight[k, b] for b, _ in own])
        assert ours == pytest.approx(value, abs=1e-9)
        assert np.mean([weight[k, b] for b, _ in own]) == pytest.approx(1)
        assert 0 <= held.least[k] <= held.least[k] + held.scale[k] <= 1 + 1e-12
    assert held.filled == len(filled) > 1
    assert (held.modelled[[0, 4]] > 0.1).all()
    np.testing.assert_allclose(held.modelled[1:4], 0, atol=0.1)


def test_odds_find_the_strengths_that_made_the_wins():
    strength = np.array([0.8, 0.1, -0.9])
    pair = np.array([[0, 1], [1, 2], [2, 0]] * 2000)
    chance = expit(strength[pair[:, 0]] - strength[pair[:, 1]])
    np.testing.assert_allclose(comparisons.odds(pair, chance, 3), expit(strength[:, None] - strength), atol=1e-3)
    assert 0.95 < comparisons.odds(np.array([[0, 1]] * 50), np.ones(50), 2)[0, 1] < 1  # never beaten, and finite


def test_votes_are_a_prior_of_the_models_that_they_name(tmp_path):
    rows = [record(i, a=a, b=b, conv_metadata={}) for i, (a, b) in enumerate([("x", "y"), ("y", "z"), ("x", "z")] * 10)]
    path = tmp_path / "votes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    for source in (path, pd.DataFrame(rows)):
        known = priors.load(source, ["lab/z", "x", "other"])
        np.testing.assert_allclose(known.prior.quality, [1 / 6, 5 / 6, 1 / 2], atol=1e-6)
        assert known.missing == ("other",)
        assert known.unused == ("y",)
    few = standings.load(rows[:3] + [record(i, "tie", a="x", b="y") for i in range(5)])
    assert few.deviation[few.models.index("z")] > few.deviation[few.models.index("y")] > standings.ELSEWHERE
    with pytest.raises(InputError, match=r"row 1: quality is not a number: .the winner 'nobody'"):
        standings.load([record(0), record(1, winner="nobody")])
    with pytest.raises(InputError, match="no comparison has a winner"):
        standings.load([record(0, winner=None)])


def test_ratings_of_an_arena_are_told_how_to_become_chances():
    with pytest.raises(InputError, match=r"1287\.0 is not in \[0, 1\]; write an Elo rating as the chance to win"):
        priors.load({"model": ["x", "y"], "quality": [1287, 1100], "sd": [1, 1]}, ["x", "y"])
