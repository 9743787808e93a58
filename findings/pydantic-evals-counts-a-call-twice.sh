#!/usr/bin/env bash
# pydantic-evals==2.62.0: a report's metrics (requests, input_tokens, output_tokens, cost) are sums over all spans of a
# case that name a model. Where both Pydantic AI and the client below it are instrumented, with the two functions of
# Logfire that are made for that, one call has two spans, one inside the other, and counts as two requests with twice
# the tokens and twice the cost. A model that is called through a framework then looks twice as dear as one that is
# asked directly. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check "pydantic-evals[logfire]==2.62.0" \
  "pydantic-ai-slim[openai]==2.62.0" openai==3.57.0 logfire==5.4.0
cat > "$folder/twice.py" <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import logfire
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_evals import Case, Dataset

MODEL = "gpt-4o-2024-08-06"
asked = []


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        asked.append(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "content": "4"}
        said = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL,
                "usage": {"prompt_tokens": 140, "completion_tokens": 58, "total_tokens": 198},
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = AsyncOpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")
agent = Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)))
logfire.configure(send_to_logfire=False, console=False)
logfire.instrument_pydantic_ai()
if sys.argv[1] == "both":
    logfire.instrument_openai()


async def task(question):
    return (await agent.run(question)).output


report = Dataset(name="quiz", cases=[Case(name="one", inputs="What is 2 + 2?")]).evaluate_sync(task, progress=False)
used = report.cases[0].metrics
print(sys.argv[1], used, "asked", len(asked))
times = 2 if sys.argv[1] == "both" else 1
assert len(asked) == 1
assert (used["requests"], used["input_tokens"], used["output_tokens"]) == (times, times * 140, times * 58)
assert abs(used["cost"] - times * (140 * 2.5 + 58 * 10) / 1e6) < 1e-9
PY
cd "$folder"
"$folder/env/bin/python" "$folder/twice.py" agent
"$folder/env/bin/python" "$folder/twice.py" both
