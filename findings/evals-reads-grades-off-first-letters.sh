#!/usr/bin/env bash
# evals==3.0.1.post1 (OpenAI): a model-graded eval asks the judge to reason and then to repeat its choice on a line of
# its own, and reads the choice off the last line that begins or ends with a choice's letters, within words too. With
# closedqa's choices, Y and N, "Your submission does not meet the criterion." is a Y, a full score, also where an N of
# its own stands above it, and "Not a doubt: it is right." is an N. A grade that cannot be read at all counts as the
# lowest score, and stays in the mean: a judge that says nothing of use makes the model look bad. Exits with 0 while
# this is so. Stand-ins for what asks models spare its download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip=("$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" pyyaml==6.0.3 pydantic==2.12.4
"${pip[@]}" --no-deps evals==3.0.1.post1
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import logging
import sys
from pathlib import Path
from unittest.mock import MagicMock

import yaml

for name in ("openai", "openai.types", "openai.types.chat", "backoff", "blobfile", "lz4", "lz4.frame", "zstandard",
             "requests", "tiktoken", "tqdm", "lxml", "numpy", "pandas"):
    sys.modules[name] = MagicMock()
logging.disable()

import evals
from evals.elsuite.modelgraded.base import ModelGradedSpec
from evals.elsuite.modelgraded.classify_utils import classify

file = Path(evals.__file__).parent / "registry/modelgraded/closedqa.yaml"
spec = ModelGradedSpec(key="closedqa", group="modelgraded", **yaml.safe_load(file.read_text())["closedqa"])


class Judge:
    def __init__(self, text):
        self.text = text

    def __call__(self, prompt, **options):
        return self

    def get_completions(self):
        return [self.text]


def graded(text):
    asked = {"input": "Capital of France?", "completion": "Lyon", "criteria": "It is right."}
    choice, info = classify(mg=spec, completion_fn=Judge(text), completion_kwargs={"max_tokens": 1024}, format_kwargs=asked)
    print(repr(text), "->", choice, info["score"])
    return choice, info["score"]


assert graded("The capital is Paris.\nN\n\nN") == ("N", 0.0)
assert graded("The capital is Paris.\nN\n\nYour submission does not meet the criterion.") == ("Y", 1.0)
assert graded("Lyon was the Roman capital of Gaul.\nY\n\nNot a doubt: it is right.") == ("N", 0.0)
assert graded("It depends.") == ("__invalid__", 0.0)
PY
