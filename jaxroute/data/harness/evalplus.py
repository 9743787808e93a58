"""Results of EvalPlus and BigCodeBench: ``..._eval_results.json``, with their problems beside it.

Results name problems by id alone, so the file of the problems has to be in the same folder, or the one above. The model
is in the file's name (or its folder's), with ``--`` for ``/``. Samples of a problem are repeats. EvalPlus' further
tests are passed where both statuses are ``pass``, as it counts them itself. A problem of BigCodeBench whose own
solution failed where the tests were run says nothing of the model: ``..._pass_at_k.json`` beside the results names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.types import InputError

NAME = "EvalPlus"
RESULTS, RATES = "eval_results.json", "pass_at_k.json"
PASS = "pass"
UNSOLVED = "the reference solution failed"
RUN = re.compile(r"(?P<model>.+?)(_[a-z]+_temp_[\d.]+|--[^-]+--bigcodebench(-hard)?-(?P<split>complete|instruct)--.+)")
CACHES = {
    "HumanEval": "HumanEvalPlus-*.jsonl in EvalPlus' cache",
    "Mbpp": "MbppPlus-*.jsonl in EvalPlus' cache",
    "BigCodeBench": "BigCodeBench-*.jsonl in BigCodeBench's cache",
}


def sees(file: File) -> bool:
    """Whether a file holds results."""
    return file.path.name.endswith(RESULTS) and isinstance(inner(file.document, "eval"), dict)


def beside(file: File) -> bool:
    """Whether a file holds problems, or the rates of solved ones."""
    of_problems = file.suffix == ".jsonl" and {"task_id", "entry_point", "canonical_solution"} <= file.first.keys()
    return of_problems or file.path.name.endswith(RATES)


def read(file: File) -> Iterator[Answer]:
    """The samples of a run.

    Raises:
        InputError: problems that are not beside it, or that have two prompts; names file and problem.
    """
    name = file.path.name.removesuffix(RESULTS).rstrip("_") or file.path.absolute().parent.name
    run = RUN.fullmatch(name)
    rates = file.path.with_name(file.path.name.removesuffix(RESULTS) + RATES)
    about = File(rates).document if rates.is_file() else {}
    split, unsolved = inner(about, "split") or (run and run["split"]), inner(about, "failed_tasks") or []
    problems = _problems(file)
    for task, samples in file.document["eval"].items():
        at = f"{file.path}, problem {task!r}"
        if task not in problems:
            family = task.partition("/")[0]
            raise InputError(
                f"{at}: its prompt is in no .jsonl file beside the results; put the benchmark's problems there "
                f"({CACHES.get(family, 'records of task_id and prompt')})"
            )
        prompt = problems[task].get("prompt" if "prompt" in problems[task] else f"{split}_prompt")
        if prompt is None:
            raise InputError(f"{at}: which prompt was asked is unknown; keep the name that BigCodeBench gave the file")
        for sample in samples:
            yield Answer(
                at=at,
                model=run["model"].replace("--", "/") if run else None,
                prompt=prompt,
                task=task.partition("/")[0],
                id=task.partition("/")[2],
                scores=_scores(sample),
                main="plus" if sample.get("plus_status") else "",
                failed=UNSOLVED if task in unsolved else "",
            )


def _scores(sample: dict[str, Any]) -> dict[str, Any]:
    """Whether the tests passed: BigCodeBench's, or EvalPlus' of the original benchmark and with further ones."""
    if "status" in sample:
        return {PASS: sample["status"] == PASS}
    base, plus = (sample.get(name) for name in ("base_status", "plus_status"))
    return {"base": base == PASS} | ({} if plus is None else {"plus": base == plus == PASS})


def _problems(file: File) -> dict[str, dict[str, Any]]:
    """Problems by id, from every file of them in the results' folder and the one above."""
    found: dict[str, dict[str, Any]] = {}
    folder = file.path.absolute().parent
    for listed in map(File, sorted([*folder.glob("*.jsonl"), *folder.parent.glob("*.jsonl")])):
        if beside(listed):
            found |= {str(record.get("task_id")): record for _, record in listed.lines()}
    return found
