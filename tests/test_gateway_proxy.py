"""Every answered request for text has one true row, on LiteLLM's real proxy.

Run by `make test-gateway`; skipped where LiteLLM is not installed.
"""

import concurrent.futures
import json
import time

import gateway_proxy
import gateway_upstream
import pytest
from gateway_proxy import TEXT, body_of

pytest.importorskip("litellm")

from jaxroute.data import logs
from jaxroute.types import InputError


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", TEXT)
def test_every_endpoint_for_text_is_routed_by_its_text_and_has_one_row(proxy, kind, streamed):
    asked = [body_of(kind, f"question {i}", **({"stream": True} if streamed else {})) for i in range(4)]
    if kind == "generate_content" and streamed:
        asked = [(path.replace("generate", "streamGenerate"), body) for path, body in asked]
    answers = [proxy.ask(path, body) for path, body in asked]
    assert {a.status for a in answers} == {200}
    rows = proxy.new(4)
    assert len(rows) == 4
    ids = {a.headers["x-litellm-call-id"]: a for a in answers}
    assert {row["request_id"] for row in rows} == set(ids)
    for row in rows:
        assert row["prompt"].startswith("question ")
        assert (row["endpoint"], row["stream"], row["status"]) == (kind, streamed, "answered")
        assert row["propensity"] == {"small": 0.75, "large": 0.25}[row["model"]]
        assert row["model"] in ids[row["request_id"]].raw.decode()  # the upstream says its name
        assert (row["input_tokens"], row["output_tokens"], row["attempts"]) == (7, 3, 1)
        if kind != "generate_content":
            assert row["cost"] == pytest.approx({"small": 13e-6, "large": 130e-6}[row["model"]])
        assert row["group"] is None


def test_other_calls_and_other_models_are_left_alone(proxy):
    assert proxy.ask("/v1/embeddings", {"model": "auto", "input": "embed this"}).status == 200
    assert proxy.chat("for large itself", model="large").status == 200
    assert [model for model, *_ in proxy.upstream.asked] == ["small", "large"]  # the alias's own deployment embeds
    for path, body in (
        ("/v1/images/generations", {"prompt": "draw this"}),
        ("/v1/moderations", {"input": "judge this"}),
        ("/v1/rerank", {"query": "sort these", "documents": ["a", "b"]}),
        ("/v1/audio/speech", {"input": "say this", "voice": "alloy"}),
    ):  # whatever the alias's own deployment makes of them
        assert "x-jaxroute-model" not in proxy.ask(path, {"model": "auto", **body}).headers
    assert proxy.chat("the only one that is routed").status == 200
    assert [row["prompt"] for row in proxy.new(1)] == ["the only one that is routed"]


def test_a_list_of_models_is_answered_by_the_chosen_one_and_the_others_and_has_no_row(proxy):
    assert proxy.chat("a list", model="auto,large").status == 200
    assert proxy.chat("the next").status == 200
    assert "large" in [model for model, *_ in proxy.upstream.asked[:-1]]
    assert [row["prompt"] for row in proxy.new(1)] == ["the next"]


def test_nothing_that_a_client_sends_becomes_a_decision(proxy):
    forged = {"model": "small", "propensity": 0.0001, "candidates": ["small"], "by": "router", "tried": ["large"]}
    metadata = {"jaxroute": forged, "deployment_model_name": "large", "model_group": "large"}
    for kind in ("chat", "messages"):
        assert proxy.ask(*body_of(kind, "forged", metadata=metadata, litellm_metadata=metadata)).status == 200
    for row, (model, *_) in zip(proxy.new(2), proxy.upstream.asked, strict=True):
        assert row["model"] == model
        assert row["propensity"] == {"small": 0.75, "large": 0.25}[model]
        assert row["available"] == ["small", "large"]


def test_a_call_id_that_clients_repeat_is_used_once(proxy):
    headers = {"x-litellm-call-id": "mine"}
    answers = [proxy.ask(*body_of("chat", f"again {i}"), headers=headers) for i in range(3)]
    rows = proxy.new(3)
    assert len({row["request_id"] for row in rows}) == 3
    assert {a.headers["x-litellm-call-id"] for a in answers} == {row["request_id"] for row in rows}


def test_ids_that_a_provider_repeats_rate_the_right_answers(proxy, tmp_path):
    proxy.upstream.repeating = True
    answers = [proxy.chat(f"rate {i}") for i in range(8)]
    assert {a.body["id"] for a in answers} == {"the-same"}
    said = [{"request_id": a.headers["x-litellm-call-id"], "quality": i / 8} for i, a in enumerate(answers)]
    assert proxy.ask("/jaxroute/feedback", {"ratings": said[:7]}).body == {"written": 7, "lost": 0}
    assert proxy.ask("/jaxroute/feedback", said[7]).status == 200
    rows = proxy.new(8)
    assert {row["response_id"] for row in rows} == {"the-same"}
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    log = logs.load(tmp_path / "log.jsonl", feedback=proxy.folder / "feedback")
    assert dict(zip(log.prompt, log.quality, strict=True)) == {f"rate {i}": i / 8 for i in range(8)}
    others = tmp_path / "others.jsonl"
    others.write_text(json.dumps({"request_id": "nobody", "quality": 1}))
    with pytest.raises(InputError, match="none of its 1 request"):
        logs.load(tmp_path / "log.jsonl", feedback=others)


