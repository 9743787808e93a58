"""TensorZero: rows of its tables, a file each in one folder, as ClickHouse or PostgreSQL holds them.

An inference is a variant's answer, and each request that the variant made of a model is a row of its own: mostly one,
which then is the inference; of a variant that asks several models, or a judge, they stand alone, and no feedback on the
inference is of one of them. PostgreSQL has the texts in tables of their own (``..._data``), joined by ``id``. Feedback
is of an inference, or of an episode, which then must hold a single one. Failed requests are in no table. Counts of
input have the cached tokens in them.

The gateway draws variants by weights that no table has: a column ``propensity`` of an export, or a tag
``jaxroute.propensity``, says the probability. Of an inference whose caller named the variant only the tag does.

Reference:
    TensorZero, "Data Model" and "Run adaptive A/B tests"; the tables that its gateway writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jaxroute.data.logs import layouts
from jaxroute.data.logs.convert import number_or_nan
from jaxroute.data.logs.entries import (
    CACHED,
    ELSE,
    Asked,
    Entry,
    Format,
    Judgement,
    Row,
    carried,
    first,
    keyed,
    opened,
    own,
    read_prompt,
)

MODEL = {"inference_id", "model_name", "model_provider_name"}
MODEL_TEXTS = {"id", "input_messages", "raw_request", "raw_response"}
INFERENCE = {"function_name", "variant_name", "episode_id"}
TEXTS = {"id", "input", "inference_params"}
FEEDBACK = {"target_id", "value", "tags"}
PINNED = "tensorzero::variant_pinned"
TIME = ("timestamp", "created_at")
COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "provider_cache_read_input_tokens",
    "cache_write_tokens": "provider_cache_write_input_tokens",
}
HELD = frozenset((*MODEL, *MODEL_TEXTS, *INFERENCE, *TEXTS, *FEEDBACK, *TIME, *COUNTS.values(), "metric_name", "cached",
                  "cost", "processing_time_ms", "response_time_ms"))  # fmt: skip


def detect(names: Collection[str]) -> bool:
    """Whether a table's columns are those of one of the tables."""
    return any(kind <= set(names) for kind in (MODEL, MODEL_TEXTS, INFERENCE, TEXTS, FEEDBACK))


def entries(record: Row, asked: Asked) -> Iterator[Entry]:
    """What a row of a table says: a request of a model, the inference around it, their texts, or feedback."""
    name = str(first(record, ("id", "inference_id")))
    if "target_id" in record:
        if "metric_name" in record:
            target = str(record["target_id"])
            of = {"trace": target, "request": target}  # of an inference; of an episode
            yield Entry({}, judged=Judgement(of, str(record["metric_name"]), record.get("value"), first(record, TIME)))
        else:
            yield Entry({}, ELSE)
    elif "model_name" in record:
        inference = str(record.get("inference_id"))
        key, parent = keyed("", name, inference)
        fields = {field: record.get(column) for field, column in COUNTS.items()} | {
            "answered": record["model_name"],
            "paid": str(record["model_name"]).rpartition("::")[2],
            "cost": record.get("cost"),
            "trace": hash(inference),
        }
        found = _entry(fields, record, "response_time_ms", key, parent, asked)
        if number_or_nan(record.get("cached")) == 1:
            found.fields["lost"] = CACHED
        yield found
    elif "episode_id" in record:
        tags = opened(record.get("tags"))
        fields = {"group": tags.get("user_id") or record["episode_id"], "endpoint": record.get("function_name"),
                  "trace": hash(name), "spare_id": record["episode_id"]}  # fmt: skip
        found = _entry(fields, record, "processing_time_ms", keyed("", name, None)[0], 0, asked)
        if PINNED in tags:
            found.fields["propensity"] = None
        found.fields.update(carried(tags))
        yield found
    else:  # the texts of a row elsewhere
        said = record.get("input_messages") or opened(record.get("input")).get("messages")
        yield Entry(
            {}, key=keyed("", name, None)[0], said=[one for one in layouts.listed(said) if isinstance(one, dict)]
        )


def _entry(fields: Row, record: Row, length: str, key: int, parent: int, asked: Asked) -> Entry:
    name, taken = str(first(record, ("id", "inference_id"))), number_or_nan(record.get(length))
    fields = {"request_id": name, "spare_id": name, "timestamp": first(record, TIME)} | fields
    fields["latency"] = taken / 1000 if taken > 0 else None
    fields |= own({k: v for k, v in record.items() if k not in HELD}, asked, record)
    read_prompt(fields, [first(record, ("input_messages", "input"))], asked)
    return Entry(fields, "", key, parent)


FORMAT = Format(
    "tensorzero",
    "TensorZero's tables",
    detect,
    lambda name: name in HELD,
    entries,
    hint="give the tables of inferences and of model inferences, with PostgreSQL also those of their data, in a folder",
)
