#!/usr/bin/env bash
# anthropic==2.14.0 writes a span of every request itself as soon as the program has a tracer provider, which its README
# does not mention, and opentelemetry-instrumentation-anthropic==0.62.4 (Traceloop) writes another one. Both have the
# whole usage under gen_ai.usage.input_tokens and output_tokens, so what sums these over spans counts each request
# twice. They cannot be told apart by their place: neither is inside the other, each is the root of a trace of its own.
# And they name one count differently: tokens written to the provider's cache, which cost more than others, are
# cache_write.input_tokens in one and cache_creation.input_tokens in the other. For streams Traceloop also adds the
# answer's count in the first event to the final one, which includes it: 52 tokens instead of 50. Exits with 0 while
# this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check anthropic==2.14.0 \
  opentelemetry-instrumentation-anthropic==0.62.4 opentelemetry-sdk==1.45.2
"$folder/bin/python" - <<'PY'
import json
import os
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# 1,300 tokens in (100 fresh, 1,000 read from the cache, 200 written to it) and 50 out.
USAGE = {"input_tokens": 100, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200, "output_tokens": 50}
number = count(1)


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"id": f"msg_{next(number)}", "type": "message", "role": "assistant", "model": asked["model"],
                   "stop_reason": None, "stop_sequence": None, "content": [], "usage": {**USAGE, "output_tokens": 2}}
        ended, text = {"stop_reason": "end_turn", "stop_sequence": None}, {"type": "text", "text": "An answer."}
        if asked.get("stream"):
            delta = {"type": "text_delta", "text": "An answer."}
            events = [{"type": "message_start", "message": message},
                      {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                      {"type": "content_block_delta", "index": 0, "delta": delta},
                      {"type": "content_block_stop", "index": 0},
                      {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 50}},
                      {"type": "message_stop"}]
            kind, body = "text/event-stream", "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
        else:
            kind, body = "application/json", json.dumps({**message, **ended, "content": [text], "usage": USAGE})
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body.encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)

import anthropic
from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor


def ask():
    """One request, and one streamed request."""
    client = anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.server_port}", api_key="none")
    asked = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": [{"role": "user", "content": "A question?"}]}
    client.messages.create(**asked)
    list(client.messages.create(stream=True, **asked))


def spans():
    """{response: its spans}, in the order of the requests."""
    found = defaultdict(list)
    for span in kept.get_finished_spans():
        found[span.attributes["gen_ai.response.id"]].append(span)
    kept.clear()
    return [found[name] for name in sorted(found)]


def tokens(span, *names):
    return tuple(span.attributes[f"gen_ai.usage.{name}"] for name in names)


ask()
alone = spans()
AnthropicInstrumentor().instrument()
ask()
both = spans()
for title, requests in (("the package alone", alone), ("with Traceloop", both)):
    for kind, group in zip(("request", "stream"), requests, strict=True):
        print(f"{title}, a {kind}:", *((span.name, *tokens(span, "input_tokens", "output_tokens")) for span in group))
assert [len(group) for group in alone] == [1, 1] and [len(group) for group in both] == [2, 2]
for kind, group in zip(("request", "stream"), both, strict=True):
    own, other = sorted(group, key=lambda span: span.name, reverse=True)
    assert (own.name, other.name) == ("anthropic.messages.create", "anthropic.chat")
    assert own.parent is None and other.parent is None and own.context.trace_id != other.context.trace_id
    assert tokens(own, "input_tokens", "output_tokens", "cache_write.input_tokens") == (1300, 50, 200)
    answer = {"request": 50, "stream": 52}[kind]
    assert tokens(other, "input_tokens", "output_tokens", "cache_creation.input_tokens") == (1300, answer, 200)
    assert "gen_ai.usage.cache_creation.input_tokens" not in own.attributes
    assert "gen_ai.usage.cache_write.input_tokens" not in other.attributes
os._exit(0)
PY
