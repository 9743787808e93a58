#!/usr/bin/env bash
# open-webui==0.12.4: some servers that are compatible with OpenAI's write the usage so far into every part of a streamed
# answer (vLLM can: continuous_usage_stats). Open WebUI adds these up as if each part were a request of its own: in the
# message that it stores and exports, input_tokens is the input times the number of parts, and the cached tokens
# likewise; output_tokens is a sum of sums. Beside them prompt_tokens and completion_tokens are those of the last part,
# which are right, and no field says which of the two is meant: of an answer that called tools the sums are right and the
# last are not. Below an answer of three parts takes 140 tokens in, 30 of them cached, and 58 out; the message has 420, 90
# and 89. Exits with 0 while this is so. It installs the whole of Open WebUI (7 GB, minutes). A server on this machine
# stands for the provider.
set -euo pipefail
folder=$(mktemp -d)
provider=
server=
trap 'kill $provider $server 2> "$folder/ignored" || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check open-webui==0.12.4
cat > provider.py <<'PY'
import http.server
import json


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, kind, content):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.send("application/json", b'{"object": "list", "data": [{"id": "m", "object": "model"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        parts = []
        for word, out in (("It", 1), (" is", 30), (" 4.", 58)):
            usage = {"prompt_tokens": 140, "completion_tokens": out, "total_tokens": 140 + out,
                     "prompt_tokens_details": {"cached_tokens": 30}}
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": "stop" if out == 58 else None}
            parts.append({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": usage})
        text = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
        self.send("text/event-stream", text.encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
python3 provider.py > port &
provider=$!
until [ -s port ]; do sleep 0.1; done
here=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
env -i PATH="$folder/env/bin:/usr/bin:/bin" HOME="$folder" DATA_DIR="$folder/data" WEBUI_SECRET_KEY=none \
  OPENAI_API_BASE_URLS="http://127.0.0.1:$(cat port)/v1" OPENAI_API_KEYS=none ENABLE_OLLAMA_API=false OFFLINE_MODE=true \
  HF_HUB_OFFLINE=1 RAG_EMBEDDING_ENGINE=openai BYPASS_EMBEDDING_AND_RETRIEVAL=true ANONYMIZED_TELEMETRY=false \
  env/bin/open-webui serve --host 127.0.0.1 --port "$here" > said 2>&1 &
server=$!
cat > ask.py <<'PY'
import json
import sys
import time
import urllib.error
import urllib.request

token = ""


def call(path, body=None):
    content = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}{path}", content, headers)) as answer:
        return json.load(answer)


for _ in range(600):
    try:
        call("/health")
        break
    except (urllib.error.URLError, OSError):
        time.sleep(0.5)
person = {"name": "Ann", "email": "ann@example.com", "password": "a-long-password-1"}
token = call("/api/v1/auths/signup", person)["token"]
assert [model["id"] for model in call("/api/models")["data"] if model["id"] == "m"]
question = {"id": "q", "parentId": None, "childrenIds": [], "role": "user", "content": "What is 2 + 2?", "models": ["m"]}
body = {"model": "m", "messages": [{"role": "user", "content": "What is 2 + 2?"}], "stream": True, "parent_id": None,
        "user_message": question, "message_ids": [{"model_id": "m", "message_id": "a"}], "session_id": "none"}
chat = call("/api/chat/completions", body)["chat_id"]
for _ in range(100):
    message = call(f"/api/v1/chats/{chat}")["chat"]["history"]["messages"]["a"]
    if message.get("done"):
        break
    time.sleep(0.2)
usage = message["usage"]
print(usage)
assert (usage["prompt_tokens"], usage["completion_tokens"]) == (140, 58)
assert (usage["input_tokens"], usage["output_tokens"]) == (3 * 140, 1 + 30 + 58)
assert usage["prompt_tokens_details"]["cached_tokens"] == 3 * 30
PY
python3 ask.py "$here"
