"""Rows of a PostgreSQL table, such as the spend logs of LiteLLM's proxy, read like files (extra ``postgres``).

Leave the password out of the URL and put it into PGPASSWORD, a service file or ~/.pgpass, as for every PostgreSQL
client. Only SELECT statements are sent, in a read-only transaction, and no message shows a password.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from jaxroute._lazy import install
from jaxroute.types import InputError

SCHEMES = ("postgresql://", "postgres://")
SPEND_LOGS = "LiteLLM_SpendLogs"


class Table(NamedTuple):
    """A table of a database. label: the URL without the password. address: the URL for the driver."""

    label: str
    address: str
    relation: tuple[str, ...]
    names: Sequence[str]

    def __str__(self) -> str:
        return self.label

    def blocks(self, picked: Sequence[str], rows: int) -> Iterator[tuple[dict[str, list[Any]], int]]:
        """The rows by column, ``rows`` at a time; the rest stays on the server."""
        from psycopg import sql

        what = sql.SQL(", ").join(map(sql.Identifier, picked)) if picked else sql.SQL("1")
        query = sql.SQL("SELECT {} FROM {}").format(what, sql.Identifier(*self.relation))
        with _connected(self.address, self.label) as connection, connection.cursor(name="jaxroute") as cursor:
            cursor.itersize = rows
            cursor.execute(query)
            while some := cursor.fetchmany(rows):
                columns = zip(*some, strict=True) if picked else ()
                yield dict(zip(picked, map(list, columns), strict=True)), len(some)


def table(url: str) -> Table:
    """The table that a URL names.

    Args:
        url: ``postgresql://user@host:port/database?table=schema.name``; without a table, LiteLLM's spend logs.

    Raises:
        InputError: the driver is missing, the server cannot be reached, or it has no such table.
    """
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    relation = tuple(asked.pop("table", SPEND_LOGS).split("."))
    host = parts.netloc.rpartition("@")[2]
    user = parts.username + "@" if parts.username else ""
    label = f"{parts.scheme}://{user}{host}{parts.path}, table {'.'.join(relation)}"
    address = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(asked), ""))
    with _connected(address, label) as connection:
        names = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
            " AND (%s::text IS NULL OR table_schema = %s) AND table_schema = ANY (current_schemas(false) || %s::text)"
            " ORDER BY ordinal_position",
            (relation[-1], *[relation[0] if len(relation) > 1 else None] * 3),
        ).fetchall()
    if not names:
        raise InputError(
            f"{label}: the table does not exist or may not be read; check its name (?table=schema.name) and the "
            "user's rights"
        )
    return Table(label, address, relation, [name for (name,) in names])


def _connected(address: str, label: str) -> Any:
    try:
        import psycopg
    except ImportError:
        raise InputError(f"{label}: needs the PostgreSQL driver psycopg; {install('postgres')}") from None
    try:
        connection = psycopg.connect(address, connect_timeout=10)
    except psycopg.Error as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise InputError(f"{label}: cannot connect ({reason}); check the address, user and password") from None
    connection.read_only = True
    return connection