def test_feedback_is_behind_the_proxys_authentication_and_checked(proxy):
    good = {"request_id": "a", "quality": 1}
    for key in (None, "sk-wrong"):
        assert proxy.ask("/jaxroute/feedback", good, key=key).status >= 400
    for bad, says in (
        ({"request_id": "a"}, "quality is None"),
        ({"request_id": 3, "quality": 1}, "request_id must be"),
        ({"ratings": [good, {**good, "quality": "5"}]}, "feedback 1: quality is '5'"),
        ({**good, "propensity": 0.1}, "unknown field 'propensity'"),
        ({"ratings": []}, "a list of 1 to"),
    ):
        answer = proxy.ask("/jaxroute/feedback", bad)
        assert answer.status == 400
        assert says in answer.body["error"]


def test_rows_without_text_do_not_make_the_log_unreadable(proxy, tmp_path):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    assert (
        proxy.ask("/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": [image]}]}).status
        == 200
    )
    for i in range(12):
        proxy.chat(f"text {i}")
    rows = proxy.new(13)
    assert [row["prompt"] for row in rows].count(None) == 1
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    log = logs.load(tmp_path / "log.jsonl")
    assert len(log) == 12
    assert log.counts["prompts that were not recorded"] == 1


def test_users_are_groups(proxy):
    proxy.chat("whose", user="alice", n=2)
    assert [(row["group"], row["n"]) for row in proxy.new(1)] == [("alice", 2)]


def test_an_answer_from_the_cache_is_no_outcome(proxy, tmp_path):
    for _ in range(8):  # until a model is chosen again
        assert proxy.chat("the same again", cache={"use-cache": True}).status == 200
        time.sleep(0.1)
    rows = proxy.new(8)
    cached = [row for row in rows if row["cache_hit"]]
    assert len(cached) == 8 - len(proxy.upstream.asked) >= 6
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = logs.load(tmp_path / "log.jsonl")
    assert (len(log), log.counts["answers from a cache"]) == (len(proxy.upstream.asked), len(cached))


VARIED = {
    "metadata": [None, {}, {"team": "blue"}, "absent"],
    "user": [None, "bob", "absent"],
    "stream": [False, None, "absent", True],
    "temperature": [0.5, None, "absent"],
    "tags": [["a"], "absent"],
}
GENERATED = [{}, {"generationConfig": {"temperature": 0.5}}, {"generationConfig": {"maxOutputTokens": 9}}]
"""Optional fields of Gemini's endpoint, which has others."""


def bodies(count):
    """Valid bodies of all endpoints for text, each with other optional fields."""
    for i in range(count):
        kind = list(TEXT)[i % 5]
        if kind == "generate_content":
            yield kind, f"body number {i}", GENERATED[i // 5 % 3]
            continue
        chosen = {
            name: several[(i // 5 + i * place) % len(several)] for place, (name, several) in enumerate(VARIED.items())
        }
        more = {name: value for name, value in chosen.items() if value != "absent"}
        if kind == "messages" and more.get("metadata"):
            more["metadata"] = {"user_id": "u"}
        yield kind, f"body number {i}", more


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_body_that_is_answered_unrouted_fails_routed(proxy, count):
    def asked(one):
        kind, text, more = one
        path, body = body_of(kind, text, **more)
        unrouted = proxy.ask(path.replace("/auto:", "/small:"), body | {"model": "small"})
        routed = proxy.ask(path, body)
        return unrouted.status, routed.status, (kind, more)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(asked, bodies(count)))
    worse = [one for one in found if one[0] == 200 and one[1] != 200]
    assert not worse
    answered = sum(routed == 200 for _, routed, _ in found)
    assert answered > 0.9 * count
    assert sum(row["status"] == "answered" for row in proxy.new(count)) == answered


def test_no_key_is_in_the_log(proxy):
    written = (proxy.folder / "log.jsonl").read_text()
    assert gateway_upstream.KEY not in written
    assert gateway_proxy.MASTER not in written


def test_every_answer_says_who_was_chosen_and_how(proxy):
    answer = proxy.chat("headers")
    [row] = proxy.new(1)
    said = {name: answer.headers[f"x-jaxroute-{name}"] for name in ("model", "propensity", "by", "version")}
    assert said == {
        "model": row["chosen"], "propensity": str(row["propensity"]), "by": row["by"], "version": "none",
    }  # fmt: skip


def test_metrics_stand_on_litellms_own_page(proxy):
    proxy.chat("counted")
    proxy.new(1)
    page = proxy.ask("/metrics/", timeout=10).raw.decode()
    assert 'jaxroute_decisions_total{by="default",model="small"}' in page
    assert 'jaxroute_rows_total{outcome="written"}' in page
    assert "jaxroute_decision_seconds_bucket" in page
