#!/usr/bin/env bash
# lighteval==0.13.0: answers are kept in ~/.cache/huggingface/lighteval and used by every later run of the same model
# and task, without an option to leave that out. Kept are (1) calls that failed: when a provider is down, the clients of
# LiteLLM and of Hugging Face's inference providers give up after some tries and return an empty answer, which is
# scored as wrong, with no mark in the results or details, and kept; so the same run a day later, with the provider up
# again, has the same zeros, and does not even ask. And (2) answers to other questions: an answer is found again by the
# number of its document in the task, so when a question of a task is corrected, the answer to the old one is scored
# against the new one. Exits with 0 while this is so.
# lighteval imports PyTorch, transformers and all its tasks, which this does not need: stand-ins spare their download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip=("$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" litellm==1.80.0 diskcache==5.6.3 datasets==4.4.1 pandas==2.3.3 numpy==2.3.3 pydantic==2.12.4 pyyaml==6.0.3 \
  tqdm==4.67.1 packaging==25.0 requests==2.32.5
"${pip[@]}" --no-deps lighteval==0.13.0
cat > "$folder/outage.py" <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import MagicMock

import datasets  # before the stand-ins, which it would look for
import litellm

for name in ("torch", "torch.utils", "torch.utils.data", "torch.utils.data.distributed", "transformers", "transformers.tokenization_utils_base",
             "pytablewriter", "lighteval.tasks.lighteval_task", "lighteval.tasks.registry"):
    sys.modules[name] = MagicMock()
sys.modules["torch"].__version__ = "2.9.0"
sys.modules["torch.utils.data"].Dataset = object


class Subset:
    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, list(indices)

    def __getitem__(self, i):
        return self.dataset[self.indices[i]]

    def __len__(self):
        return len(self.indices)


sys.modules["torch.utils.data"].Subset = Subset
from lighteval.models.endpoints.litellm_model import LiteLLMClient, LiteLLMModelConfig
from lighteval.tasks.requests import Doc, SamplingMethod

for name in [name for name in sys.modules if name.startswith(("torch", "transformers"))]:
    del sys.modules[name]  # datasets would take them for the real ones
asked, up = [], False


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][-1]["content"]
        asked.append(question)
        said = {"error": {"message": "down", "type": "server_error"}}
        if up:
            message = {"role": "assistant", "content": f"The answer to: {question}"}
            said = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "usage": {},
                    "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        self.send_response(200 if up else 500)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())


def run(*questions):
    """A new evaluation: the texts that are scored, and how often the provider was asked."""
    config = LiteLLMModelConfig(model_name="openai/m", provider="openai", api_key="none", api_max_retry=2,
                                base_url=f"http://127.0.0.1:{server.server_port}/v1", api_retry_sleep=0.01,
                                max_model_length=2048, cache_dir=sys.argv[1])
    docs = [Doc(query=question, choices=["x"], gold_index=0, id=str(number), task_name="task|0", generation_size=9,
                stop_sequences=[], use_logits=False, sampling_methods=[SamplingMethod.GENERATIVE])
            for number, question in enumerate(questions)]
    asked.clear()
    answers = [response.text for response in LiteLLMClient(config).greedy_until(docs)]
    print(answers, "asked", len(asked))
    return answers, len(asked)


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
answers, calls = run("What is 2 + 2?")
assert answers == [[""]] and calls > 0
up = True
answers, calls = run("What is 2 + 2?")
assert [list(texts) for texts in answers] == [[""]] and calls == 0, "the provider is up and is not asked"
answers, calls = run("What is 2 + 2?", "What is 3 + 3?")
assert calls == 1 and list(answers[1]) == ["The answer to: What is 3 + 3?"]
answers, calls = run("What is 2 + 2?", "What is 3 + 4?")
assert calls == 0 and list(answers[1]) == ["The answer to: What is 3 + 3?"], "the corrected question is not asked"
PY
cd "$folder"
OPENAI_API_KEY=none HF_HUB_OFFLINE=1 "$folder/env/bin/python" "$folder/outage.py" "$folder/cache"
