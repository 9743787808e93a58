"""What all gateways share: which requests have rows and what these stand for, conversations, abilities of models."""

import collections
import json

import numpy as np
import pytest

from jaxroute.data import logs
from jaxroute.gateway import Gate, Settings
from jaxroute.gateway.conversations import Conversations
from jaxroute.gateway.recorder import Recorder
from jaxroute.types import InputError

TWO = ("small", "large")


def recorder(tmp_path=None, **settings):
    log = None if tmp_path is None else str(tmp_path / "log.jsonl")
    return Recorder(Gate(Settings(TWO, "small", **{"log": log, "epsilon": 0.5, "seed": 0} | settings)))


def ask(to, messages, call="acompletion", **more):
    body = {"messages": [{"role": role, "content": text} for role, text in messages], **more}
    return to.route(call, body, to.text(call, body), None)


def test_a_share_of_the_answered_requests_has_rows_that_stand_for_all(tmp_path):
    to, requests = recorder(tmp_path, sample={"small": 0.25}, epsilon=1.0), 4000
    truth, failed = collections.Counter(), 0
    for i in range(requests):
        request = ask(to, [("user", f"question {i}")])
        assert request.weight in ({0.0, 4.0} if request.choice.model == "small" else {1.0})
        truth[request.choice.model] += 1
        to.store.finish(request.id)
        if i % 10 == 0:
            failed += 1
            to.end(request, "failed")
        else:
            to.end(request, "answered", model=request.choice.model, answer={"cost": 0.1})
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) < 0.75 * requests
    assert sum(row["status"] == "failed" for row in rows) == failed  # whatever the share
    assert {row["weight"] for row in rows if row["status"] == "failed"} == {1.0}
    stands = collections.Counter()
    for row in rows:
        stands[row["model"]] += row["weight"]
    assert stands["large"] == truth["large"]
    assert abs(stands["small"] - truth["small"]) < 4 * np.sqrt(0.9 * truth["small"] / 0.25)
    log = logs.load(tmp_path / "log.jsonl", failures="zero")
    assert log.weight.sum() == sum(stands.values())
    # What a router learns of the failures: a tenth, though they are a quarter of the small model's rows.
    own = (log.action == log.models.index("small"), np.nan_to_num(log.quality, nan=1.0) == 0)
    assert np.average(own[1][own[0]], weights=log.weight[own[0]]) == pytest.approx(0.1, abs=0.02)
    assert own[1][own[0]].mean() > 0.25


def test_without_a_share_every_row_stands_for_itself(tmp_path):
    to = recorder(tmp_path)
    request = ask(to, [("user", "hello")])
    to.store.finish(request.id)
    to.end(request, "answered", model=request.choice.model)
    assert json.loads((tmp_path / "log.jsonl").read_text())["weight"] == 1.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sample": 0}, "above 0 and at most 1"),
        ({"sample": {"other": 0.5}}, "unknown model 'other'"),
        ({"sample": {"small": 2}}, "sample is 2"),
        ({"sticky": "user"}, "sticky is 'user'; it must be conversation"),
        ({"context": {"small": 0}}, "context: small is 0"),
        ({"context": {"other": 10}}, "context: other"),
    ],
)
def test_wrong_settings_are_refused(settings, says):
    with pytest.raises(InputError, match=says):
        recorder(**settings)


CHAT = [("system", "Be kind."), ("user", "Tell me about 7."), ("assistant", "A prime."), ("user", "And 8?")]


def test_a_conversation_stays_with_the_model_and_the_propensity_of_its_first_decision(tmp_path):
    to, seen = recorder(tmp_path, sticky="conversation"), collections.Counter()
    for i in range(400):
        chat = [CHAT[0], ("user", f"Tell me about {i}."), *CHAT[2:]]
        first, later = (ask(to, part, user="alice") for part in (chat[:2], chat))
        assert later.choice.model == first.choice.model
        assert later.choice.propensity == first.choice.propensity
        assert (later.choice.candidates, later.choice.exploration) == (
            first.choice.candidates,
            first.choice.exploration,
        )
        assert (first.choice.by in ("default", "exploration"), later.choice.by) == (True, "sticky")
        assert later.conversation == first.conversation
        assert later.text == "And 8?"  # the row holds what was asked now
        seen[first.choice.model] += 1
    assert len({*to.conversations._first}) == 400
    assert abs(seen["large"] - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)  # as often as the propensity says
    to.store.finish(later.id)
    to.end(later, "answered", model=later.choice.model)
    row = json.loads((tmp_path / "log.jsonl").read_text())
    assert (row["by"], row["group"], row["propensity"]) == ("sticky", later.conversation, later.choice.propensity)
    assert row["prompt"] == "And 8?"


