#!/usr/bin/env bash
# @google/gemini-cli==0.61.0: its telemetry has every request by OpenTelemetry's conventions for generative AI, as the
# event gen_ai.client.inference.operation.details. (1) A request that failed is told as an answer: it has
# gen_ai.response.model, of an answer that there was not, and no error.type, which the conventions require of an
# operation that ended in an error. What tells it from an answer is what is missing, or an event of Gemini CLI's own. (2)
# Each request is two such events, one at its start and one at its end, and no attribute says which of the two it is: a
# count of requests by model is twice as high. (3) gen_ai.usage.output_tokens leaves out the thoughts, which are billed as
# output and are often most of it. Neither they nor the cached tokens are in another attribute, though the conventions
# have some. Below two requests are made, of which one fails; 1,000 tokens go in, 600 of them from the cache, and 2,050
# out, 2,000 of them thoughts. Seen: 4 events; both requests have a model that answered, and none an error; 50 tokens out.
# Exits with 0 while this is so. A server on this machine stands for the API and for the collector of the telemetry.
set -euo pipefail
folder=$(mktemp -d)
server=
trap 'kill "$server" 2> "$folder/ignored" || true; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" @google/gemini-cli@0.61.0 > "$folder/installed"
cat > server.py <<'PY'
import http.server
import json

COUNTS = {"promptTokenCount": 1000, "cachedContentTokenCount": 600, "candidatesTokenCount": 50,
          "thoughtsTokenCount": 2000, "totalTokenCount": 3050}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, status, kind, content):
        self.send_response(status)
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

    def do_POST(self):
        content = self.content()
        if self.path.startswith(("/v1/logs", "/v1/traces", "/v1/metrics")):
            if self.path.startswith("/v1/logs"):
                with open("logs.jsonl", "ab") as file:
                    file.write(content.strip() + b"\n")
            return self.send(200, "application/json", b"{}")
        if b"please fail" in content:
            error = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}
            return self.send(400, "application/json", json.dumps(error).encode())
        answer = {"candidates": [{"content": {"role": "model", "parts": [{"text": "4"}]}, "finishReason": "STOP", "index": 0}],
                  "usageMetadata": COUNTS, "modelVersion": "gemini-2.5-pro", "responseId": "r1"}
        if "stream" in self.path:
            return self.send(200, "text/event-stream", b"data: " + json.dumps(answer).encode() + b"\n\n")
        self.send(200, "application/json", json.dumps(answer).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 server.py > port &
server=$!
until [ -s port ]; do sleep 0.1; done
here=http://127.0.0.1:$(cat port)
mkdir .gemini work
cat > .gemini/settings.json <<JSON
{"telemetry": {"enabled": true, "target": "local", "otlpEndpoint": "$here", "otlpProtocol": "http", "logPrompts": true},
 "privacy": {"usageStatisticsEnabled": false}, "general": {"disableAutoUpdate": true},
 "security": {"auth": {"selectedType": "gemini-api-key"}}}
JSON
cd work
for prompt in "What is 2 + 2?" "please fail"; do
  env -i PATH="$PATH" HOME="$folder" GEMINI_API_KEY=none GOOGLE_GEMINI_BASE_URL="$here" timeout 120 \
    ../node_modules/.bin/gemini --skip-trust -m gemini-2.5-pro -p "$prompt" < /dev/null > ../said 2>&1 || true
done
cd ..
python3 - <<'PY'
import json

requests, own = [], []
for line in open("logs.jsonl"):
    for resource in json.loads(line)["resourceLogs"]:
        for record in (record for scope in resource["scopeLogs"] for record in scope["logRecords"]):
            said = {one["key"]: next(iter(one["value"].values()), None) for one in record["attributes"]}
            if said["event.name"] == "gen_ai.client.inference.operation.details":
                requests.append(said)
            elif said["event.name"] in ("gemini_cli.api_response", "gemini_cli.api_error"):
                own.append((said["event.name"], said.get("thoughts_token_count")))
answered = [one for one in requests if "gen_ai.response.model" in one]
failed = [one for one in requests if "error.type" in one]
counted = [int(one["gen_ai.usage.output_tokens"]) for one in requests if "gen_ai.usage.output_tokens" in one]
print(len(requests), "events,", len(answered), "with a model that answered,", len(failed), "with an error; out:", counted)
print("events of its own:", own)
names = {name for one in requests for name in one if name.startswith("gen_ai.usage.")}
assert (len(requests), len(answered), len(failed), counted) == (4, 2, 0, [50])
assert names == {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}, names
assert sorted(name for name, _ in own) == ["gemini_cli.api_error", "gemini_cli.api_response"], own
PY
