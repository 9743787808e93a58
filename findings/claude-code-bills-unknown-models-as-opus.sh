#!/usr/bin/env bash
# @anthropic-ai/claude-code==2.1.197: a model that Claude Code has no price for is billed at that of Opus, in the event
# api_request (cost_usd) and the metric claude_code.cost.usage of its telemetry. Such are all models of other providers
# behind a gateway (ANTHROPIC_BASE_URL), also those that run for nothing, and models of Claude that are newer than the
# release. On the screen, /usage says that costs may be inaccurate then; the telemetry, from which bills of teams are
# made, does not: the event has the same attributes as any other. So a bill by model, or a comparison of a cheap model
# with Claude, says that the cheap one costs as much as Opus. Other tools write no cost, or 0, of what they have no price
# for. Below 100 tokens go in, 1,000 are read from the cache, 200 written to it, and 50 go out. Seen: 0.0007 dollars for
# claude-haiku-4-5, and 0.0035 for claude-opus-4-5, qwen3-coder, glm-4.6 and claude-haiku-9 alike. Exits with 0 while
# this is so. A server on this machine stands for the API and for the collector of the telemetry.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$server" 2> "$folder/ignored" || true; rm -rf "$folder"' EXIT
server=
cd "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" @anthropic-ai/claude-code@2.1.197 > "$folder/installed"
cat > server.py <<'PY'
import http.server
import json

USAGE = {"input_tokens": 100, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 200, "output_tokens": 50}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, kind, content):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def content(self):
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        parts = []  # in chunks, each after its length
        while length := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        return b"".join(parts)

    def do_HEAD(self):
        self.send("application/json", b"")

    def do_GET(self):
        self.send("application/json", b"{}")

    def do_POST(self):
        asked = json.loads(self.content())
        if not self.path.startswith("/v1/messages"):
            with open("logs.jsonl", "a") as file:
                print(json.dumps(asked), file=file)
            return self.send("application/json", b"{}")
        answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "content": [],
                  "stop_reason": None, "stop_sequence": None, "usage": USAGE}
        events = [
            {"type": "message_start", "message": answer},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": USAGE},
            {"type": "message_stop"},
        ]
        lines = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self.send("text/event-stream", lines.encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 server.py > port &
server=$!
until [ -s port ]; do sleep 0.1; done
here=http://127.0.0.1:$(cat port)
for model in claude-haiku-4-5 claude-opus-4-5 qwen3-coder glm-4.6 claude-haiku-9; do
  env -i PATH="$PATH" HOME="$folder" ANTHROPIC_BASE_URL="$here" ANTHROPIC_API_KEY=none DISABLE_AUTOUPDATER=1 \
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_ENABLE_TELEMETRY=1 OTEL_LOGS_EXPORTER=otlp \
    OTEL_EXPORTER_OTLP_PROTOCOL=http/json OTEL_EXPORTER_OTLP_ENDPOINT="$here" \
    timeout 120 node_modules/.bin/claude -p "What is 2 + 2?" --model "$model" < /dev/null > "answer-$model"
done
python3 - <<'PY'
import json

cost = {}
for line in open("logs.jsonl"):
    for resource in json.loads(line)["resourceLogs"]:
        for record in (record for scope in resource["scopeLogs"] for record in scope["logRecords"]):
            said = {one["key"]: next(iter(one["value"].values())) for one in record["attributes"]}
            if said["event.name"] == "api_request":
                cost[said["model"]] = round(said["cost_usd"], 9)
                print(said["model"], cost[said["model"]], sorted(said))
assert cost == {"claude-haiku-4-5": 0.0007, "claude-opus-4-5": 0.0035, "qwen3-coder": 0.0035, "glm-4.6": 0.0035,
                "claude-haiku-9": 0.0035}, cost
PY
