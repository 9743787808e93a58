#!/usr/bin/env bash
# weave==0.54.0 (Weights & Biases): where one scorer of an evaluation fails on an answer, the verdicts of all the others
# on it are thrown away, and a scorer of truth values counts it as false: a model that is right on four of four
# questions has a true_fraction of 0.75, because a judge of style broke on one answer. The same verdicts as numbers,
# 1.0 for True, have a mean of 1, because numbers are divided by the rows that have one. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check weave==0.54.0
cd "$folder"
WEAVE_DISABLED=true "$folder/env/bin/python" - 2> "$folder/errors" <<'PY' || { tail -5 "$folder/errors"; exit 1; }
import asyncio

import weave

ANSWERS = {"What is 2 + 2?": "4", "Capital of France?": "Paris", "Largest planet?": "Jupiter", "What is 10 - 4?": "6"}


@weave.op
def answer(question: str) -> str:
    return ANSWERS[question]


@weave.op
def correct(expected: str, output: str) -> bool:
    return output == expected


@weave.op
def correct_as_number(expected: str, output: str) -> float:
    return float(output == expected)


@weave.op
def style(output: str) -> float:
    if output == "Paris":
        raise ValueError("the judge could not be asked")
    return 0.5


def evaluated(*scorers):
    examples = [{"question": question, "expected": expected} for question, expected in ANSWERS.items()]
    found = asyncio.run(weave.Evaluation(dataset=examples, scorers=list(scorers)).evaluate(answer))
    print([scorer.__name__ for scorer in scorers], {name: found[name] for name in found if name != "model_latency"})
    return found


assert evaluated(correct)["correct"] == {"true_count": 4, "true_fraction": 1.0}
assert evaluated(correct, style)["correct"] == {"true_count": 3, "true_fraction": 0.75}
assert evaluated(correct_as_number, style)["correct_as_number"] == {"mean": 1.0}
PY
