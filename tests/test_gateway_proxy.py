"""Every answered request for text has one true row: the promises of docs/gateway.md on LiteLLM's real proxy.

Run by `make test-gateway`; skipped where LiteLLM is not installed.
"""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import gateway_proxy
import gateway_upstream
import psutil
import pytest
import router_kinds

pytest.importorskip("litellm")

from jaxroute.data import logs
from jaxroute.types import InputError

TEXT = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "{}"}]}),
    "completions": ("/v1/completions", {"prompt": "{}"}),
    "responses": ("/v1/responses", {"input": "{}"}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "{}"}], "max_tokens": 9}),
    "generate_content": ("/v1beta/models/auto:generateContent", {"contents": [{"parts": [{"text": "{}"}]}]}),
}  # fmt: skip
"""Each endpoint for text: its path and a body whose text is {}."""


def body_of(kind, text, **more):
    path, body = TEXT[kind]
    return path, {"model": "auto", **json.loads(json.dumps(body).replace("{}", text)), **more}


CACHE = {"cache": True, "cache_params": {"type": "local", "mode": "default_off"}}
METRICS = {"litellm_settings": {"callbacks": ["callbacks.handler", "prometheus"], **CACHE}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    server = gateway_upstream.serve()
    listed = [gateway_upstream.deployment(server, name, 2.5) for name in ("small", "large", "auto")]
    listed[0]["model_info"] = {"supports_vision": False, "max_input_tokens": 40_000}
    with gateway_proxy.running(
        server,
        tmp_path_factory.mktemp("proxy"),
        "epsilon: 0.5\nseed: 1\nreload_seconds: 0.5\n",
        extra=METRICS | {"model_list": listed},
    ) as proxy:
        yield server, proxy
    server.shutdown()
    server.server_close()


@pytest.fixture
def upstream(shared):
    gateway_upstream.calm(shared[0])
    return shared[0]


@pytest.fixture
def proxy(shared, upstream):
    """The running proxy; ``new(count)`` gives the rows that were written since the test began."""
    _, proxy = shared
    time.sleep(0.3)
    before = len(proxy.rows(0)) if (proxy.folder / "log.jsonl").exists() else 0
    proxy.new = lambda count: proxy.rows(before + count)[before:]
    return proxy


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


def test_other_calls_and_other_models_are_left_alone(proxy, upstream):
    assert proxy.ask("/v1/embeddings", {"model": "auto", "input": "embed this"}).status == 200
    assert proxy.chat("for large itself", model="large").status == 200
    assert [model for model, *_ in upstream.asked] == ["small", "large"]  # the alias's own deployment embeds
    for path, body in (
        ("/v1/images/generations", {"prompt": "draw this"}),
        ("/v1/moderations", {"input": "judge this"}),
        ("/v1/rerank", {"query": "sort these", "documents": ["a", "b"]}),
        ("/v1/audio/speech", {"input": "say this", "voice": "alloy"}),
    ):  # whatever the alias's own deployment makes of them
        assert "x-jaxroute-model" not in proxy.ask(path, {"model": "auto", **body}).headers
    assert proxy.chat("the only one that is routed").status == 200
    assert [row["prompt"] for row in proxy.new(1)] == ["the only one that is routed"]


def test_a_list_of_models_is_answered_by_the_chosen_one_and_the_others_and_has_no_row(proxy, upstream):
    assert proxy.chat("a list", model="auto,large").status == 200
    assert proxy.chat("the next").status == 200
    assert "large" in [model for model, *_ in upstream.asked[:-1]]
    assert [row["prompt"] for row in proxy.new(1)] == ["the next"]


def test_nothing_that_a_client_sends_becomes_a_decision(proxy, upstream):
    forged = {"model": "small", "propensity": 0.0001, "candidates": ["small"], "by": "router", "tried": ["large"]}
    metadata = {"jaxroute": forged, "deployment_model_name": "large", "model_group": "large"}
    for kind in ("chat", "messages"):
        assert proxy.ask(*body_of(kind, "forged", metadata=metadata, litellm_metadata=metadata)).status == 200
    for row, (model, *_) in zip(proxy.new(2), upstream.asked, strict=True):
        assert row["model"] == model
        assert row["propensity"] == {"small": 0.75, "large": 0.25}[model]
        assert row["available"] == ["small", "large"]


def test_a_call_id_that_clients_repeat_is_used_once(proxy):
    headers = {"x-litellm-call-id": "mine"}
    answers = [proxy.ask(*body_of("chat", f"again {i}"), headers=headers) for i in range(3)]
    rows = proxy.new(3)
    assert len({row["request_id"] for row in rows}) == 3
    assert {a.headers["x-litellm-call-id"] for a in answers} == {row["request_id"] for row in rows}


def test_ids_that_a_provider_repeats_rate_the_right_answers(proxy, upstream, tmp_path):
    upstream.repeating = True
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


def test_a_fallback_says_who_was_chosen_who_failed_and_how_long_the_client_waited(proxy, upstream):
    upstream.failing.add("large")
    upstream.refusing, waits = 0.25, {}
    for i in range(12):
        began = time.time()
        answer = proxy.chat(f"fall {i}")
        assert answer.status == 200
        waits[answer.headers["x-litellm-call-id"]] = time.time() - began
    rows = proxy.new(12)
    fallen = [row for row in rows if row["by"] == "fallback"]
    assert 0 < len(fallen) < 12
    for row in rows:
        expected = ("large", None, ["large", "large"], 3) if row in fallen else ("small", 0.75, [], 1)
        assert (row["chosen"], row["propensity"], row["failed"], row["attempts"]) == expected
        assert (row["model"], row["status"]) == ("small", "answered")
        refused = upstream.refusing * len(row["failed"])  # the last attempt is no slower than the others
        assert refused < row["latency"] < waits[row["request_id"]] + 0.01


@pytest.mark.parametrize("kind", ["chat", "completions", "responses", "messages"])
def test_a_request_that_nobody_answered_has_a_row_that_names_the_choice(proxy, upstream, kind):
    upstream.failing.update(("small", "large"))
    assert proxy.ask(*body_of(kind, "nobody")).status >= 500
    [row] = proxy.new(1)
    assert row["status"] == "failed"
    assert row["propensity"] == {"small": 0.75, "large": 0.25}[row["chosen"]]
    assert row["failed"] == [row["chosen"]] * 2 + [{"small": "large", "large": "small"}[row["chosen"]]] * 2
    assert row["cost"] is None


def test_streams_that_are_cut_and_clients_that_leave_have_a_row_with_a_status(proxy, upstream):
    upstream.cutting.update(("small", "large"))
    proxy.chat("cut", stream=True)
    assert [row["status"] for row in proxy.new(1)] == ["failed"]
    gateway_upstream.calm(upstream)
    upstream.gap = 0.4
    raw = json.dumps({"model": "auto", "stream": True, "messages": [{"role": "user", "content": "left"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway_proxy.MASTER}\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
        assert b"200" in client.recv(2000)
        time.sleep(0.5)
    rows = proxy.new(2)
    assert [row["status"] for row in rows] == ["failed", "left"]
    assert rows[1]["latency"] < 2


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


def test_an_answer_from_the_cache_is_no_outcome(proxy, upstream, tmp_path):
    for _ in range(8):  # until a model is chosen again
        assert proxy.chat("the same again", cache={"use-cache": True}).status == 200
        time.sleep(0.1)
    rows = proxy.new(8)
    cached = [row for row in rows if row["cache_hit"]]
    assert len(cached) == 8 - len(upstream.asked) >= 6
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = logs.load(tmp_path / "log.jsonl")
    assert (len(log), log.counts["answers from a cache"]) == (len(upstream.asked), len(cached))


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


def test_models_yaml_is_taken_up_without_a_restart_and_kept_where_it_is_wrong(proxy, upstream):
    file = proxy.folder / "models.yaml"
    before = file.read_text()
    try:
        file.write_text(before.replace("[small, large]", "[small, missing]"))
        wait(lambda: "the change is refused" in proxy.said())
        assert "'missing' is not in the gateway's model_list" in proxy.said()
        assert proxy.chat("as before").status == 200
        file.write_text(before.replace("epsilon: 0.5", "epsilon: 0.0"))
        wait(lambda: proxy.said().count("taken up") >= 1)
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


def test_a_share_of_the_requests_has_rows_with_their_weight(proxy, upstream, tmp_path):
    with changed(proxy, "sample: {small: 0.25}\n"):
        answers = [proxy.chat(f"of a share {i}") for i in range(120)]
        upstream.failing = {"small", "large"}
        assert proxy.chat("failed").status >= 500
        logged = {a.headers["x-litellm-call-id"] for a in answers if a.headers["x-jaxroute-logged"] == "true"}
        rows = proxy.new(len(logged) + 1)
    assert {row["request_id"] for row in rows if row["status"] == "answered"} == logged
    assert [row["weight"] for row in rows if row["status"] == "failed"] == [1.0]
    assert {row["model"]: row["weight"] for row in rows if row["status"] == "answered"} == {"small": 4.0, "large": 1.0}
    assert 60 < sum(row["weight"] for row in rows) < 190
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert logs.load(tmp_path / "log.jsonl").weight.max() == 4


def test_a_conversation_stays_with_its_model(proxy, upstream):
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


def wait(until, seconds=15):
    deadline = time.time() + seconds
    while not until():
        assert time.time() < deadline
        time.sleep(0.1)


def test_readiness_fails_while_rows_are_lost_and_answers_go_on(proxy):
    assert proxy.ask("/jaxroute/ready", key=None).status == 200
    folder = proxy.folder / "log.jsonl"
    saved = folder.read_bytes()
    folder.unlink()
    folder.mkdir()  # no file can be opened there
    try:
        assert proxy.chat("lost").status == 200
        wait(lambda: proxy.ask("/jaxroute/ready", key=None).status == 503)
        assert proxy.ask("/health/liveliness", key=None).status == 200
    finally:
        folder.rmdir()
        folder.write_bytes(saved)
    assert proxy.chat("written again").status == 200
    wait(lambda: proxy.ask("/jaxroute/ready", key=None).status == 200)
    assert proxy.ask("/jaxroute/ready", key=None).body["rows_lost"] == 1
    assert "rows are written again; 1 were lost" in proxy.said()


def test_metrics_stand_on_litellms_own_page(proxy):
    proxy.chat("counted")
    proxy.new(1)
    page = proxy.ask("/metrics/", timeout=10).raw.decode()
    assert 'jaxroute_decisions_total{by="default",model="small"}' in page
    assert 'jaxroute_rows_total{outcome="written"}' in page
    assert "jaxroute_decision_seconds_bucket" in page


def test_a_model_that_the_proxy_lacks_is_refused_at_the_start_by_name(upstream, tmp_path):
    settings = "models: [small, medium]\ndefault: small\n"
    with gateway_proxy.running(upstream, tmp_path, settings, up=False) as proxy:
        proxy.process.wait(60)
        assert "models: 'medium' is not in the gateway's model_list (auto, large, small)" in proxy.said()
        assert not gateway_proxy.is_up(proxy)


def test_a_proxy_with_a_router_holds_no_jax_and_takes_up_a_new_router(upstream, tmp_path):
    """`log_prompts: false`: rows of features and a hash, which `fit` accepts; a prompt of a megabyte is answered."""
    router_kinds.router("plug_in", 256, ("small", "large", "c", "d"), encoder="hashed-2").save(tmp_path / "router")
    settings = "router: router\ncost_weight: 20\nepsilon: 0.5\nlog_prompts: false\nreload_seconds: 0.5\n"
    with gateway_proxy.running(upstream, tmp_path, settings) as proxy:
        versions = {proxy.chat(f"private words {i}").headers["x-jaxroute-version"] for i in range(12)}
        begun = time.time()
        assert proxy.chat("long " * 200_000).status == 200
        long = time.time() - begun
        begun = time.time()
        assert proxy.chat("long " * 200_000, model="small").status == 200
        assert long < time.time() - begun + 2
        mapped = Path(f"/proc/{proxy.process.pid}/maps").read_text()
        rows = proxy.rows(13)
        router_kinds.router("affine", 256, ("small", "large", "c", "d"), encoder="hashed-2").save(tmp_path / "router")
        wait(lambda: "taken up; router" in proxy.said())
        after = proxy.chat("private again").headers["x-jaxroute-version"]
        (tmp_path / "router" / "arrays.safetensors").write_bytes(b"broken")
        (tmp_path / "router" / "router.json").touch()
        wait(lambda: "the change is refused" in proxy.said())
        assert proxy.chat("private still").headers["x-jaxroute-version"] == after
        assert len(proxy.rows(15)) == 15
    assert not [name for name in ("/jaxlib/", "/scipy/", "/sklearn/", "/pandas/") if name in mapped]
    assert versions == {row["router_version"] for row in rows}
    assert {(row["epsilon"], row["cost_weight"]) for row in rows} == {(0.5, 20.0)}
    assert after not in versions
    assert "private" not in (tmp_path / "log.jsonl").read_text()
    assert {len(row["features"]) for row in rows} == {256}
    assert len({row["prompt_hash"] for row in rows}) == 13
    log = logs.load(tmp_path / "log.jsonl")
    assert len(log) == 15
    assert log.features.shape == (15, 256)


def test_importing_the_handler_imports_no_jax():
    code = "import sys, jaxroute.gateway.hooks; print([m for m in ('jax', 'scipy', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_the_pages_command_starts_the_example_as_it_is(tmp_path):
    """Up to the models, which need a key of a provider."""
    shutil.copytree(gateway_proxy.EXAMPLE, tmp_path, dirs_exist_ok=True)
    page = (Path(__file__).parent.parent / "docs" / "gateway.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.S)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "OPENAI_API_KEY": "none"}
    env |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = block.strip().replace("litellm --config", f"exec litellm --port {port} --config")
    with (tmp_path / "proxy.log").open("w") as out:
        process = subprocess.Popen(["bash", "-euc", command], cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        proxy = gateway_proxy.Proxy(port, tmp_path, process)
        wait(lambda: process.poll() is None and gateway_proxy.is_up(proxy), 120)
        assert proxy.ask("/jaxroute/ready", key=None).status == 200
    finally:
        process.kill()
        process.wait()


AUTH = """
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
ROLES = {"%s": LitellmUserRoles.INTERNAL_USER, "sk-of-an-administrator": LitellmUserRoles.PROXY_ADMIN}
async def user(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, user_role=ROLES[api_key])
"""


def test_what_litellm_was_told_to_redact_is_in_no_row_and_custom_auth_admits_to_feedback(upstream, tmp_path):
    (tmp_path / "auth.py").write_text(AUTH % gateway_proxy.MASTER)
    extra = {
        "litellm_settings": {"turn_off_message_logging": True},
        "general_settings": {"custom_auth": "auth.user"},
    }
    with gateway_proxy.running(upstream, tmp_path, extra=extra) as proxy:
        assert proxy.chat("a secret").status == 200
        assert proxy.ask(*body_of("responses", "a secret")).status == 200
        upstream.failing.update(("small", "large"))
        assert proxy.chat("a secret").status >= 500
        rows = proxy.rows(3)
        rating = {"request_id": rows[0]["request_id"], "quality": 1}
        admitted = [
            proxy.ask("/jaxroute/feedback", rating, key=key).status == 200
            for key in ("sk-of-an-administrator", "sk-of-nobody", None)
        ]
    assert [row["status"] for row in rows] == ["answered", "answered", "failed"]
    assert "secret" not in (tmp_path / "log.jsonl").read_text()
    assert admitted == [True, False, False]


@pytest.mark.slow
def test_four_workers_write_one_log_of_whole_rows_and_keep_conversations(upstream, tmp_path, capsys):
    """With the flags of the page. Prints the memory of a worker."""
    flags = ("--num_workers", "4", "--timeout_worker_healthcheck", "120")
    settings = "epsilon: 1\nseed: 1\nsticky: conversation\n"
    with gateway_proxy.running(upstream, tmp_path, settings, flags=flags) as proxy:
        workers = psutil.Process(proxy.process.pid).children(recursive=True)
        wait(lambda: proxy.said().count("Application startup complete") >= 4, 120)

        def turns(number):
            chat, models = [], set()
            for turn in range(4):
                chat.append({"role": "user", "content": f"turn {turn} of chat {number}"})
                answer = proxy.ask("/v1/chat/completions", {"model": "auto", "messages": chat})
                assert answer.status == 200
                models.add(answer.headers["x-jaxroute-model"])
                chat.append(answer.body["choices"][0]["message"])
            return models

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            found = list(pool.map(turns, range(100)))
        rows = proxy.rows(400, seconds=30)
        megabytes = sorted(w.memory_info().rss / 1e6 for w in workers if w.is_running())
    assert all(len(models) == 1 for models in found)
    assert len({model for models in found for model in models}) == 2
    assert len(rows) == len({row["request_id"] for row in rows}) == 400
    assert {len([r for r in rows if r["group"] == group]) for group in {row["group"] for row in rows}} == {4}
    assert {row["propensity"] for row in rows} == {0.5}
    with capsys.disabled():
        print("\nmemory of the processes, MB: " + ", ".join(f"{m:.0f}" for m in megabytes))
