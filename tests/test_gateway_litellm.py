"""LiteLLM's real Router in this process, before an upstream that also fails and stalls.

Run by `make test-gateway`; skipped where LiteLLM is not installed.
"""

import asyncio
import dataclasses
import gc
import json
from pathlib import Path

import gateway_texts
import gateway_upstream
import jax
import numpy as np
import pytest
from gateway_texts import MODELS, SPEC, fitted, good, questions

litellm = pytest.importorskip("litellm")

from jaxroute import estimators, nuisance, policies  # noqa: E402
from jaxroute.data import encoders  # noqa: E402
from jaxroute.data import logs as log_files  # noqa: E402
from jaxroute.gateway import Gate, LogWriter, Settings, abilities  # noqa: E402
from jaxroute.gateway.hooks import Handler, install  # noqa: E402
from jaxroute.serving.router import Router  # noqa: E402
from jaxroute.types import InputError, Logs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own, of many kinds


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return gateway_texts.saved(tmp_path_factory.mktemp("kept") / "router")


LOOP = asyncio.new_event_loop()  # LiteLLM's logging worker belongs to the first loop that it meets


def router_of(upstream, timeout=6):
    litellm.logging_callback_manager._reset_all_callbacks()  # it keeps one handler of a class
    listed = [gateway_upstream.deployment(upstream, name, timeout) for name in (*MODELS, "auto")]
    return litellm.Router(model_list=listed, num_retries=2, retry_after=0, cooldown_time=0.01)


@pytest.fixture
def gateway(upstream, tmp_path):
    """A litellm.Router with a gate; gives (ask, log rows, server). Everything registered is taken away again."""

    def make(*, timeout=6, **settings):
        given = {"models": MODELS, "default": "small", "epsilon": 0.5, "seed": 0, "log": str(tmp_path / "log.jsonl")}
        gate, router = Gate(Settings(**(given | settings))), router_of(upstream, timeout)
        handler = install(router, gate)

        async def ask_all(prompts, model="auto", **more):
            async def one(text):
                message = [{"role": "user", "content": text}]
                return await router.acompletion(model=model, messages=message, **more)

            return await asyncio.gather(*(one(text) for text in prompts), return_exceptions=True)

        async def then_wait(prompts, **more):
            answers = await ask_all(prompts, **more)
            await asyncio.sleep(1.0)  # LiteLLM logs in the background
            return answers

        return gate, lambda prompts, **more: LOOP.run_until_complete(then_wait(prompts, **more)), handler

    yield make
    litellm.logging_callback_manager._reset_all_callbacks()


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_requests_are_routed_explored_and_logged_as_fit_reads_them(gateway, upstream, tmp_path):
    _, ask, _ = gateway()
    answers = ask([f"question {i}" for i in range(60)])
    assert all(a.choices[0].message.content in MODELS for a in answers)
    log = log_files.load(tmp_path / "log.jsonl")
    assert len(log) == 60
    assert log.models == ("large", "small")
    assert set(np.round(log.propensity, 6)) == {0.25, 0.75}
    small = log.action == log.models.index("small")
    np.testing.assert_allclose(log.propensity, np.where(small, 0.75, 0.25))
    assert 0.5 < small.mean() < 0.95
    np.testing.assert_allclose(log.cost[small], 7e-6 + 3 * 2e-6)
    assert log.available.all()
    assert {prompt.split()[0] for prompt in log.prompt} == {"question"}


def test_other_model_names_are_left_alone(gateway, tmp_path):
    _, ask, _ = gateway()
    answers = ask(["hello"] * 3, model="large")
    assert {a.choices[0].message.content for a in answers} == {"large"}
    assert rows_of(tmp_path / "log.jsonl") == []


@pytest.mark.parametrize("trouble", ["failing", "stalling"])
def test_a_model_in_trouble_costs_no_request_and_no_row(gateway, upstream, tmp_path, trouble):
    getattr(upstream, trouble).add("large")
    _, ask, _ = gateway(timeout=3)
    answers = ask([f"question {i}" for i in range(20)])
    assert {a.choices[0].message.content for a in answers} == {"small"}
    rows = rows_of(tmp_path / "log.jsonl")
    assert len(rows) == 20
    assert {r["model"] for r in rows} == {"small"}
    again = [r for r in rows if r["available"] == ["small"]]  # the second try had one candidate left
    assert {r["propensity"] for r in again} == {1.0}
    assert 1 <= len(again) < 20


