#!/usr/bin/env bash
# bfcl-eval==2026.3.23 (Berkeley Function Calling Leaderboard): a call that failed is written as the model's answer,
# "Error during inference: ...", and scored. Where no function should be called (irrelevance and live_irrelevance, 1,124
# questions), whatever is no call of a function is right: so a provider that is down, a wrong key or a rate limit scores
# 100% there, and a model that fails often beats one that answers. Nothing in the scores marks it, and a later run does
# not ask again, because the questions have results. Exits with 0 while this is so.
# bfcl-eval imports the packages of all its providers, which this does not need: stand-ins spare their download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip=("$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" openai==2.8.1 numpy==2.3.5 pandas==2.3.3 tqdm==4.67.1 python-dotenv==1.2.1 filelock==3.20.0 \
  overrides==7.7.0
"${pip[@]}" --no-deps bfcl-eval==2026.3.23
cat > "$folder/outage.py" <<'PY'
import json
import os
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import MagicMock

from tqdm import tqdm

for name in ("tenacity", "tree_sitter", "tree_sitter_java", "tree_sitter_javascript", "sentence_transformers", "faiss", "rank_bm25",
             "requests", "transformers", "html2text", "serpapi", "ddgs", "mpmath"):
    sys.modules[name] = MagicMock()
sys.modules["tenacity"].retry = lambda **options: lambda function: function
models = types.ModuleType("bfcl_eval.constants.model_config")
models.MODEL_CONFIG_MAPPING = {}
sys.modules[models.__name__] = models

from bfcl_eval._llm_response_generation import multi_threaded_inference
from bfcl_eval.eval_checker.eval_runner import relevance_file_runner
from bfcl_eval.model_handler.api_inference.openai_completion import OpenAICompletionsHandler
from bfcl_eval.utils import load_dataset_entry


class Server(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}).encode())


tqdm.write = lambda *words: None  # of every error
server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
for functions in (True, False):
    os.environ.update(OPENAI_API_KEY="wrong", OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1")
    handler = OpenAICompletionsHandler(model_name="m", temperature=0, registry_name="m", is_fc_model=functions)
    questions = load_dataset_entry("irrelevance")[:20]
    answers = [multi_threaded_inference(handler, dict(question), False, True) for question in questions]
    print(answers[0]["result"])
    assert all(answer["result"].startswith("Error during inference: Error code: 401") for answer in answers)
    accuracy, count = relevance_file_runner(handler, answers, questions, "m", "irrelevance", Path(sys.argv[1]))
    written = next(Path(sys.argv[1]).rglob("*irrelevance_score.json")).read_text()
    print(f"called by functions: {functions}; accuracy {accuracy:.0%} of {count}; written: {written.strip()}")
    assert accuracy == 1 and count == 20 and written.count("\n") <= 1
PY
cd "$folder"
BFCL_PROJECT_ROOT="$folder" "$folder/env/bin/python" "$folder/outage.py" "$folder/score" 2> "$folder/errors" || { tail -5 "$folder/errors"; exit 1; }
