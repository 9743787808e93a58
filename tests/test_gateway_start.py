"""How LiteLLM's real proxy starts: with the page's command, a router, its own authentication, several workers.

Run by `make test-gateway`; skipped where LiteLLM is not installed.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import gateway_proxy
import ports
import psutil
import pytest
import router_kinds
from gateway_proxy import body_of, wait

pytest.importorskip("litellm")

from jaxroute.data import logs


def test_a_model_that_the_proxy_lacks_is_refused_at_the_start_by_name(upstream, tmp_path):
    settings = "models: [small, medium]\ndefault: small\n"
    with gateway_proxy.running(upstream, tmp_path, settings, up=False) as proxy:
        proxy.process.wait(gateway_proxy.START)
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
    port = ports.free()
    folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "OPENAI_API_KEY": "none"}
    env |= {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = block.strip().replace("litellm --config", f"exec litellm --port {port} --config")
    with (tmp_path / "proxy.log").open("w") as out:
        process = subprocess.Popen(["bash", "-euc", command], cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        proxy = gateway_proxy.Proxy(port, tmp_path, process)
        wait(lambda: process.poll() is None and gateway_proxy.is_up(proxy), gateway_proxy.START)
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
        wait(lambda: proxy.said().count("Application startup complete") >= 4, gateway_proxy.START)

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