def test_no_key_is_logged_and_no_prompt_when_told_not_to(gateway, upstream, tmp_path, kept):
    gate, ask, _ = gateway(log_prompts=False, router=str(kept), normalised_cost_weight=0.3)
    ask(["a prompt that nobody may read"] * 4, user="somebody")
    assert upstream.asked[0][1] == f"Bearer {gateway_upstream.KEY}"
    text = (tmp_path / "log.jsonl").read_text()
    assert text.count("\n") == 4
    assert gateway_upstream.KEY not in text
    assert "nobody may read" not in text
    assert {r["group"] for r in rows_of(tmp_path / "log.jsonl")} == {"somebody"}
    expected = encoders.encode(["a prompt that nobody may read"], gate.router.encoder)[0]
    np.testing.assert_allclose(log_files.load(tmp_path / "log.jsonl").features, [expected] * 4, atol=1e-6)


def test_a_broken_router_falls_back_to_the_default_and_says_so(gateway, tmp_path, caplog):
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "router.json").write_text("{")
    gate, ask, _ = gateway(router=str(tmp_path / "router"), cost_weight=1.0, epsilon=0.0)
    assert "damaged" in gate.problem
    assert "damaged" in caplog.text
    assert {a.choices[0].message.content for a in ask(["x"] * 5)} == {"small"}


def test_a_router_of_features_is_said_to_be_of_no_use_here(gateway, tmp_path, kept, caplog):
    dataclasses.replace(Router.load(kept), encoder=None).save(tmp_path / "router")
    _, ask, _ = gateway(router=str(tmp_path / "router"), cost_weight=1.0, epsilon=0.0)
    assert "the router takes features but requests are texts, so small answers" in caplog.text
    assert {a.choices[0].message.content for a in ask(questions(0, 4))} == {"small"}


def test_a_log_that_cannot_be_written_costs_no_answer(gateway, tmp_path, caplog):
    _, ask, handler = gateway()
    handler.writer.close()
    answers = ask(["x"] * 3)
    assert all(a.choices[0].message.content in MODELS for a in answers)
    assert "a row of the log could not be written and is lost" in caplog.text


def test_every_endpoint_of_a_router_is_routed_by_its_text_and_others_are_not(upstream, tmp_path):
    """Also the synchronous ones; large fails, so its requests are tried again with small."""
    upstream.failing.add("large")
    router = router_of(upstream)
    install(router, Gate(Settings(MODELS, "small", epsilon=1.0, seed=0, log=str(tmp_path / "log.jsonl"))))
    chat = [{"role": "user", "content": "chat"}]

    async def all_of_them():
        for _ in range(4):
            await router.acompletion("auto", chat, metadata=None)
            await router.aresponses(model="auto", input="response")
            await router.atext_completion(model="auto", prompt="text")
            await router.aanthropic_messages(model="auto", messages=chat, max_tokens=5)
        await router.aembedding(model="auto", input="embedded")
        await asyncio.sleep(1.0)

    LOOP.run_until_complete(all_of_them())
    rows = rows_of(tmp_path / "log.jsonl")
    assert [row["endpoint"] for row in rows].count("responses") == 4
    assert len(rows) == 16
    assert [row["prompt"] for row in rows].count("chat") == 8
    assert {row["model"] for row in rows} == {"small"}
    again = [row for row in rows if row["attempts"] > 1]
    assert again
    assert {(row["propensity"], tuple(row["failed"]), tuple(row["available"])) for row in again} == {
        (1.0, ("large",), ("small",))
    }
    upstream.failing.add("small")
    with pytest.raises(litellm.InternalServerError):
        router.completion(model="auto", messages=chat)
    assert rows_of(tmp_path / "log.jsonl")[-1]["status"] == "failed"
    litellm.logging_callback_manager._reset_all_callbacks()


STREAMS = {
    "chat": lambda router: router.acompletion("auto", [{"role": "user", "content": "chat"}], stream=True),
    "responses": lambda router: router.aresponses(model="auto", input="response", stream=True),
    "completions": lambda router: router.atext_completion(model="auto", prompt="text", stream=True),
}


