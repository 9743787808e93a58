"""Comparisons of two answers to one prompt: arenas, side-by-side ratings and judges' verdicts.

A record names two models and the winner (``model_a``, ``model_b``, ``winner``; or ``winner_model_a`` and so on). It is
two rows, one for each answer; what ends in ``_a`` or ``_b`` is of that answer: its cost, tokens, latency. The quality
is a win, held against the same opponents for every model (`data.comparisons`).

Voters that saw the models' names are left out, as are comparisons of a model with itself. Rows of one voter are a
group, and so are the two of one comparison.

Reference:
    Chatbot Arena: An Open Platform for Evaluating LLMs by Human Preference, by Chiang et al. (2024), and the data
    sets that it and MT-bench published; FastChat's ``clean_battle_data``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from jaxroute.data import comparisons
from jaxroute.data.logs.columns import Columns, marked
from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import NUMBERS, Asked, Entry, Format, Row, first, opened, own, read_prompt
from jaxroute.data.logs.table import CLUSTERS
from jaxroute.data.records import parsed
from jaxroute.system.wording import named
from jaxroute.types import InputError

SIDES = ("_a", "_b")
VERDICTS = {"model_a": 1.0, "a": 1.0, "model_b": 0.0, "b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5}
COLUMNS = ("winner_model_a", "winner_model_b", "winner_tie")
VOTERS = ("group", "user", "judge_hash", "judge", "evaluation_session_id")
IDS = ("question_id", "id", "request_id")

SEEN = "answers in comparisons whose voter saw the models' names"
ITSELF = "answers in comparisons of a model with itself"
TURNS = "answers in comparisons of several turns, whose tokens are not counted by request"
UNLINKED = "model was never compared with most others, not even through a third one"
MODELLED = "pairs of models that met too seldom, their wins taken from a Bradley-Terry model"


def told(names: Collection[str]) -> bool:
    """Whether a table's columns, or a record's keys, are of comparisons.

    Example:
        >>> told(["model_a", "model_b", "winner", "prompt"]), told(["model", "quality"])
        (True, False)
    """
    return {"model_a", "model_b"} <= set(names) and ("winner" in names or set(COLUMNS[:2]) <= set(names))


def verdict(record: Row) -> Any:
    """1 where the first model won, 0 where the second did, 0.5 for a tie; None for no verdict, else what was said.

    Example:
        >>> verdict({"model_a": "x", "model_b": "y", "winner": "tie (bothbad)"}), verdict({"winner_model_b": "1"})
        (0.5, 0.0)
    """
    said = first(record, ("winner",))
    if said is None:
        found = [number_or_nan(record.get(name)) for name in COLUMNS]
        given = [one for one in found if one and not np.isnan(one)]
        if given == [1.0]:
            return (1.0, 0.0, 0.5)[found.index(1.0)]
        return f"the winners {', '.join(map('{:g}'.format, found))}" if given else None
    for side, won in zip(SIDES, (1.0, 0.0), strict=True):
        if said == record.get(f"model{side}"):
            return won
    unknown = f"the winner {said!r}"  # also a number: 1 may be the first or the second
    return VERDICTS.get(str(said).strip().lower(), unknown)


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """The two answers of a comparison.

    Example:
        >>> record = {"model_a": "x", "model_b": "y", "winner": "model_b", "prompt": "hi", "cost_a": 1, "cost_b": 2}
        >>> for entry in entries(record, Asked({})):
        ...     print([entry.fields[name] for name in ("model", "quality", "cost")])
        ['x', 0.0, 1]
        ['y', 1.0, 2]
    """
    if "quality" in asked.columns:
        raise InputError("the quality of a comparison is its verdict, so that no column is mapped to quality")
    won, models = verdict(record), [record.get(f"model{side}") for side in SIDES]
    seen = str(record.get("anony")).lower() in ("false", "0", "0.0")
    left = SEEN if seen else ITSELF if models[0] == models[1] else ""
    for side, model in zip(SIDES, models, strict=True):
        if left:
            yield Entry({"model": model}, left)
            continue
        there = {name: value for name, value in record.items() if not name.endswith(SIDES)}
        there |= {name.removesuffix(side): value for name, value in record.items() if name.endswith(side)}
        tokens = _tokens(record, side)
        fields = (tokens or {}) | {name: there[name] for name in NUMBERS if name in there}
        fields |= {
            "model": model,
            "quality": won if isinstance(won, str) or side == SIDES[0] or won is None else 1 - won,
            "timestamp": first(record, ("timestamp", "tstamp")),
            "group": first(record, VOTERS),
        }
        if (number := first(record, IDS)) is not None:
            fields["request_id"] = f"{number}{side}"
        fields |= own({name: value for name, value in there.items() if name not in ("prompt", "quality")}, asked, there)
        read_prompt(fields, [_asked(there)], asked)
        if tokens is None and fields.get("cost") is None:
            fields.setdefault("lost", TURNS)
        yield Entry(fields)


def _asked(there: Row) -> Any:
    """The messages that were sent: a chat without its last answer, or the turns of a user."""
    chat = parsed(first(there, ("conversation", "prompt", "question", "messages")))
    if isinstance(chat, list) and all(isinstance(turn, str) for turn in chat):
        return [{"role": "user", "content": turn} for turn in chat]
    while isinstance(chat, list) and chat and isinstance(chat[-1], dict) and chat[-1].get("role") == "assistant":
        chat = chat[:-1]
    return chat


def _tokens(record: Row, side: str) -> Row | None:
    """Tokens of an answer, {} where nothing is counted; None where those of several turns are not told apart.

    Every request of a chat is billed for all that was said before: with counts by message they add up, and the sums
    over a chat that its metadata have are of one request alone.
    """
    chat = parsed(record.get(f"conversation{side}"))
    if isinstance(chat, list) and chat and all(isinstance(turn, dict) and turn.get("num_tokens") for turn in chat):
        counts = np.array([float(turn["num_tokens"]) for turn in chat])
        answers = np.array([turn.get("role") == "assistant" for turn in chat])
        return {"input_tokens": (np.cumsum(counts) - counts)[answers].sum(), "output_tokens": counts[answers].sum()}
    about = opened(record.get("conv_metadata"))
    if (written := about.get(f"sum_assistant{side}_tokens")) is None:
        return {}
    if number_or_nan(first({**record, **about}, ("turns", "turn"))) != 1:
        return None
    # What was said before this comparison, in the same session, counts as context alone.
    asked = [number_or_nan(about.get(name)) for name in ("sum_user_tokens", f"context{side}_tokens")]
    return {"input_tokens": np.nanmax(asked) if np.isfinite(asked).any() else None, "output_tokens": written}


def check(log: Columns, quality_range: tuple[float, float], feedback: Any) -> None:
    """Raise InputError where comparisons are given a scale or ratings, which their wins have not."""
    if not len(_pairs(log)):
        return
    given = {
        f"no {named('quality_range')} other than 0,1": tuple(quality_range) != (0, 1),
        f"no ratings ({named('feedback')})": feedback is not None,
        "no human_quality": np.isfinite(log.number("human_quality")).any(),
    }
    if found := [what for what, there in given.items() if there]:
        raise InputError(f"the quality of a comparison is its verdict, so that it has {' and '.join(found)}")


def unlinked(log: Columns, good: np.ndarray) -> np.ndarray:
    """Rows [N] of models that no chain of comparisons links to the models of most rows, which nothing compares them to.

    Args:
        log, good: see ``balance``.
    """
    model, pairs = log.code("model"), _verdicts(log, good, _pairs(log))
    found = np.zeros(len(log), bool)
    if len(pairs):
        group = comparisons.linked(model[pairs], len(log.codes["model"]))
        most = np.bincount(group[model[pairs[:, 0]]]).argmax()
        found[pairs[group[model[pairs[:, 0]]] != most]] = True
    return found


def balance(log: Columns, good: np.ndarray) -> bool:
    """Make the verdicts of a log qualities of its models, each held against the same opponents; in place.

    Args:
        log: all rows. good: [N], True for those that are kept.

    Returns:
        Whether the log has comparisons.

    Raises:
        InputError: some rows are comparisons and others ratings of an answer by itself.
    """
    pairs, quality = _pairs(log), log.number("quality").copy()
    if not len(pairs):
        return False
    ours = np.zeros(len(log), bool)
    ours[pairs] = True
    if (good & ~ours & np.isfinite(quality)).any():
        raise InputError(
            "some rows are comparisons of two answers, and others ratings of one: a win is no rating, so give "
            "them as two logs"
        )
    _group(log, pairs, good)
    used, won = _verdicts(log, good, pairs), quality.copy()
    quality[ours] = np.nan  # also of an answer whose opponent is not known
    if len(used):
        names, coded = np.unique(log.code("model")[used], return_inverse=True)
        coded = coded.reshape(used.shape)
        weight = np.where(np.isnan(log.number("weight")), 1.0, log.number("weight"))
        held = comparisons.hold(coded, won[used[:, 0]], len(names), np.where(good, weight, 0.0)[used])
        weight[used] *= held.weight
        quality[used] = held.least[coded] + held.scale[coded] * won[used]
        log.column["weight"] = weight
        if held.filled:
            log.counts[MODELLED] = held.filled
    log.column["quality"] = quality
    return True


def _pairs(log: Columns) -> np.ndarray:
    """[M, 2] rows of a log's comparisons, the first model's and the second's."""
    ours = np.array([form is FORMAT for form in log.forms], bool)[log.source] & ~marked(log.broken, len(log))
    rows = np.flatnonzero(ours)
    return rows[np.lexsort((log.row[rows], log.source[rows]))].reshape(-1, 2)


def _verdicts(log: Columns, good: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Those of the pairs that say which of two models won, and of which a row is kept."""
    model, quality = log.code("model")[pairs], log.number("quality")[pairs]
    told = np.isfinite(quality).all(1) & (model >= 0).all(1) & (model[:, 0] != model[:, 1])
    return pairs[told & good[pairs].any(1)]


def _group(log: Columns, pairs: np.ndarray, good: np.ndarray) -> None:
    """The two rows of a comparison are of one group: their voter's, or their own where there are few voters."""
    group = log.column["group"].copy() if "group" in log.column else np.arange(len(log))
    group[pairs[:, 1]] = group[pairs[:, 0]]
    if len(np.unique(group[good])) < CLUSTERS:
        group[pairs] = group.max() + 1 + np.arange(len(pairs))[:, None]
    log.column["group"] = group


FORMAT = Format(
    "comparisons",
    "comparisons of two answers",
    told,
    lambda name: name != "full_conversation",
    entries,
    notes={"qualities that are wins over another model's answer": "quality"},
    bills=False,
    versions=True,
)
