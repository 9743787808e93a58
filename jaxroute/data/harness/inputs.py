"""What a task was given, as its prompt: a text, a chat, fields by name, or the body of a request."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxroute.data import messages, values
from jaxroute.types import InputError

PROMPTS = ("prompt", "messages", "user_input", "input", "question", "query", "instruction")
"""What tools call the prompt among the columns of a table, or among the inputs of a task."""
INSTRUCTED = ("instruction", "input")
PRINTED = re.compile(r"\[?\{'\w+': .*\}\]?", re.DOTALL)
"""Messages, or inputs by name, as Python prints them; those that can be read are no text any more."""


def asked(inputs: Any, at: str, *, cells: bool = False) -> dict[str, Any]:
    """``prompt`` and ``key`` of an answer to the inputs of a task: a text, a chat, or fields by name.

    Of several fields, ``prompt_of`` says which is the prompt, and all of them but the model tell prompts apart, unless
    they are the body of a request, which also names the model.

    Args:
        inputs: as written. at: file and row, for messages. cells: these are texts of a .csv file, to which pandas
            writes lists of messages as Python prints them, also what is no literal (times, arrays).

    Raises:
        InputError: several fields, none of which is known to be the prompt, or no text.

    Example:
        >>> asked({"text": "What is 2 + 2?"}, "row 0")
        {'prompt': 'What is 2 + 2?', 'key': ''}
        >>> asked({"question": "Who is it?", "about": "A."}, "row 0")
        {'prompt': 'Who is it?', 'key': '{"about": "A.", "question": "Who is it?"}'}
    """
    key, found = "", inputs
    if isinstance(inputs, Mapping):
        others = {name: value for name, value in inputs.items() if name != "model"}
        found = next(iter(others.values())) if len(others) == 1 else prompt_of(inputs)
        if found is None:
            raise InputError(
                f"{at}: the inputs are {', '.join(map(repr, inputs)) or 'empty'}, none of which is known to be the "
                f"prompt; call that one {PROMPTS[0]!r}"
            )
        body = len(others) < len(inputs) and any(name in inputs for name in messages.HOLDERS)
        key = "" if len(others) < 2 or body else json.dumps(others, sort_keys=True, default=str)
    if cells and isinstance(found, str) and PRINTED.fullmatch(found.strip()):
        raise InputError(
            f"{at}: the prompt is {values.short(found)}, messages as Python prints them; write the results as JSON "
            "lines or Parquet"
        )
    try:
        text = values.prompt(found)
    except ValueError as error:
        raise InputError(f"{at}: the prompt is {error}; it has to be a text or a list of messages") from error
    return {"prompt": text or "", "key": key}


def prompt_of(fields: Mapping[str, Any]) -> Any:
    """The field that is called as in ``PROMPTS``, the first that holds something; None where there is none.

    An instruction and the input that it is for are one prompt together, as in the data sets that have these names.

    Example:
        >>> prompt_of({"instruction": "Translate.", "input": "Hello", "output": "Hallo"})
        'Translate.\\n\\nHello'
    """
    found = next((name for name in PROMPTS if _holds(fields.get(name))), None)
    both = [text for name in INSTRUCTED if isinstance(text := fields.get(name), str) and text.strip()]
    if found == INSTRUCTED[1] and len(both) == len(INSTRUCTED):
        return "\n\n".join(both)
    return None if found is None else fields[found]


def _holds(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    empty = value is None or (isinstance(value, float) and math.isnan(value))
    return not empty and not (hasattr(value, "__len__") and len(value) == 0)


def model_of(inputs: Any, names: Sequence[str] = ("model",)) -> str | None:
    """The model that the inputs of a task, or facts about a run, name by one of these names; None where they name none.

    Example:
        >>> model_of({"model": "small", "question": "What is 2 + 2?"}), model_of("What is 2 + 2?")
        ('small', None)
    """
    given = inputs if isinstance(inputs, Mapping) else {}
    return next((given[name] for name in names if isinstance(given.get(name), str) and given[name].strip()), None)