@pytest.mark.parametrize("endpoint", STREAMS)
def test_streams_of_a_router_have_a_row_that_says_how_they_ended(upstream, tmp_path, endpoint):
    router = router_of(upstream)
    install(router, Gate(Settings(MODELS, "small", epsilon=1.0, seed=0, log=str(tmp_path / "log.jsonl"))))

    async def read(most=None):
        stream, pieces = await STREAMS[endpoint](router), 0
        async for _ in stream:
            pieces += 1
            if pieces == most:
                await stream.aclose()
                break

    async def all_of_them():
        await read()
        await read(most=2)
        upstream.cutting.update(MODELS)
        with pytest.raises(Exception, match=r"(?i)connection|completed|stream"):
            await read()
        await asyncio.sleep(1.0)
        gc.collect()  # what aiohttp says of the connection is said here, and not while pytest or hypothesis parse files

    LOOP.run_until_complete(all_of_them())
    rows = rows_of(tmp_path / "log.jsonl")
    assert sorted(row["status"] for row in rows) == ["answered", "failed", "left"]
    assert {(row["endpoint"], row["stream"], row["propensity"]) for row in rows} == {(endpoint, True, 0.5)}
    assert all((row["cost"] is None) == (row["status"] != "answered") for row in rows)
    if endpoint == "chat":
        with pytest.raises(litellm.APIConnectionError):
            list(router.completion(model="auto", messages=[{"role": "user", "content": "at once"}], stream=True))
        assert [(row["prompt"], row["status"]) for row in rows_of(tmp_path / "log.jsonl")[3:]] == [
            ("at once", "failed")
        ]
    litellm.logging_callback_manager._reset_all_callbacks()


def test_a_model_that_the_gateway_does_not_have_is_refused(upstream):
    router = litellm.Router(model_list=[gateway_upstream.deployment(upstream, "small")])
    with pytest.raises(InputError, match="'large' is not in the gateway's model_list"):
        install(router, Gate(Settings(MODELS, "small")))


def test_the_loop_closes(gateway, upstream, tmp_path):
    """Explore -> log -> feedback -> fit -> a better router, by the truth and by its own log."""
    prompts = questions(0, 300)
    _, ask, _ = gateway(epsilon=1.0)
    ask(prompts)
    first = rows_of(tmp_path / "log.jsonl")
    assert len(first) == 300
    writer = LogWriter(tmp_path / "feedback.jsonl")
    for row in first:
        writer.write(request_id=row["request_id"], quality=good(row["prompt"], row["model"]))
    table = log_files.load(tmp_path / "log.jsonl", feedback=tmp_path / "feedback.jsonl")
    features = np.asarray(encoders.encode(table.prompt.tolist(), "hashed"), np.float32)
    logs = Logs(features, table.action, table.quality, table.cost, table.propensity, table.available)
    router = fitted(logs, table.models)
    router.save(tmp_path / "router")

    second = tmp_path / "second.jsonl"
    gate, ask, _ = gateway(router=str(tmp_path / "router"), normalised_cost_weight=0.3, epsilon=0.1, log=str(second))
    assert gate.problem is None
    ask(questions(1000, 1120))
    rows = rows_of(second)
    assert len(rows) == 120

    def utility(row):
        return good(row["prompt"], row["model"]) - 0.3 / router.cost_scale * row["cost"]

    assert np.mean([utility(r) for r in rows]) > np.mean([utility(r) for r in first]) + 0.05
    target = policies.greedy(jax.numpy.asarray(router.route(features, normalised_cost_weight=0.3).scores))
    nuisances, _ = nuisance.fit(jax.random.key(1), logs, SPEC)
    estimate = estimators.self_normalised_doubly_robust(logs, target, 0.3 / router.cost_scale, nuisances)
    assert float(estimate.value) > np.mean([utility(r) for r in first])


def test_the_handler_refuses_a_log_of_neither_texts_nor_features(tmp_path):
    file = tmp_path / "models.yaml"
    file.write_text("models: [small, large]\ndefault: small\nlog: log.jsonl\nlog_prompts: false\n")
    with pytest.raises(InputError, match="no router is named"):
        Handler.from_file(file)
    assert not (tmp_path / "log.jsonl").exists()


def test_litellms_table_and_the_configuration_say_what_models_can_do():
    """The settings count before the configuration's model_info, and that before LiteLLM's table."""
    deployments = [
        {"model_name": "a", "litellm_params": {"model": "openai/gpt-3.5-turbo"}},
        {
            "model_name": "b",
            "litellm_params": {"model": "openai/gpt-3.5-turbo"},
            "model_info": {"max_input_tokens": 99},
        },
        {"model_name": "c", "litellm_params": {"model": "openai/gpt-4o-mini"}},
        {"model_name": "c", "litellm_params": {"model": "openai/unheard-of"}, "model_info": {"supports_vision": False}},
        {"model_name": "d", "litellm_params": {"model": "openai/unheard-of"}},
    ]
    given = Settings(("a", "b", "c", "d"), "a", capabilities={"a": ["images"]})
    found = abilities.informed(given, deployments)
    assert found.capabilities == {"a": ["images"], "b": ("tools", "json"), "c": ("tools", "json")}
    assert found.context == {"a": 16385, "b": 99, "c": 128000}
