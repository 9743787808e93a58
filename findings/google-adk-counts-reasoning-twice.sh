#!/usr/bin/env bash
# google-adk==2.13.0 with a model behind LiteLLM (litellm==1.110.2): its spans count the reasoning of an OpenAI-like
# server twice. The server reports 58 completion tokens, of which 50 are reasoning, as its interface defines them. The
# adapter of LiteLLM hands both on under the names of Gemini, whose candidates leave the thoughts out, and the telemetry
# adds them: gen_ai.usage.output_tokens is 108, beside reasoning.output_tokens of 50 and no total that would tell. What
# prices these spans bills nearly twice the output, of reasoning models alone, so that they look worse than others. With
# Gemini's own interface the sum is right. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check google-adk==2.13.0 litellm==1.110.2
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/bin/python" - <<'PY'
import asyncio
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CHAT = {"prompt_tokens": 140, "completion_tokens": 58, "total_tokens": 198,
        "completion_tokens_details": {"reasoning_tokens": 50}}
GEMINI = {"promptTokenCount": 140, "candidatesTokenCount": 8, "thoughtsTokenCount": 50, "totalTokenCount": 198}


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if self.path.endswith("/chat/completions"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "An answer."}, "finish_reason": "stop"}
            answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "small",
                      "choices": [choice], "usage": CHAT}
        else:
            content = {"role": "model", "parts": [{"text": "An answer."}]}
            answer = {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": GEMINI}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = f"http://127.0.0.1:{server.server_port}"
os.environ.update(GOOGLE_API_KEY="none", GOOGLE_GEMINI_BASE_URL=place)
kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)

from google.adk.agents import LlmAgent
from google.adk.models.google_llm import Gemini
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types


async def ask(model):
    """The usage in the span of one request."""
    kept.clear()
    runner = InMemoryRunner(agent=LlmAgent(name="helper", model=model), app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="u", session_id="s")
    question = types.Content(role="user", parts=[types.Part(text="A question?")])
    async for _ in runner.run_async(user_id="u", session_id="s", new_message=question):
        pass
    [span] = [span for span in kept.get_finished_spans() if "gen_ai.usage.output_tokens" in span.attributes]
    return {k.removeprefix("gen_ai.usage."): v for k, v in span.attributes.items() if k.startswith("gen_ai.usage.")}


behind = asyncio.run(ask(LiteLlm(model="openai/small", api_base=place + "/v1", api_key="none")))
own = asyncio.run(ask(Gemini(model="small")))
print("the server counted 140 in and 58 out, 50 of them reasoning; behind LiteLLM:", behind, "of Gemini:", own)
assert own.items() >= {"input_tokens": 140, "output_tokens": 58, "reasoning.output_tokens": 50}.items()
assert behind.items() >= {"input_tokens": 140, "output_tokens": 108, "reasoning.output_tokens": 50}.items()
os._exit(0)
PY
