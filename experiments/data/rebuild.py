"""Rebuild the tables that have a public origin: `make data`.

    python -m experiments.data.rebuild [--out data] [--encoder hashed] [--only NAME ...]

Each is downloaded, read, its features computed, and saved as the plain folder that DATA= takes, beside a file
origin.json with the hub's address, the SHA-256 of every downloaded file, the encoder and the size. A folder whose
origin.json still matches is left alone. A file whose checksum differs from one written down before is refused: the
origin changed, and numbers measured on the old table do not carry over.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxroute.data import hub, routerbench, sprout, tables
from jaxroute.types import InputError, Table


class Origin(NamedTuple):
    """Where a table comes from: files of a hub data set, and how local copies of them become a table."""

    repo: str
    files: tuple[str, ...]
    load: Callable[[Sequence[Path], str], Table]


def _sprout(split: str) -> Origin:
    files = sprout.hub_files(split)
    return Origin(
        sprout.REPO, files, lambda copies, encoder: sprout.load(copies[0].parent, split=split, encoder=encoder)
    )


def _routerbench(part: str) -> Origin:
    return Origin(
        routerbench.REPO,
        (routerbench.FILES[part],),
        lambda copies, encoder: routerbench.load(copies[0], encoder=encoder),
    )


ORIGINS = {
    "routerbench_0shot": _routerbench("0shot"),
    "routerbench_5shot": _routerbench("5shot"),
    **{f"sprout_{split}": _sprout(split) for split in sprout.SHARDS},
}


def rebuild(name: str, out: Path, encoder: str) -> str:
    """Build one table under ``out``; returns what was done, in words.

    Raises:
        InputError: the hub cannot be reached, a download differs from the checksum of an earlier one, or the
            folder holds something else.
    """
    origin, folder = ORIGINS[name], out / name
    copies = [hub.download(origin.repo, file) for file in origin.files]
    found = {file: hub.checksum(copy) for file, copy in zip(origin.files, copies, strict=True)}
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
    if record.exists():
        shutil.rmtree(folder)
    tables.save(table, folder)
    about = {
        "hub": origin.repo,
        "sha256": found,
        "encoder": encoder,
        "prompts": len(table),
        "models": list(table.models),
    }
    record.write_text(json.dumps(about, indent=1) + "\n")
    return f"{folder}: {len(table)} prompts x {len(table.models)} models, features {table.features.shape[1]} wide"


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the tables that are asked for; the exit status is 1 if one of them could not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--encoder", default="hashed", help="see jaxroute.data.encoders")
    parser.add_argument("--only", nargs="+", choices=sorted(ORIGINS), default=list(ORIGINS), metavar="NAME")
    options = parser.parse_args(arguments)
    failed = 0
    for name in options.only:
        try:
            print(f"{name}: {rebuild(name, options.out, options.encoder)}")
        except InputError as error:
            failed += 1
            print(f"{name}: NOT built: {error}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(options.only)} tables were not built; docs/data-cards.md says what each is")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
