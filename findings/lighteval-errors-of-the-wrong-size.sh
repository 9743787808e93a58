#!/usr/bin/env bash
# lighteval==0.13.0: the errors beside its scores ("score_stderr" in the results) have the wrong size in two places. (1)
# Scores of a whole task, such as F1, correlation, BLEU and perplexity, have errors by the bootstrap: the standard
# deviation of the score over its draws, which is the error, and which is then divided by the square root of the number
# of draws. So it is 32 times too small with the 1,000 draws of the default, and the more draws, the smaller. (2) The
# error of an average over subtasks (MMLU, say) is the average of their errors, as if all erred together: the square
# root of the number of subtasks too large, and with 57 subtasks no smaller than that of one. Nothing warns, and the
# documentation has no other meaning of them. Seen: a correlation of 0.65 from 500 answers has the error 0.0011, and
# 0.0005 from 4,000 draws, where it varies by 0.036 over 1,000 such runs; the average of 57 subtasks of 100 questions
# has 0.046, where it varies by 0.006. Exits with 0 while this is so.
# lighteval imports PyTorch, transformers and more, which this does not need: stand-ins spare their download.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" numpy==2.3.3 scipy==1.16.2 scikit-learn==1.7.2 tqdm==4.67.1 packaging==25.0
"${pip[@]}" --no-deps lighteval==0.13.0
cat > "$folder/errors.py" <<'PY'
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import sklearn.metrics  # before the stand-ins, which it would look into

for name in ("git", "sacrebleu", "xxhash", "lighteval.metrics.metrics_sample", "lighteval.metrics.sample_preparator",
             "lighteval.models.abstract_model", "lighteval.models.model_output", "lighteval.tasks.lighteval_task",
             "lighteval.tasks.requests", "lighteval.utils.utils"):
    sys.modules[name] = MagicMock()
from lighteval.logging.info_loggers import MetricsLogger
from lighteval.metrics.metrics_corpus import MatthewsCorrCoef


def aggregated(values, aggregation, **more):
    """What lighteval writes to its results, where values are {task: [the value of each sample]}."""
    logger = MetricsLogger()
    for task, samples in values.items():
        for sample in samples:
            logger.log(task, {"score": sample})
    task = SimpleNamespace(aggregation=lambda: {"score": aggregation})
    logger.aggregate(dict.fromkeys(values, task), **more)
    return logger.metric_aggregated


def answers(rng):
    """500 questions with the answer 0 or 1, of which a model gets 80% right."""
    gold = rng.integers(2, size=500)
    return [SimpleNamespace(golds=int(g), preds=int(g) if right else 1 - int(g))
            for g, right in zip(gold, rng.random(500) < 0.8, strict=True)]


def main():
    rng = np.random.default_rng(0)
    correlation = MatthewsCorrCoef().compute_corpus
    true = np.std([correlation(answers(rng)) for _ in range(1000)])
    one = answers(rng)
    few, many = (aggregated({"task|0": one}, correlation, bootstrap_iters=draws)["task|0"] for draws in (1000, 4000))
    print(f"correlation {few['score']:.3f}: error {few['score_stderr']:.5f}, from 4,000 draws "
          f"{many['score_stderr']:.5f}; its standard deviation over 1,000 runs {true:.5f}")
    assert few["score"] == many["score"]
    assert 25 < true / few["score_stderr"] < 40 and 50 < true / many["score_stderr"] < 80

    def subjects():
        return {f"exam:subject{number}|0": (rng.random(100) < 0.7).astype(float) for number in range(57)}

    average = [aggregated(subjects(), np.mean)["exam:_average|0"] for _ in range(200)]
    true, theirs = (np.std([a["score"] for a in average]), np.mean([a["score_stderr"] for a in average]))
    print(f"average of 57 subjects: error {theirs:.4f}, its standard deviation over 200 runs {true:.4f}")
    assert 6.5 < theirs / true < 8.7


if __name__ == "__main__":
    main()
PY
LIGHTEVAL_DISABLE_TQDM=1 "$folder/bin/python" "$folder/errors.py"
