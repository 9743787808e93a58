#!/usr/bin/env bash
# braintrust==0.48.1 with openai==3.57.0: a request that fails in a client of OpenAI's that braintrust.wrap_openai
# wrapped is logged as a span without an error. It has no output and no counts either, so that it looks like an answer
# whose text was not kept; a count of errors by model is 0 while the provider is down. A client of Anthropic's that
# wrap_anthropic wrapped logs its error, and so does a span of one's own. Below each of three requests fails with the
# status 400. Seen: three spans, of which the first two, of OpenAI's, have no error. Exits with 0 while this is so. A
# server on this machine stands for the providers and for Braintrust.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check braintrust==0.48.1 openai==3.57.0 anthropic==2.15.0
cat > show.py <<'PY'
import http.server
import json
import threading

import anthropic
import braintrust
import openai

rows = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, status, answer):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.send(200, {})

    def do_POST(self):
        content = self.rfile.read(int(self.headers["content-length"] or 0))
        if self.path.startswith("/provider"):
            return self.send(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}})
        if self.path.endswith("/logs3"):
            for row in json.loads(content)["rows"]:
                rows.setdefault(row["id"], {}).update(row)
        organisation = {"id": "o", "name": "o", "api_url": here, "proxy_url": here, "git_metadata": None}
        self.send(200, {"org_info": [organisation], "id": "p", "name": "p"})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
here = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()
log = braintrust.init_logger(project="p", api_key="none", app_url=here)
first = braintrust.wrap_openai(openai.OpenAI(api_key="none", base_url=f"{here}/provider/v1", max_retries=0))
second = braintrust.wrap_anthropic(anthropic.Anthropic(api_key="none", base_url=f"{here}/provider", max_retries=0))
said = [{"role": "user", "content": "What is 2 + 2?"}]
for ask in (lambda: first.chat.completions.create(model="m", messages=said),
            lambda: first.responses.create(model="m", input="What is 2 + 2?"),
            lambda: second.messages.create(model="m", max_tokens=9, messages=said)):
    try:
        ask()
    except (openai.BadRequestError, anthropic.BadRequestError):
        continue
    raise AssertionError("the request did not fail")
log.flush()
found = [(row["span_attributes"]["name"], row.get("error"), "output" in row) for row in rows.values()]
print(*found, sep="\n")
assert [name for name, *_ in found] == ["Chat Completion", "openai.responses.create", "anthropic.messages.create"]
assert [error is None for _, error, _ in found] == [True, True, False]
assert not any(answered for _, _, answered in found)
PY
env/bin/python show.py
