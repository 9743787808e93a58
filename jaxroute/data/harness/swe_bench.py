"""Reports of SWE-bench (``MODEL.RUN.json``), with a table of ``instance_id`` and ``problem_statement`` beside it.

No model is named but in the file's name, where its end cannot be told. What has no verdict is a failure, each kind by
itself: an empty patch, an evaluation that failed (of a patch that cannot be applied, too), and one whose surroundings
broke. SWE-bench counts all of them as not resolved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.types import InputError

NAME = "SWE-bench"
ISSUE, TEXT = "instance_id", "problem_statement"
FAILED = {"infra_failure_ids": "infrastructure", "error_ids": "error", "empty_patch_ids": "empty patch"}


def sees(file: File) -> bool:
    """Whether a file is a report, of one run."""
    return all(isinstance(inner(file.document, name), list) for name in ("submitted_ids", "resolved_ids", "error_ids"))


def beside(file: File) -> bool:
    """Whether a file holds issues with their texts."""
    return file.suffix in (".parquet", ".jsonl") and {ISSUE, TEXT} <= set(columns.names(file))


def read(file: File) -> Iterator[Answer]:
    """The issues that a run was given.

    Raises:
        InputError: issues that are not beside the report, or one without a verdict; names file and issue.
    """
    report, issues = file.document, _issues(file)
    failed = {name: why for key, why in FAILED.items() for name in report.get(key) or []}
    for name in report["submitted_ids"]:
        at = f"{file.path}, issue {name!r}"
        if name not in issues:
            raise InputError(
                f"{at}: its text is in no .parquet or .jsonl file beside the report; put the data set of SWE-bench "
                f"there, with {ISSUE} and {TEXT}"
            )
        resolved = name in report["resolved_ids"]
        if not (resolved or name in failed or name in (report.get("unresolved_ids") or [])):
            raise InputError(f"{at}: is neither resolved nor unresolved, nor failed; make the report again")
        yield Answer(
            at=at,
            model=None,
            prompt=issues[name],
            key=name,
            id=name,
            scores={"resolved": resolved},
            failed="" if resolved else failed.get(name, ""),
        )


def _issues(file: File) -> dict[str, Any]:
    """The texts of issues by id, from every table of them in the report's folder."""
    found: dict[str, Any] = {}
    folder = file.path.absolute().parent
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("*.jsonl")]):
        listed = File(path)
        if beside(listed):
            found |= {str(row[ISSUE]): row[TEXT] for _, row in listed.table()}
    return found
