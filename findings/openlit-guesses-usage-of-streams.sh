#!/usr/bin/env bash
# openlit==1.45.0: when a streamed answer comes without usage (OpenAI's servers send none unless stream_options asks for
# it), the span still has gen_ai.usage.input_tokens, output_tokens and a cost. They are OpenLIT's own guess, half the
# number of characters, under the names of counts that a server reported, and no attribute says so: only the counts of
# cached tokens are absent. The server below counts 1,000 tokens in and 500 out, and 9 and 12 are recorded. Exits with 0
# while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pins=(
  opentelemetry-api==1.45.1 opentelemetry-exporter-otlp==1.45.1 opentelemetry-exporter-otlp-proto-common==1.45.1
  opentelemetry-exporter-otlp-proto-grpc==1.45.1 opentelemetry-exporter-otlp-proto-http==1.45.1
  opentelemetry-proto==1.45.1 opentelemetry-sdk==1.45.1
  opentelemetry-exporter-http-transport==0.66b1 opentelemetry-exporter-otlp-common==0.66b1
  opentelemetry-instrumentation==0.66b1 opentelemetry-instrumentation-aiohttp-client==0.66b1
  opentelemetry-instrumentation-asgi==0.66b1 opentelemetry-instrumentation-django==0.66b1
  opentelemetry-instrumentation-falcon==0.66b1 opentelemetry-instrumentation-fastapi==0.66b1
  opentelemetry-instrumentation-flask==0.66b1 opentelemetry-instrumentation-httpx==0.66b1
  opentelemetry-instrumentation-pyramid==0.66b1 opentelemetry-instrumentation-requests==0.66b1
  opentelemetry-instrumentation-starlette==0.66b1 opentelemetry-instrumentation-tornado==0.66b1
  opentelemetry-instrumentation-urllib==0.66b1 opentelemetry-instrumentation-urllib3==0.66b1
  opentelemetry-instrumentation-wsgi==0.66b1 opentelemetry-semantic-conventions==0.66b1
  opentelemetry-util-http==0.66b1
)
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check openlit==1.45.0 openai==1.109.1 "${pins[@]}"
cd "$folder"
cat > prices.json <<'JSON'
{"chat": {"gpt-4o": {"promptPrice": 0.0025, "completionPrice": 0.01}}}
JSON
"$folder/env/bin/python" - <<'PY'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        base = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o", "object": "chat.completion.chunk"}
        delta = {"role": "assistant", "content": "An answer of some words."}
        chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
                  {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunks.append({**base, "choices": [], "usage": USAGE})
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks) + b"data: [DONE]\n\n")


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)

import openlit

openlit.init(disable_batch=True, disable_events=True, disable_metrics=True, pricing_json="prices.json")
import openai

client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")
for options in ({"include_usage": True}, None):
    more = {"stream_options": options} if options else {}
    list(client.chat.completions.create(model="gpt-4o", stream=True, messages=[{"role": "user", "content": "A question?"}], **more))
spans = [dict(span.attributes) for span in kept.get_finished_spans() if "gen_ai.response.id" in span.attributes]
reported, guessed = ((one["gen_ai.usage.input_tokens"], one["gen_ai.usage.output_tokens"]) for one in spans)
print("with usage", reported, spans[0].get("gen_ai.usage.cost"), "without", guessed, spans[1].get("gen_ai.usage.cost"))
alone = spans[0].keys() ^ spans[1].keys()
print("attributes in one of the two alone:", sorted(alone))
assert reported == (1000, 500)
assert guessed == (9, 12) and spans[1]["gen_ai.usage.cost"] > 0
assert alone <= {f"gen_ai.usage.cache_{what}.input_tokens" for what in ("read", "creation")}
os._exit(0)
PY
