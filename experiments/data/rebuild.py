"""Rebuild the tables that have a public origin: `make data`.

    python -m experiments.data.rebuild [--out data] [--encoder hashed] [--only NAME ...]

Each table is downloaded from the Hugging Face hub or GitHub, read, encoded, and saved as the folder that DATA= takes,
together with origin.json: the repository, the SHA-256 of every downloaded file, the encoder and the size. A folder
whose origin.json still matches is left unchanged. A file whose checksum differs from the recorded one is refused,
because the origin changed and numbers measured on the old table no longer apply. Where a checksum is known from
elsewhere (``Origin.known``) the first download is compared with it; otherwise later downloads are compared with the
first one. The printed line says which was done.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from jaxroute.data import hub, tables
from jaxroute.data.benchmarks import (
    correctness,
    leaderboard,
    llmrouterbench,
    paretobandit,
    routellm,
    routerbench,
    routereval,
    sprout,
)
from jaxroute.system import parsing, stopping
from jaxroute.types import InputError, Table

SUBJECTS = """
abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry
college_computer_science college_mathematics college_medicine college_physics computer_security conceptual_physics
econometrics electrical_engineering elementary_mathematics formal_logic global_facts high_school_biology
high_school_chemistry high_school_computer_science high_school_european_history high_school_geography
high_school_government_and_politics high_school_macroeconomics high_school_mathematics high_school_microeconomics
high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history
human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing
medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory
professional_accounting professional_law professional_medicine professional_psychology public_relations
security_studies sociology us_foreign_policy virology world_religions
"""


class Origin(NamedTuple):
    """Where a table comes from: files of a repository, and how local copies of them become a table.

    revision: of the repository, "": the newest. known: SHA-256 by file, from elsewhere. note: what a reader of the
    table must know.
    """

    host: str
    repo: str
    files: tuple[str, ...]
    load: Callable[[Sequence[Path], str], Table]
    revision: str = ""
    known: Mapping[str, str] = MappingProxyType({})
    note: str = ""


def _sprout(split: str) -> Origin:
    files = sprout.hub_files(split)
    return Origin(
        "hub", sprout.REPO, files, lambda copies, encoder: sprout.load(copies[0].parent, split=split, encoder=encoder)
    )


def _routerbench(part: str) -> Origin:
    return Origin(
        "hub",
        routerbench.REPO,
        (routerbench.FILES[part],),
        lambda copies, encoder: routerbench.load(copies[0], encoder=encoder),
    )


FREE = "the data have no prices: cost is 0, and a router on this table is about quality alone"


def _embedllm(split: str) -> Origin:
    return Origin(
        "hub",
        correctness.EMBEDLLM,
        (f"{split}.csv",),
        lambda copies, encoder: correctness.embedllm(copies[0], cost=0.0, encoder=encoder),
        note=FREE,
    )


def _routereval(evaluation: str) -> Origin:
    return Origin(
        "hub",
        routereval.REPO,
        (routereval.ARCHIVE,),
        lambda copies, encoder: routereval.load(copies[0], evaluation, encoder=encoder),
        note=f"pool {'/'.join(map(str, routereval.POOL))}; {FREE}",
    )


def _folder(copies: Sequence[Path]) -> Path:
    """The innermost folder that holds all the copies."""
    return Path(os.path.commonpath([copy.parent for copy in copies]))


ROUTERDC = Origin(
    "github",
    "shuhao02/RouterDC",
    tuple(
        f"datasets/routerbench_zs/{task}_{part}.csv"
        for task in ("arc_challenge", "mbpp", "winograde")
        for part in ("train", "test")
    ),
    lambda copies, encoder: routerbench.load(_folder(copies), encoder=encoder),
)
ROUTELLM = Origin(
    "github",
    "lm-sys/RouteLLM",
    (
        "routellm/evals/gsm8k/gsm8k_responses.csv",
        *(f"routellm/evals/mmlu/responses/mmlu_{subject}.csv" for subject in SUBJECTS.split()),
    ),
    lambda copies, encoder: routellm.load(_folder(copies), encoder=encoder),
)
PARETOBANDIT = Origin(
    "github",
    "ParetoBandit/ParetoBandit",
    tuple(f"data_collection/rewards/{part}_k4.jsonl" for part in ("val", "test")),
    lambda copies, encoder: paretobandit.load(_folder(copies), encoder=encoder),
)
OPEN_LLM = Origin(
    "github",
    leaderboard.REPO,
    (leaderboard.QUESTIONS, leaderboard.JUDGED),
    lambda copies, encoder: leaderboard.load(_folder(copies), encoder=encoder),
    note="rows in the order of the files; those of the table that docs/data-cards.md measures were re-aligned",
)
LLMROUTERBENCH = Origin(
    "hub",
    llmrouterbench.REPO,
    (llmrouterbench.ARCHIVE,),
    lambda copies, encoder: llmrouterbench.load(copies[0], billed_only=True, encoder=encoder),
    llmrouterbench.REVISION,
    # As two public projects wrote down of the hub's metadata.
    {llmrouterbench.ARCHIVE: "b79f8cde1a6f029c2efa663a3a3b6f7748defb22341fe59f328cebef6648c8f1"},
    note="models that were never billed are left out",
)
ORIGINS = {
    "routerbench_0shot": _routerbench("0shot"),
    "routerbench_5shot": _routerbench("5shot"),
    **{f"sprout_{split}": _sprout(split) for split in sprout.SHARDS},
    "routerbench_5shot_subset": ROUTERDC,
    "routellm_mmlu_gsm8k": ROUTELLM,
    "paretobandit": PARETOBANDIT,
    "open_llm_lb_v2_carrot": OPEN_LLM,
    "llmrouterbench": LLMROUTERBENCH,
    **{f"embedllm_{split}": _embedllm(split) for split in ("train", "val", "test")},
    **{f"routereval_{name}": _routereval(name) for name in routereval.EVALUATIONS},
}


def rebuild(name: str, out: Path, encoder: str) -> str:
    """Build one table under ``out``; returns what was done, in words.

    Raises:
        InputError: the origin cannot be reached, a download differs from the known checksum or from that of an
            earlier one, or the folder holds something else.
    """
    origin, folder = ORIGINS[name], out / name
    fetch = hub.download if origin.host == "hub" else hub.github
    pinned = {"revision": origin.revision} if origin.revision else {}
    copies = [fetch(origin.repo, file, **pinned) for file in origin.files]
    found = {file: hub.checksum(copy) for file, copy in zip(origin.files, copies, strict=True)}
    for file, known in origin.known.items():
        if found[file] != known:
            raise InputError(
                f"{origin.repo}, file {file}: its SHA-256 is {found[file]}, but {known} was expected; "
                f"remove {copies[origin.files.index(file)]} and download it again"
            )
    record = folder / "origin.json"
    if record.exists():
        before = json.loads(record.read_text())
        if before["sha256"] != found:
            raise InputError(
                f"{folder}: the origin's files changed since this table was built (see origin.json); "
                "move the folder away to build the new one"
            )
        if before["encoder"] == encoder:
            return f"{folder}: up to date"
    table = origin.load(copies, encoder)
    first = not record.exists()
    if not first:
        shutil.rmtree(folder)
    tables.save(table, folder)
    about = {
        "host": origin.host,
        "repository": origin.repo,
        "revision": origin.revision or "newest",
        "sha256": found,
        "sha256_known_beforehand": sorted(origin.known),
        "encoder": encoder,
        "prompts": len(table),
        "models": list(table.models),
        "note": origin.note,
    }
    record.write_text(json.dumps(about, indent=1) + "\n")
    if origin.known.keys() >= found.keys():
        checked = "checksums as known beforehand"
    else:
        checked = "checksums seen for the first time, kept in origin.json" if first else "checksums as the last time"
    size = f"{len(table)} prompts x {len(table.models)} models, features {table.features.shape[1]} wide"
    return "; ".join([f"{folder}: {size}", checked, *([origin.note] if origin.note else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the tables that are asked for; the exit status is 1 if one of them could not be."""
    parser = parsing.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to write the tables to")
    parser.add_argument("--encoder", default="hashed", help="encoder of the prompts; see jaxroute.data.encoders")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sorted(ORIGINS),
        default=list(ORIGINS),
        metavar="NAME",
        help="build only these tables",
    )
    options = parser.parse_args(arguments)
    failed = 0
    for name in options.only:
        try:
            print(f"{name}: {rebuild(name, options.out, options.encoder)}")
        except InputError as error:
            failed += 1
            print(f"{name}: not built: {error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(options.only)} tables were not built; see docs/data-cards.md for where they come from")
    return int(failed > 0)


if __name__ == "__main__":
    stopping.leave(main())
