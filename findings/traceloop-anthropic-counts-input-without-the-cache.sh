#!/usr/bin/env bash
# @traceloop/instrumentation-anthropic==0.27.0 (OpenLLMetry for JavaScript): gen_ai.usage.input_tokens is Anthropic's
# own input_tokens, which leaves out what was read from and written to the cache, and gen_ai.usage.total_tokens with it.
# OpenTelemetry's conventions, whose names these are, say of this attribute that it should include all types of input
# tokens, also the cached ones, and the same project's package for Python (opentelemetry-instrumentation-anthropic
# 0.62.4) includes them, under the same names. So the same request costs less or more by the language of the program:
# who takes the cached tokens out of the input, as for every other instrumentation, bills 100 - 1,000 - 200 tokens. Below
# 1,300 tokens go in, and 100 are counted. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund @anthropic-ai/sdk@0.65.0 @traceloop/instrumentation-anthropic@0.27.0 \
  @opentelemetry/sdk-trace-node@2.12.1 @opentelemetry/sdk-trace-base@2.12.1 @opentelemetry/api@1.9.1
python3 -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check anthropic==0.69.0 \
  opentelemetry-instrumentation-anthropic==0.62.4 opentelemetry-sdk==1.45.2
cat > server.py <<'PY'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

# 1,300 tokens in (100 fresh, 1,000 read from the cache, 200 written to it) and 50 out.
USAGE = {"input_tokens": 100, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200, "output_tokens": 50}


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_sequence": None,
                  "content": [{"type": "text", "text": "An answer."}], "stop_reason": "end_turn", "usage": USAGE}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = HTTPServer(("127.0.0.1", 0), Server)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat > ask.cjs <<'JS'
const { NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const { InMemorySpanExporter, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const Anthropic = require("@anthropic-ai/sdk");
const { AnthropicInstrumentation } = require("@traceloop/instrumentation-anthropic");

const kept = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(kept)] });
provider.register();
const instrumentation = new AnthropicInstrumentation();
instrumentation.setTracerProvider(provider);
instrumentation.manuallyInstrument(Anthropic);
(async () => {
  const client = new Anthropic.Anthropic({ baseURL: process.argv[2], apiKey: "none" });
  const messages = [{ role: "user", content: "A question?" }];
  await client.messages.create({ model: "claude-sonnet-4-6", max_tokens: 100, messages });
  const [{ attributes }] = kept.getFinishedSpans();
  const names = ["input_tokens", "cache_read.input_tokens", "cache_creation.input_tokens", "total_tokens"];
  console.log(...names.map((name) => attributes[`gen_ai.usage.${name}`]));
})();
JS
cat > ask.py <<'PY'
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)

import anthropic
from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

AnthropicInstrumentor().instrument()
client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none")
client.messages.create(model="claude-sonnet-4-6", max_tokens=100, messages=[{"role": "user", "content": "A question?"}])
[span] = kept.get_finished_spans()
names = ("input_tokens", "cache_read.input_tokens", "cache_creation.input_tokens", "total_tokens")
counted = {**span.attributes, "gen_ai.usage.total_tokens": span.attributes.get("gen_ai.usage.total_tokens", span.attributes.get("llm.usage.total_tokens"))}
print(*(counted.get(f"gen_ai.usage.{name}") for name in names))
PY
env/bin/python server.py > port & server=$!
trap 'kill $server; rm -rf "$folder"' EXIT
until [ -s port ]; do sleep 0.2; done
url=http://127.0.0.1:$(cat port)
javascript=$(node ask.cjs "$url")
python=$(env/bin/python ask.py "$url")
echo "input, read from the cache, written to it, total; in JavaScript: $javascript; in Python: $python"
[ "$javascript" = "100 1000 200 150" ]
[ "$python" = "1300 1000 200 1350" ]
