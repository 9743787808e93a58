"""Runs of HELM (crfm-helm): ``per_instance_stats.json``, with ``run_spec.json`` and ``scenario_state.json`` beside it.

The prompt is the instance as it stands in the scenario, without the examples before it; choices stand below it. Train
trials are repeats. Perturbed instances are left out, and counted. HELM counts tokens with tokenizers of its own choice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from jaxroute.data.harness.answers import Answer, File, LeftOut, Tokens, amount, inner
from jaxroute.types import InputError

NAME = "HELM"
FILE, SPEC, STATE = "per_instance_stats.json", "run_spec.json", "scenario_state.json"
MODEL = re.compile(r",?\bmodel(_deployment)?=[^,]*")
# What HELM counts of every request beside scores.
COUNTS = re.compile(
    r"(num|training|inference|finish_reason|prompt_truncated|batch_size|logprob|max_prob|predicted_index)(_.*)?"
)


def sees(file: File) -> bool:
    """Whether a file is the scores of a run."""
    return file.path.name == FILE and {"instance_id", "stats"} <= file.first.keys()


def beside(file: File) -> bool:
    """Whether a file lies beside the scores of a run; what ``helm-summarize`` writes there has prompts."""
    return file.path.name != FILE and all(file.path.with_name(name).is_file() for name in (FILE, SPEC))


def read(file: File) -> Iterator[Answer | LeftOut]:
    """The answers of a run, a train trial each.

    Raises:
        InputError: a file that is missing beside it, or of another shape; names file and instance.
    """
    spec, state = (_companion(file, name) for name in (SPEC, STATE))
    model, method = inner(spec, "adapter_spec", "model"), str(inner(spec, "adapter_spec", "method"))
    if not isinstance(model, str):
        raise InputError(f"{file.path.with_name(SPEC)}: names no model in its adapter_spec")
    asked: dict[tuple[Any, Any], Any] = {}
    for request in inner(state, "request_states") or []:
        if inner(request, "instance", "perturbation") is None:
            asked.setdefault((inner(request, "instance", "id"), request.get("train_trial_index")), request)
    means: dict[tuple[Any, Any], dict[str, Any]] = defaultdict(dict)
    for _, found in file.table():
        if found.get("perturbation") is not None:
            yield LeftOut(model, "perturbed instances")
        else:
            here = means[found.get("instance_id"), found.get("train_trial_index")]
            for stat in found.get("stats") or []:
                if inner(stat, "count"):
                    here[str(inner(stat, "name", "name"))] = inner(stat, "mean")
    for (name, trial), stats in means.items():
        request = asked.get((name, trial))
        at = f"{file.path}, instance {name!r}"
        if request is None:
            raise InputError(f"{at}: is not in {STATE}; take both files of one run")
        counts = (stats.get("num_prompt_tokens"), stats.get("num_output_tokens", stats.get("num_completion_tokens")))
        yield Answer(
            at=at,
            model=model,
            task=MODEL.sub("", str(inner(spec, "name"))).rstrip(":"),
            id=str(name),
            prompt=_prompt(request, method),
            scores={stat: mean for stat, mean in stats.items() if not COUNTS.fullmatch(stat)},
            tokens=Tokens(*(amount(count, at, "tokens") for count in counts)),
            failed="" if inner(request, "result", "success") is not False else "no answer",
        )


def _prompt(request: Any, method: str) -> str | None:
    text = inner(request, "instance", "input", "text")
    if not isinstance(text, str) or not method.startswith("multiple_choice"):
        return text if isinstance(text, str) else None
    choices = [inner(choice, "output", "text") for choice in inner(request, "instance", "references") or []]
    return "\n".join([text, *(f"{chr(65 + i)}. {choice}" for i, choice in enumerate(choices))])


def _companion(file: File, name: str) -> Any:
    path = file.path.with_name(name)
    if not path.is_file():
        raise InputError(f"{file.path}: no {name} beside it; keep the files of a run together")
    return File(path).document
