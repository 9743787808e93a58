"""Experiments of Langfuse, which ``run_experiment`` returns: of the Python package, or ``JSON.stringify`` of the other.

    json.dumps(result, default=lambda one: getattr(one, "__dict__", str(one)))

No model is named, unless by the inputs. Items whose task failed are left out by Langfuse, and so is the score of an
evaluator that failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.data.harness.inputs import asked, model_of

NAME = "Langfuse"
ITEMS = ("item_results", "itemResults")


def sees(file: File) -> bool:
    """Whether a file is an experiment."""
    return isinstance(_items(file), list)


def read(file: File) -> Iterator[Answer]:
    """The items of an experiment."""
    for i, found in enumerate(_items(file)):
        at, inputs = f"{file.path}, item {i}", inner(found, "item", "input")
        yield Answer(
            at=at,
            model=model_of(inputs),
            **asked(inputs, at),
            id=str(inner(found, "item", "id") or ""),
            scores={str(inner(one, "name")): inner(one, "value") for one in found["evaluations"]},
        )


def _items(file: File) -> Any:
    return next((found for name in ITEMS if (found := inner(file.document, name)) is not None), None)
