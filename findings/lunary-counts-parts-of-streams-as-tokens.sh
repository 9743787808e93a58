#!/usr/bin/env bash
# lunary==1.4.41 with openai==3.57.0: once a client of OpenAI's is monitored, the last part of a streamed answer, which has the
# usage (stream_options={"include_usage": True}), never reaches the program that asked for it. Lunary does not read it
# either: as output tokens it reports the number of parts, and no input tokens, which its server then counts with a
# tokenizer of its own. No field says that these are guesses, and the cost is computed from them; reasoning, which is
# billed as output, is in no part. The answer's text is kept with its first part twice. Below 1,000 tokens go in and 500
# out; the program sees no usage, 4 tokens are reported, and "It is 4." is kept as "ItIt is 4.". Exits with 0 while this
# is so. A server on this machine stands for the provider and for Lunary.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check lunary==1.4.41 openai==3.57.0
cat > show.py <<'PY'
import http.server
import json
import threading
import time

import lunary
import openai

events, sent = [], []
usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, kind, content):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "events" in content:
            events.extend(content["events"])
            return self.send("application/json", b"{}")
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        parts = [base | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]}
                 for word in ("It", " is", " 4.")]
        if content["stream_options"]["include_usage"]:
            sent.append(usage)
            parts.append(base | {"choices": [], "usage": usage})
        text = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
        self.send("text/event-stream", text.encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
here = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()
lunary.config(app_id="00000000-0000-0000-0000-000000000001", api_url=here)
client = openai.OpenAI(api_key="none", base_url=f"{here}/v1", max_retries=0)
lunary.monitor(client)
answer = client.chat.completions.create(
    model="m", messages=[{"role": "user", "content": "What is 2 + 2?"}], stream=True,
    stream_options={"include_usage": True},
)
said, used = "", None
for part in answer:
    said += part.choices[0].delta.content or "" if part.choices else ""
    used = part.usage or used
for _ in range(100):
    if any(one["event"] == "end" for one in events):
        break
    time.sleep(0.2)
[end] = [one for one in events if one["event"] == "end"]
print(said, used, "told as", end["output"]["content"], end["tokensUsage"])
assert (said, used, sent) == ("It is 4.", None, [usage])
assert end["tokensUsage"] == {"completion": 4, "prompt": None}
assert end["output"]["content"] == "ItIt is 4."
PY
env/bin/python show.py
