"""What models.yaml says is done by LiteLLM's real proxy, also when it is changed.

Run by `make test-gateway`; skipped where LiteLLM is not installed.
"""

import contextlib
import json
import time

import pytest
from gateway_proxy import wait

pytest.importorskip("litellm")

from jaxroute.data import logs


def test_models_yaml_is_taken_up_without_a_restart_and_kept_where_it_is_wrong(proxy):
    file, taken = proxy.folder / "models.yaml", proxy.said().count("taken up")
    before = file.read_text()
    try:
        file.write_text(before.replace("[small, large]", "[small, missing]"))
        wait(lambda: "the change is refused" in proxy.said())
        assert "'missing' is not in the gateway's model_list" in proxy.said()
        assert proxy.chat("as before").status == 200
        file.write_text(before.replace("epsilon: 0.5", "epsilon: 0.0"))
        wait(lambda: proxy.said().count("taken up") > taken)
        for i in range(6):
            proxy.chat(f"without exploration {i}")
        rows = proxy.new(7)
        assert [row["epsilon"] for row in rows] == [0.5] + [0.0] * 6
        assert {row["model"] for row in rows[1:]} == {"small"}
    finally:
        taken = proxy.said().count("taken up")
        file.write_text(before + "# again\n")
        wait(lambda: proxy.said().count("taken up") > taken)


@contextlib.contextmanager
def changed(proxy, lines):
    """The proxy with more lines in models.yaml."""
    file, taken = proxy.folder / "models.yaml", proxy.said().count("taken up")
    before = file.read_text()
    try:
        file.write_text(before + lines)
        wait(lambda: proxy.said().count("taken up") > taken)
        yield
    finally:
        file.write_text(before + f"# {time.time()}\n")
        wait(lambda: proxy.said().count("taken up") > taken + 1)


def test_a_share_of_the_requests_has_rows_with_their_weight(proxy, tmp_path):
    with changed(proxy, "sample: {small: 0.25}\n"):
        answers = [proxy.chat(f"of a share {i}") for i in range(120)]
        proxy.upstream.failing = {"small", "large"}
        assert proxy.chat("failed").status >= 500
        logged = {a.headers["x-litellm-call-id"] for a in answers if a.headers["x-jaxroute-logged"] == "true"}
        rows = proxy.new(len(logged) + 1)
    assert {row["request_id"] for row in rows if row["status"] == "answered"} == logged
    assert [row["weight"] for row in rows if row["status"] == "failed"] == [1.0]
    assert {row["model"]: row["weight"] for row in rows if row["status"] == "answered"} == {"small": 4.0, "large": 1.0}
    assert 60 < sum(row["weight"] for row in rows) < 190
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert logs.load(tmp_path / "log.jsonl").weight.max() == 4


def test_a_conversation_stays_with_its_model(proxy):
    with changed(proxy, "sticky: conversation\n"):
        models = set()
        for number in range(8):
            chat, said = [], []
            for turn in range(3):
                chat.append({"role": "user", "content": f"turn {turn} of {number}"})
                answer = proxy.ask("/v1/chat/completions", {"model": "auto", "messages": chat, "user": "alice"})
                chat.append(answer.body["choices"][0]["message"])
                said.append([answer.headers[f"x-jaxroute-{name}"] for name in ("model", "propensity", "by")])
            assert len({(model, propensity) for model, propensity, _ in said}) == 1
            assert [by == "sticky" for *_, by in said] == [False, True, True]
            models.add(said[0][0])
        rows = proxy.new(24)
        assert [len({row["group"] for row in rows[i : i + 3]}) for i in range(0, 24, 3)] == [1] * 8
        assert len({row["group"] for row in rows}) == 8
        assert models == {"small", "large"}
        for number in range(6):  # responses that name the one before
            first = proxy.ask("/v1/responses", {"model": "auto", "input": "begin"})
            proxy.new(25 + 2 * number)  # the row says that the answer's id is known
            body = {"model": "auto", "input": "go on", "previous_response_id": first.body["id"]}
            later = proxy.ask("/v1/responses", body)
            assert later.headers["x-jaxroute-model"] == first.headers["x-jaxroute-model"]
            assert later.headers["x-jaxroute-by"] == "sticky"


def test_what_litellm_knows_of_models_limits_the_candidates(proxy):
    picture = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x"}},
    ]
    for _ in range(4):
        assert (
            proxy.ask(
                "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": picture}]}
            ).status
            == 200
        )
        assert proxy.chat("word " * 30_000).status == 200
    rows = proxy.new(8)
    assert [row["needs"] for row in rows] == [["images"], ["context"]] * 4
    assert {(row["model"], row["propensity"], *row["available"]) for row in rows} == {("large", 1.0, "large")}
    assert {len(row["prompt"]) for row in rows[1::2]} == {20_000}  # max_characters
