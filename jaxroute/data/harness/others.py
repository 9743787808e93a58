"""Results that are known and are no table: what they are, keys that tell them, and what to do instead."""

from __future__ import annotations

from jaxroute.data.harness.answers import File

SHEETS = (".xlsx", ".xls", ".ods")
TIMES = "times of requests without the quality of their answers; evaluate the models with a tool that is read"
KNOWN = (
    (
        "a report of garak",
        {"entry_type", "_config.version"},
        "attacks, and what detectors found in their answers",
    ),
    ("a hit log of garak", {"attempt_id", "detector"}, "attacks that succeeded alone, of which no model is the better"),
    ("a benchmark of GuideLLM", {"benchmarks", "config", "metadata"}, TIMES),
    ("a benchmark of vLLM", {"request_throughput", "mean_ttft_ms"}, TIMES),
    ("results of MTEB", {"task_name", "mteb_version"}, "scores of embeddings, which answer no prompt"),
    (
        "results of tau-bench",
        {"task_id", "reward", "traj"},
        "conversations with a simulated user, who asks each model something else; there is no prompt to join by",
    ),
    (
        "comparisons of two answers",
        {"model_a", "model_b", "winner"},
        "which of two is better, and no score of one; they are a log (jaxroute fit FILE), or votes for --prior",
    ),
    (
        "results of aider's benchmark",
        {"testcase", "tests_outcomes"},
        "exercises without their prompts; write rows of prompt, model, score and cost",
    ),
)


def reason(file: File) -> str:
    """What a file is and why it is no table, "" where that is not known.

    Example:
        >>> from pathlib import Path
        >>> reason(File(Path("answers.txt")))
        ''
    """
    if file.suffix in SHEETS:
        return "a spreadsheet: save the sheet with an answer a row as CSV"
    keys = set(file.document if isinstance(file.document, dict) else file.first)
    return next((f"{title}: {why}" for title, told, why in KNOWN if told <= keys), "")