def test_every_worker_decides_a_chat_alike_without_having_seen_its_beginning(monkeypatch):
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-a-secret")
    one, two = (recorder(sticky="conversation", seed=None, epsilon=1.0) for _ in range(2))
    chats = [[("user", f"Tell me about {i}."), *CHAT[2:]] for i in range(60)]
    begun = [ask(one, chat[:1]).choice for chat in chats]
    later = [ask(two, chat).choice for chat in chats]
    assert [(c.model, c.propensity) for c in begun] == [(c.model, c.propensity) for c in later]
    assert len({c.model for c in begun}) == 2
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-another")
    other = recorder(sticky="conversation", seed=None, epsilon=1.0)
    assert [ask(other, chat).choice.model for chat in chats] != [c.model for c in begun]  # no client can foresee it


def test_conversations_are_what_clients_name_and_responses_continue():
    to = recorder(sticky="conversation", epsilon=1.0)
    bodies = (
        {"litellm_session_id": "s"},
        {"metadata": {"session_id": "s"}},
        {"conversation": {"id": "s"}},
        {"metadata": {"conversation_id": "s"}},
    )
    found = [ask(to, [("user", f"{i}")], **body) for i, body in enumerate(bodies)]
    assert {request.conversation for request in found} == {"s"}
    assert len({request.choice.model for request in found}) == 1
    names = set()
    for i in range(30):  # answers of the responses endpoint, each named by the one before
        body = {"input": f"question {i}"} | ({"previous_response_id": f"r{i - 1}"} if i else {})
        request = to.route("aresponses", body, body["input"], None)
        to.store.finish(request.id)
        to.end(request, "answered", model=request.choice.model, answer={"response_id": f"r{i}"})
        names.add((request.conversation, request.choice.model))
    assert len(names) == 1
    assert ask(to, [("user", "alone")]).conversation != ask(to, [("user", "alone")], user="bob").conversation
    assert to.route("atext_completion", {"prompt": "x"}, "x", None).conversation is None


def test_memory_of_conversations_is_bounded_and_a_lost_one_is_decided_alike():
    to = recorder(sticky="conversation", epsilon=1.0)
    to.conversations = Conversations(size=10)
    models = [ask(to, [("user", f"{i}")]).choice.model for i in range(50)]
    assert len(to.conversations._first) == 10
    assert [ask(to, [("user", f"{i}")]).choice.model for i in range(50)] == models


def test_a_conversation_moves_on_when_its_model_cannot_serve_it():
    to = recorder(sticky="conversation", capabilities={"small": [], "large": ["tools"]})
    first = next(r for i in range(50) if (r := ask(to, [("user", f"{i}")])).choice.model == "small")
    again = ask(to, [("user", first.text)], tools=[{"type": "function"}])
    assert (again.choice.model, again.choice.propensity, again.choice.candidates) == ("large", 1.0, ("large",))
    assert ask(to, [("user", first.text)]).choice.model == "large"  # and stays there


def test_requests_that_are_too_long_or_need_more_go_to_models_that_can(tmp_path):
    picture = [{"type": "image_url", "image_url": {"url": "data:" + "x" * 9000}}]  # whose letters are no text
    to = recorder(tmp_path, context={"small": 1000}, capabilities={"small": ["json"]}, epsilon=1.0)
    cases = (
        ([("user", "short")], {}, TWO, []),
        ([("user", "word " * 2000)], {}, ("large",), ["context"]),
        ([("user", "short")], {"max_tokens": 5000}, ("large",), ["context"]),
        ([("user", "short")], {"tools": [{"type": "function"}]}, ("large",), ["tools"]),
        ([("user", "short")], {"response_format": {"type": "json_object"}}, TWO, ["json"]),
        ([("user", picture)], {}, ("large",), ["images"]),
    )  # fmt: skip
    for messages, more, left, needs in cases:
        request = ask(to, messages, **more)
        to.store.finish(request.id)
        to.end(request, "answered", model=request.choice.model)
        row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
        assert (tuple(row["available"]), row["needs"]) == (left, needs)
    none = recorder(context={"small": 10, "large": 10})
    assert ask(none, [("user", "word " * 100)]).choice.candidates == TWO  # where none can, all are tried
