"""What a task was given, as its prompt: a text, a chat, fields by name, or the body of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jaxroute.data import messages, values
from jaxroute.types import InputError

PROMPTS = ("prompt", "messages", "user_input", "input", "question", "query", "instruction", "inputs")
"""What tools call the prompt among the columns of a table, or among the inputs of a task."""
PRINTED = re.compile(r"\[?\{'\w+': .*\}\]?", re.DOTALL)
"""Messages, or inputs by name, as Python prints them; those that can be read are no text any more."""


def asked(inputs: Any, at: str, *, cells: bool = False) -> dict[str, Any]:
    """``prompt`` and ``key`` of an answer to the inputs of a task: a text, a chat, or fields by name.

    Of several fields, the first that is called as in ``PROMPTS`` is the prompt, and all of them but the model tell
    prompts apart, unless they are the body of a request, which also names the model.

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
        names = [name for name in PROMPTS if inputs.get(name)][:1] or list(others)
        if len(names) != 1:
            raise InputError(
                f"{at}: the inputs are {', '.join(map(repr, inputs)) or 'empty'}, none of which is known to be the "
                f"prompt; call that one {PROMPTS[0]!r}"
            )
        body = len(others) < len(inputs) and any(name in inputs for name in messages.HOLDERS)
        key = "" if len(others) < 2 or body else json.dumps(others, sort_keys=True, default=str)
        found = inputs[names[0]]
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


def model_of(inputs: Any) -> str | None:
    """The model that the inputs of a task name, as the body of a request does; None where they name none.

    Example:
        >>> model_of({"model": "small", "question": "What is 2 + 2?"}), model_of("What is 2 + 2?")
        ('small', None)
    """
    name = inputs.get("model") if isinstance(inputs, Mapping) else None
    return name if isinstance(name, str) else None
